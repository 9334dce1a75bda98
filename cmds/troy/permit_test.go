package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"troy/image/trust"
	"troy/image/trust/sign"
	"troy/internal/cli"
	"troy/internal/testing/needs"
	"troy/server/protocol"
	"troy/server/signing"
)

const never = "2099-12-31"

// permits are those that "permit list" tells, as text.
func permits(t *testing.T) string {
	t.Helper()
	return wantTroy(t, exitOK, "permit", "list").out
}

// TestPermit: permits are signed, listed and withdrawn; what is none changes nothing.
func TestPermit(t *testing.T) {
	store := filepath.Join(t.TempDir(), "store")
	t.Setenv("TROY_STORE", store)
	wantTroy(t, exitOK, "init", store)
	if text := permits(t); !strings.Contains(text, "no permit is signed") {
		t.Errorf("at first: %s", text)
	}
	r := wantTroy(t, exitOK, "permit", "wipe", "--disk", "S1234", "--disk", "WD-77", "--until", never)
	if !strings.Contains(r.errOut, `permit to wipe disk "S1234" until 2099-`) || !strings.Contains(r.errOut, "every other partition on it, D: and recovery included") {
		t.Errorf("what is signed is shown as %s", r.errOut)
	}
	for _, scope := range trust.Scopes() {
		if scope != trust.Downgrade {
			wantTroy(t, exitOK, "permit", string(scope), "--disk", "S9999", "--until", never)
		}
	}
	list := wantJSON[[]trust.Permit](t, exitOK, "permit", "list")
	if end := time.Date(2099, 12, 31, 23, 59, 59, 0, time.Local); len(list) != 2+5 || !list[2].Until.Equal(end) || list[2].Disk != "S9999" || list[2].Scope != trust.Wipe {
		t.Errorf("list: %+v", list)
	}
	for _, args := range [][]string{
		{"wipe"}, {"wipe", "--until", never}, {"wipe", "--disk", "S1234"}, {"wipe", "--disk", "S1234", "--until", "tomorrow"}, {"wipe", "--disk", "S1234", "--until", "2001-01-01"},
		{"wipe", "--disk", "0000", "--until", never}, {"wipe", "--to", "pc@1", "--disk", "S1234", "--until", never}, {"downgrade", "--disk", "S1234", "--until", never},
		{"all", "--disk", "S1234", "--until", never}, {"withdraw"}, {"withdraw", "--all", "S1234"},
	} {
		wantTroy(t, exitUsage, append([]string{"permit"}, args...)...)
	}
	stick := t.TempDir()
	moveKeys(t, store, stick)
	if res := wantTroy(t, exitFailed, "permit", "withdraw", "--all"); !strings.Contains(res.errOut, "--keys") {
		t.Errorf("without the key: %s", res.errOut)
	}
	t.Setenv("TROY_KEYS", stick)
	wantTroy(t, exitFailed, "permit", "withdraw", "S0000")
	wantTroy(t, exitOK, "permit", "withdraw", "s1234", "clear")
	if text := permits(t); strings.Contains(text, "S1234") || strings.Contains(text, "clear") || !strings.Contains(text, "WD-77") {
		t.Errorf("withdrawn by name: %s", text)
	}
	wantTroy(t, exitOK, "permit", "withdraw", "--all")
	if text := permits(t); !strings.Contains(text, "no permit is signed") {
		t.Errorf("not withdrawn: %s", text)
	}
}

// TestPermitNames: names are those of the admin's own list, whatever the server calls other machines;
// what only the server knows is not signed where nobody can be asked.
func TestPermitNames(t *testing.T) {
	s := serveLab(t, newHistory(t, seeded(t)))
	s.checkIn(t, testMAC, 1, "")
	s.checkIn(t, roomMAC, 1, "")
	repo, err := sign.Open(s.store, nil)
	must(t, err)
	mine := strings.Repeat("ab", 32)
	must(t, repo.Confirm([]sign.Confirmed{
		{Name: "test-1", Room: "test", Key: mine, Disks: []string{"DISK-A"}},
		{Name: "two", Room: "stock", Key: strings.Repeat("cd", 32), Disks: []string{"DISK-B", "DISK-C"}},
		{Name: "bare", Room: "cellar", Key: strings.Repeat("ef", 32)},
	}))
	csv := filepath.Join(s.dir, "pcs.CSV")
	utf16 := []byte{0xff, 0xfe}
	for _, c := range "name;serial\r\ntest-1;\r\nspare;DISK-X\r\n" {
		utf16 = append(utf16, byte(c), 0)
	}
	must(t, os.WriteFile(csv, utf16, 0o644))
	bad := filepath.Join(s.dir, "bad.csv")
	must(t, os.WriteFile(bad, []byte("name,secret\nx,y\n"), 0o644))
	for name, c := range map[string]struct {
		args []string
		exit int
		says string // on the screen, or the permits that are signed
	}{
		"a key, not the server's":    {[]string{"reinstall", "test-1"}, exitOK, "reinstall test-1 key " + mine},
		"a wipe names the disk":      {[]string{"wipe", "test-1"}, exitOK, `wipe test-1 disk "DISK-A" until`},
		"a room":                     {[]string{"clear", "test"}, exitOK, "clear test-1 key " + mine},
		"a table":                    {[]string{"wipe", csv}, exitOK, `wipe spare disk "DISK-X" until`},
		"a disk without a number":    {[]string{"wipe", "bare"}, exitOK, "wipe bare key " + strings.Repeat("ef", 32)},
		"two disks":                  {[]string{"wipe", "two"}, exitFailed, "two has 2 disks: DISK-B, DISK-C"},
		"a table that is none":       {[]string{"wipe", bad}, exitFailed, `the column "secret"`},
		"nobody":                     {[]string{"free", "pc-99"}, exitFailed, `no machine and no room is called "pc-99"`},
		"the server's word":          {[]string{"reinstall", "b204-1"}, exitFailed, "ONLY THE SERVER SAYS which machine that is: b204-1, key "},
		"the server's word, --yes":   {[]string{"reinstall", "--yes", "B204"}, exitFailed, "there is no terminal to ask whether it is right"},
		"the server's word, no disk": {[]string{"wipe", "--yes", "test-1", "b204-1"}, exitFailed, "ONLY THE SERVER SAYS"},
	} {
		t.Run(name, func(t *testing.T) {
			wantTroy(t, exitOK, "permit", "withdraw", "--all")
			r := wantTroy(t, c.exit, slices.Concat([]string{"permit"}, c.args, []string{"--until", never})...)
			signed := permits(t)
			if c.exit == exitOK && !strings.Contains(signed, c.says) || c.exit != exitOK && (!strings.Contains(r.errOut, c.says) || !strings.Contains(signed, "no permit is signed")) {
				t.Errorf("it says %s; signed is %s", r.errOut, signed)
			}
		})
	}
	s.stop()
	wantTroy(t, exitOK, "permit", "capture", "test-1", "--until", never) // the own list needs no server
}

// TestPermitUsed: the next signing drops what the server says was used.
func TestPermitUsed(t *testing.T) {
	s := serveLab(t, newHistory(t, seeded(t)))
	wantTroy(t, exitOK, "promote", "--room", "test", "pc@2")
	s.checkIn(t, testMAC, 1, "")
	wantTroy(t, exitOK, "hosts", "confirm", "--yes", "test")
	wantTroy(t, exitOK, "permit", "downgrade", "test", "--to", "pc@2", "--until", never)
	wantTroy(t, exitOK, "permit", "reinstall", "test", "--until", never)
	s.report(t, testMAC, 2, protocol.OutcomeDone, "")
	wantTroy(t, exitOK, "permit", "free", "test", "--until", never)
	if text := permits(t); strings.Contains(text, "downgrade") || !strings.Contains(text, "reinstall") || !strings.Contains(text, "free") {
		t.Errorf("after version 2 came back: %s", text)
	}
}

// TestPermitForeign: what somebody put into the store is not signed along with a permit.
func TestPermitForeign(t *testing.T) {
	store, boot := filepath.Join(t.TempDir(), "store"), t.TempDir()
	t.Setenv("TROY_STORE", store)
	wantTroy(t, exitOK, "init", store)
	must(t, os.WriteFile(filepath.Join(boot, "vmlinuz"), []byte("his kernel"), 0o644))
	_, err := sign.PublishAgent(t.Context(), mustStore(t, store), "6.6.6", boot, "vmlinuz")
	must(t, err)
	for _, args := range [][]string{{"permit", "wipe", "--disk", "S1234", "--until", never}, {"agent", "publish", "--version", "1", boot}} {
		if res := wantTroy(t, exitFailed, args...); !strings.Contains(res.errOut, "release 6.6.6 of the agent: new") {
			t.Errorf("%q says %s", args, res.errOut)
		}
	}
	wantTroy(t, exitFailed, "agent", "rm", "6.6.6")
	if res := wantTroy(t, exitOK, "key", "sign", "--yes"); !strings.Contains(res.errOut, "release 6.6.6 of the agent: new") {
		t.Errorf("key sign says %s", res.out)
	}
}

// TestAgentCommands goes through the life of the agent's releases.
func TestAgentCommands(t *testing.T) {
	store, boot := filepath.Join(t.TempDir(), "store"), t.TempDir()
	t.Setenv("TROY_STORE", store)
	wantTroy(t, exitOK, "init", store)
	for _, name := range []string{"vmlinuz", "initramfs.cpio.zst", "usb.img"} {
		must(t, os.WriteFile(filepath.Join(boot, name), []byte("content of "+name), 0o644))
	}
	if res := wantTroy(t, exitOK, "agent", "list"); !strings.Contains(res.out, "no release") {
		t.Errorf("at first: %s", res.out)
	}
	wantTroy(t, exitOK, "agent", "publish", "--version", "1.0", boot)
	wantTroy(t, exitOK, "agent", "publish", "--version", "1.1", boot, "vmlinuz", "initramfs.cpio.zst")
	if res := wantTroy(t, exitFailed, "agent", "publish", "--version", "1.1", boot); !strings.Contains(res.errOut, "never changes") {
		t.Errorf("twice: %s", res.errOut)
	}
	wantTroy(t, exitUsage, "agent", "publish", boot)
	if res := wantTroy(t, exitFailed, "agent", "publish", "--bundle", boot); !strings.Contains(res.errOut, "no boot bundle in "+boot) {
		t.Errorf("without a bundle: %s", res.errOut)
	}
	wantTroy(t, exitUsage, "agent", "publish", "--version", "../x", boot)
	wantTroy(t, exitFailed, "agent", "publish", "--version", "2", boot, "nothing")
	list := wantJSON[[]jsonAgent](t, exitOK, "agent", "list")
	if len(list) != 2 || list[0].Current || !list[1].Current || len(list[0].Files) != 3 || len(list[1].Files) != 2 {
		t.Errorf("list: %+v", list)
	}
	wantTroy(t, exitFailed, "agent", "rm", "1.1")
	wantTroy(t, exitFailed, "agent", "use", "3")
	if res := wantTroy(t, exitOK, "agent", "use", "1.0"); !strings.Contains(res.out, "1.0") {
		t.Errorf("use says %s", res.out)
	}
	wantTroy(t, exitOK, "agent", "rm", "1.1")
	if res := wantTroy(t, exitOK, "key", "sign"); !strings.Contains(res.out, "nothing to do") {
		t.Errorf("what was done is not signed: %s", res.out)
	}
}

// TestExpiryWarnings: what ends soon is told where the admin looks.
func TestExpiryWarnings(t *testing.T) {
	h := newHistory(t, seeded(t))
	for _, dir := range []string{"metadata", "keys"} {
		must(t, os.RemoveAll(filepath.Join(h.store, dir)))
	}
	_, err := sign.Init(h.store, time.Now().AddDate(-2, 0, 30), nil) // what the admin key signs holds two years
	must(t, err)
	list := wantJSON[[]jsonExpiry](t, exitOK, "key", "list")
	if len(list) != 2 || !list[0].Soon || list[0].Expired || !list[1].Soon || !list[1].Expired {
		t.Errorf("key list: %+v", list)
	}
	res := wantTroy(t, exitOK, "key", "list") // what the server's key signs holds two weeks
	if lines := strings.Split(res.out, "\n"); !strings.Contains(lines[0], "valid until") || !strings.Contains(lines[0], "SOON") || !strings.Contains(lines[1], "EXPIRED on") || strings.Contains(lines[1], "SOON") || !strings.Contains(res.out, "'troy key sign' renews them") {
		t.Errorf("key list says %s", res.out)
	}
	if res := wantTroy(t, exitOK, "image", "list"); !strings.Contains(res.errOut, "the admin key end") {
		t.Errorf("image list says %s", res.errOut)
	}
	var out strings.Builder
	signing.NewKeeper(h.store, newCall(cli.New("troy", &out, &out)).warn).Refresh(t.Context())
	if s := out.String(); !strings.Contains(s, "the admin key end") || strings.Contains(s, "the server key") { // which it has renewed
		t.Errorf("serve says %s", s)
	}
	wantTroy(t, exitOK, "key", "sign", "--yes")
	if res := wantTroy(t, exitOK, "key", "list"); strings.Contains(res.out, "SOON") {
		t.Errorf("renewed: %s", res.out)
	}
}

// TestPermitOnTerminal: what only the server knows takes two answers of a person; --yes is one only.
func TestPermitOnTerminal(t *testing.T) {
	needs.Time(t)
	s := serveLab(t, newHistory(t, seeded(t)))
	s.checkIn(t, roomMAC, 1, "")
	bin := filepath.Join(t.TempDir(), "troy")
	tool(t, "", "go", "build", "-o", bin, ".")
	for name, c := range map[string]struct {
		more    []string
		answers []string
		exit    int
	}{
		"no":           {nil, []string{"no"}, exitFailed},
		"yes, no":      {nil, []string{"yes", "no"}, exitFailed},
		"yes, yes":     {nil, []string{"yes", "yes"}, exitOK},
		"--yes and no": {[]string{"--yes"}, []string{"no"}, exitFailed},
		"--yes, yes":   {[]string{"--yes"}, []string{"yes"}, exitOK},
	} {
		t.Run(name, func(t *testing.T) {
			wantTroy(t, exitOK, "permit", "withdraw", "--all")
			code, shown := talk(t, bin, slices.Concat([]string{"permit", "reinstall", "B204", "--until", never}, c.more), c.answers...)
			if code != c.exit || !strings.Contains(shown, "ONLY THE SERVER SAYS which machine that is: b204-1, key ") {
				t.Errorf("exit code %d\n%s", code, shown)
			}
			if signed := strings.Contains(permits(t), "reinstall b204-1 key "); signed != (c.exit == exitOK) {
				t.Errorf("signed: %t\n%s", signed, shown)
			}
		})
	}
}
