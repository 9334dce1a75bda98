package main

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"troy/image"
	"troy/image/trust"
	"troy/initramfs/bundle"
	"troy/internal/testing/medium"
	"troy/internal/testing/needs"
	"troy/server/lab"
)

// setupRoom is a machine to set up: a folder, an installation medium, a boot bundle, free ports.
type setupRoom struct {
	t   *testing.T
	bin string // the built command
	iso string
	tls string // the address of its port with TLS
}

func newSetupRoom(t *testing.T) *setupRoom {
	t.Helper()
	needs.Time(t)
	dir := t.TempDir()
	r := &setupRoom{t: t, bin: filepath.Join(dir, "troy"), iso: filepath.Join(dir, "win.iso"), tls: freePort(t)}
	tool(t, "", "go", "build", "-o", r.bin, ".")
	manager := writeText(t, dir, "manager.efi", "MZ program")
	must(t, medium.Make(t.Context(), &medium.Options{BootManager: manager, Out: r.iso}))
	boot, files := filepath.Join(dir, "boot"), map[string][]byte{}
	for _, name := range bundle.Names() {
		files[name] = []byte("a file of the bundle, which looks for $fw_path as GRUB does")
	}
	must(t, bundle.Write(boot, &bundle.Manifest{}, files))
	t.Setenv("TROY_BUNDLE", boot)
	t.Setenv("TROY_STORE", "")
	t.Setenv("TROY_KEYS", "")
	return r
}

// freePort is one that nobody has.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", ":0")
	must(t, err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	must(t, err)
	return ":" + port
}

// flags are those that every setup of a site in dir gets here.
func (r *setupRoom) flags(dir string, more ...string) []string {
	return append([]string{"setup", "--store", filepath.Join(dir, "store"), "--listen", ":0", "--tls-listen", r.tls, "--netboot", "no"}, more...)
}

// treeOf is what is below a folder: the SHA-256 of each file, "" for a folder.
func treeOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			all[path] = ""
			return err
		}
		b, err := os.ReadFile(path)
		all[path] = fmt.Sprintf("%x", sha256.Sum256(b))
		return err
	}))
	return all
}

const (
	setupPassphrase = "battery staple horse"
	setupPassword   = "correct battery horse"
)

// TestWithOptions: flags take the place of those of their names, whichever way they are written.
func TestWithOptions(t *testing.T) {
	text := "# x\nTROY_OPTIONS=\"--listen :8080 --no-dhcp --boot=/a --lab /etc/lab.yaml /store\"\n"
	got := withOptions(text, "--listen=:1", "--boot=/b", "--no-dhcp=false")
	if want := "# x\nTROY_OPTIONS=\"--listen=:1 --boot=/b --no-dhcp=false --lab /etc/lab.yaml /store\"\n"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	f, store, err := readOptions(got)
	if err != nil || store != "/store" || f.listen != ":1" || f.around.boot != "/b" || f.around.noDHCP || f.lab != "/etc/lab.yaml" {
		t.Errorf("%+v, %s, %v", f, store, err)
	}
	for _, bad := range []string{"", "TROY_OPTIONS=/store", `TROY_OPTIONS="--listen"`, `TROY_OPTIONS="--listen :1"`, `TROY_OPTIONS="--nonsense /store"`} {
		if _, _, err := readOptions(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

// TestGiveTree: what root made becomes the user's; no link leads out of the folder.
func TestGiveTree(t *testing.T) {
	needs.Root(t)
	const user = 4101
	dir := t.TempDir()
	store, outside := filepath.Join(dir, "store"), writeText(t, dir, "outside", "root's")
	must(t, os.MkdirAll(filepath.Join(store, "keys"), 0o700))
	writeText(t, filepath.Join(store, "keys"), "server.key", "secret")
	must(t, os.Symlink(outside, filepath.Join(store, "link")))
	must(t, os.Link(outside, filepath.Join(store, "second name")))
	must(t, giveTree(store, user, user))
	must(t, giveTree(filepath.Join(dir, "none"), user, user))
	for path, want := range map[string]uint32{store: user, filepath.Join(store, "keys"): user, filepath.Join(store, "keys/server.key"): user, outside: 0} {
		info, err := os.Stat(path)
		must(t, err)
		if got := info.Sys().(*syscall.Stat_t).Uid; got != want {
			t.Errorf("%s belongs to %d, want %d", path, got, want)
		}
	}
}

// TestSetup tries one build of the command in three ways.
func TestSetup(t *testing.T) {
	r := newSetupRoom(t)
	for name, f := range map[string]func(*testing.T, *setupRoom){"answers": setupAnswers, "refused": setupRefused, "killed": setupKilled} {
		t.Run(name, func(t *testing.T) { r.t = t; f(t, r) })
	}
}

// The answers of a person make a store, keys on a folder of their own, a login, an image
// and media; a second run finds all of it and changes nothing; flags make the same.
func setupAnswers(t *testing.T, r *setupRoom) {
	dir := t.TempDir()
	keys := filepath.Join(dir, "stick")
	answers := []string{keys, "192.0.2.1", "anna", setupPassword, setupPassword, r.iso, "win", "", "", "", "", setupPassphrase, setupPassphrase, "yes"}
	code, shown := talk(t, r.bin, r.flags(dir, "--size", "0.125"), answers...)
	if code != exitOK || !strings.Contains(shown, "Setup is complete. Next:") || strings.Contains(shown, setupPassphrase) || strings.Contains(shown, setupPassword) {
		t.Fatalf("exit code %d:\n%s", code, shown)
	}
	r.complete(dir, keys, true)

	before := treeOf(t, dir)
	code, shown = talk(t, r.bin, r.flags(dir, "--keys", keys))
	if code != exitOK || strings.Count(shown, "  there  ") != 4 || strings.Contains(shown, "  make ") {
		t.Errorf("a second run: exit code %d:\n%s", code, shown)
	}
	if after := treeOf(t, dir); !maps.Equal(before, after) {
		t.Errorf("a second run changed something: %s", differ(before, after))
	}

	// The same by flags.
	second := t.TempDir()
	stick := filepath.Join(second, "stick")
	passphrase, password := writeText(t, t.TempDir(), "passphrase", setupPassphrase), writeText(t, t.TempDir(), "password", setupPassword)
	wantTroy(t, exitOK, r.flags(second, "--yes", "--keys", stick, "--address", "192.0.2.1", "--login", "anna", "--password-file", password,
		"--from", r.iso, "--size", "0.125", "--image", "win", "--passphrase-file", passphrase)...)
	r.complete(second, stick, true)
	if a, b := names(before, dir), names(treeOf(t, second), second); !slices.Equal(a, b) {
		t.Errorf("answers made\n%q\nflags\n%q", a, b)
	}
}

// complete checks that a site is as it should be, and whether it has the image.
func (r *setupRoom) complete(dir, keys string, has bool) {
	t, store := r.t, filepath.Join(dir, "store")
	t.Helper()
	t.Setenv("TROY_STORE", store)
	t.Setenv("TROY_KEYS", keys)
	defer t.Setenv("TROY_STORE", "")
	defer t.Setenv("TROY_KEYS", "")
	if m := wantJSON[[]image.Manifest](t, exitOK, "image", "list"); (len(m) == 1) != has || has && (m[0].Image != "win" || !m[0].Setup) {
		t.Errorf("images: %+v", m)
	}
	wantTroy(t, exitOK, "key", "sign") // no terminal: nothing is left to be signed
	if l := wantJSON[trust.Servers](t, exitOK, "key", "servers"); len(l.Servers) != 1 || !slices.Equal(l.Servers[0].URLs, []string{"https://192.0.2.1" + r.tls}) {
		t.Errorf("servers: %+v", l)
	}
	if _, err := lab.Load(filepath.Join(store, lab.FileName)); err != nil {
		t.Error(err)
	}
	for path, holds := range map[string]string{keys + "/admin.key": `"box"`, keys + "/trusted.json": "servers.json", store + "/serve/users": "anna:$argon2id$",
		store + "-media/usb.img": "", store + "-media/net/grub/grub.cfg": "", store + "-media/agent/site.cpio": ""} {
		if b, err := os.ReadFile(path); err != nil || !strings.Contains(string(b), holds) {
			t.Errorf("%s: %d bytes, %v", path, len(b), err)
		}
	}
	if _, err := os.Stat(filepath.Join(store, "keys", "admin.key")); err == nil {
		t.Error("the admin key lies in the store")
	}
	// What a start lacks, the server says.
	if res := wantTroy(t, exitOK, "key", "list"); strings.Contains(res.out, "SOON") {
		t.Errorf("signatures: %s", res.out)
	}
}

// names are the paths of a tree without what is different each time.
func names(tree map[string]string, dir string) (list []string) {
	for path := range tree {
		p := strings.TrimPrefix(path, dir)
		if !strings.Contains(p, "/objects/") && !strings.Contains(p, "/targets/") {
			list = append(list, p)
		}
	}
	slices.Sort(list)
	return list
}

// differ names a path that is not the same in two trees.
func differ(a, b map[string]string) string {
	for path := range b {
		if a[path] != b[path] {
			return path
		}
	}
	for path := range a {
		if _, there := b[path]; !there {
			return path + " is gone"
		}
	}
	return "nothing"
}

// What is wrong is found before anything is written, whether a person or a flag says it.
func setupRefused(t *testing.T, r *setupRoom) {
	dir := t.TempDir()
	other, text, cut := filepath.Join(dir, "other.iso"), writeText(t, dir, "text", "no disk"), filepath.Join(dir, "cut.iso")
	must(t, medium.Other(t.Context(), other))
	b, err := os.ReadFile(r.iso)
	must(t, err)
	must(t, os.WriteFile(cut, b[:len(b)/2], 0o600))
	foreign, taken := filepath.Join(dir, "foreign"), filepath.Join(dir, "taken")
	must(t, os.MkdirAll(filepath.Join(foreign, "photos"), 0o755))
	wantTroy(t, exitOK, "init", taken)
	l, err := net.Listen("tcp", ":0")
	must(t, err)
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	empty := writeText(t, dir, "empty", "\n")
	disk := filepath.Join(dir, "disk.vhdx")
	wantVHDX(t, exitOK, "create", "--size", "16M", disk)
	site := filepath.Join(dir, "site")
	must(t, os.Mkdir(site, 0o755))
	small := filepath.Join(dir, "small")
	must(t, os.Mkdir(small, 0o755))
	needs.Root(t)
	tool(t, "", "mount", "-t", "tmpfs", "-o", "size=64m", "none", small)
	t.Cleanup(func() { tool(t, "", "umount", small) })
	before := treeOf(t, dir)
	for _, c := range []struct {
		says string
		args []string
	}{
		{"there is no terminal to ask at: give --yes", []string{"--yes=false"}},
		{"nowhere.invalid does not resolve", []string{"--address", "nowhere.invalid"}},
		{"want a name or an IP address", []string{"--address", "https://troy"}},
		{"127.0.0.1, which PCs cannot reach", []string{"--address", "localhost"}},
		{"no such file", []string{"--from", filepath.Join(dir, "none.iso")}},
		{"no installation medium of Windows", []string{"--from", other}},
		{"no disk, image or installation medium", []string{"--from", text}},
		{"cut.iso", []string{"--from", cut}},
		{"the disk has no partition table", []string{"--from", disk}},
		{"is for installation media", []string{"--from", disk, "--edition", "1"}},
		{"no edition", []string{"--from", r.iso, "--edition", "Windows 12"}},
		{"has no language de-DE", []string{"--from", r.iso, "--language", "de-DE"}},
		{"not enough space", []string{"--from", r.iso, "--store", filepath.Join(small, "store")}},
		{"name", []string{"--from", r.iso, "--image", "../x"}},
		{"is not empty", []string{"--store", foreign}},
		{"holds the keys of another store", []string{"--keys", filepath.Join(taken, "keys")}},
		{"is in use by", []string{"--listen", ":" + port}},
		{"want [HOST]:PORT", []string{"--tls-listen", "8443"}},
		{"the first line is empty", []string{"--passphrase-file", empty}},
		{"no such file", []string{"--passphrase-file", filepath.Join(dir, "nothing")}},
		{"want 10 to 512 bytes", []string{"--login", "anna", "--password-file", text}},
		{"want --password-file", []string{"--login", "anna"}},
		{"letters, digits", []string{"--login", "an na", "--password-file", text}},
		{"want proxy, dhcp or no", []string{"--netboot", "yes"}},
		{"no boot bundle", []string{"--bundle", dir}},
		{"without blanks", []string{"--store", filepath.Join(site, "a b")}},
		{"not a directory", []string{"--store", filepath.Join(text, "store")}},
	} {
		res := troy(slices.Concat(r.flags(site, "--yes", "--address", "192.0.2.1", "--from", "none"), c.args)...)
		if res.code == exitOK || !strings.Contains(res.errOut, c.says) {
			t.Errorf("%q: exit code %d, want %q in:\n%s", c.args, res.code, c.says, res.errOut)
		}
		if after := treeOf(t, dir); !maps.Equal(before, after) {
			t.Fatalf("%q changed %s", c.args, differ(before, after))
		}
	}
	// At the terminal a wrong answer is asked for again, and whoever goes away leaves nothing. (With
	// what was typed before, Ctrl-C may throw away the last line that the terminal was to show.)
	right := []string{filepath.Join(dir, "stick"), "192.0.2.1", "none", "none", "", "yes"}
	wrong := []string{filepath.Join(taken, "keys"), "localhost", "an na", text, "", "no"}
	for i, w := range wrong {
		for _, end := range []string{interruptKey, endOfInput} {
			answers := slices.Concat(right[:i], []string{w, end})
			if i >= 4 {
				answers = append(slices.Clone(right[:i]), end)
			}
			code, shown := talk(t, r.bin, r.flags(site), answers...)
			if after := treeOf(t, dir); code != exitFailed || end == endOfInput && !strings.Contains(shown, "nothing was changed") || !maps.Equal(before, after) {
				t.Fatalf("%q: exit code %d, changed: %s\n%s", answers, code, differ(before, after), shown)
			}
		}
	}
	if code, shown := talk(t, r.bin, r.flags(site), append(right[:5], "no")...); code != exitFailed || !strings.Contains(shown, "nothing was changed") || !maps.Equal(before, treeOf(t, dir)) {
		t.Errorf("the answer no: exit code %d\n%s", code, shown)
	}
}

// Whenever it is killed, the next run goes on, and at the end all is there.
func setupKilled(t *testing.T, r *setupRoom) {
	password := writeText(t, t.TempDir(), "password", setupPassword)
	passphrase := writeText(t, t.TempDir(), "passphrase", setupPassphrase)
	stride, more := 20, []string{"--from", "none"}
	if os.Getenv("TROY_SOAK") != "" {
		stride, more = 1, []string{"--from", r.iso, "--size", "0.125", "--image", "win"}
	}
	for _, trusted := range []bool{true, false} { // what a kill seldom hits
		dir := t.TempDir()
		keys := filepath.Join(dir, "stick")
		args := r.flags(dir, "--yes", "--keys", keys, "--address", "192.0.2.1", "--login", "anna", "--password-file", password, "--passphrase-file")
		wantTroy(t, exitOK, "init", "--keys", keys, "--passphrase-file", passphrase, filepath.Join(dir, "store"))
		must(t, os.Rename(filepath.Join(keys, "admin.key"), filepath.Join(keys, "admin.key.new")))
		if !trusted {
			must(t, os.Remove(filepath.Join(keys, "trusted.json")))
		}
		before := treeOf(t, dir)
		wantTroy(t, exitFailed, append(args, password)...) // not the passphrase
		if after := treeOf(t, dir); !maps.Equal(before, after) {
			t.Errorf("a wrong passphrase changed %s", differ(before, after))
		}
		wantTroy(t, exitOK, append(args, passphrase)...)
		r.complete(dir, keys, false)
	}
	kills := 0
	for change := 1; ; change += stride {
		dir := t.TempDir()
		keys := filepath.Join(dir, "stick")
		args := r.flags(dir, append(more, "--yes", "--keys", keys, "--address", "192.0.2.1", "--login", "anna", "--password-file", password, "--passphrase-file", passphrase)...)
		if !killAfter(t, dir, change, r.bin, args...) {
			break
		}
		kills++
		if out, err := exec.Command(r.bin, args...).CombinedOutput(); err != nil {
			t.Fatalf("killed after change %d: %v\n%s", change, err, out)
		}
		r.complete(dir, keys, len(more) > 2)
		left := names(treeOf(t, dir), dir)
		if i := slices.IndexFunc(left, func(p string) bool { return strings.HasSuffix(p, ".new") || strings.Contains(p, "/tmp/") }); i >= 0 {
			t.Errorf("killed after change %d: %s is left", change, left[i])
		}
	}
	if kills < 2 {
		t.Errorf("it was killed %d times", kills)
	}
}

// killAfter starts a command and kills it once so many changes of the paths below a folder were
// seen; false: it ended before.
func killAfter(t *testing.T, dir string, changes int, bin string, args ...string) bool {
	t.Helper()
	cmd := exec.Command(bin, args...)
	must(t, cmd.Start())
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }() // the state below tells how it ended
	seen, last := 0, 0
	for {
		select {
		case <-done:
			return cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled()
		case <-time.After(50 * time.Microsecond):
		}
		n := 0
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error { // what vanishes meanwhile is not counted
			n += len(path)
			return nil
		})
		if n != last {
			last = n
			if seen++; seen == changes {
				must(t, cmd.Process.Kill())
			}
		}
	}
}
