package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"troy/image/publish"
	"troy/internal/testing/needs"
	"troy/internal/testing/smallstore"
	"troy/server/certs"
	"troy/server/servedir"
	"troy/server/state"
)

// levels are those of the findings of one check.
func levels(all []Finding, check string) (l []Level) {
	for _, f := range all {
		if f.Check == check {
			l = append(l, f.Level)
		}
	}
	return l
}

func TestPorts(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	u, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	tcp, udp := l.Addr().(*net.TCPAddr).Port, u.LocalAddr().(*net.UDPAddr).Port
	for _, p := range []port{{"tcp", tcp, "store"}, {"udp", udp, "TFTP"}} {
		t.Run(p.network, func(t *testing.T) {
			f := p.check(false)
			if f.Level != Fault || !strings.Contains(f.Text, "doctor.test") || f.Do == "" {
				t.Errorf("a port that this test has: %v", f)
			}
		})
	}
	l.Close()
	if f := (port{"tcp", tcp, "store"}).check(false); f.Level != Good {
		t.Errorf("a free port: %v", f)
	}
}

func TestInodes(t *testing.T) {
	table := `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1
   1: 0100007F:1F90 0100007F:A000 01 00000000:00000000 00:00000000 00000000     0        0 22 1
   2: 00000000:0045 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 33 2
 broken
`
	if got := inodes(table, 8080, true); !slices.Equal(got, []string{"11"}) {
		t.Errorf("listening on 8080: %v", got)
	}
	if got := inodes(table, 69, false); !slices.Equal(got, []string{"33"}) {
		t.Errorf("69: %v", got)
	}
}

func TestJudge(t *testing.T) {
	ports := []port{{"udp", 67, "DHCP"}, {"tcp", 8080, "store"}}
	const open = "table inet filter {\n\tchain input {\n\t\ttype filter hook input priority filter; policy accept;\n\t}\n}\n"
	closed := strings.Replace(open, "policy accept", "policy drop", 1)
	for name, c := range map[string]struct {
		program, rules string
		want           int
	}{
		"nft, nothing":           {"nft", "", 0},
		"nft, open":              {"nft", open, 0},
		"nft, drop":              {"nft", closed, 2},
		"nft, drop, one named":   {"nft", strings.Replace(closed, ";\n\t}", ";\n\t\ttcp dport 8080 accept\n\t}", 1), 1},
		"nft, both named":        {"nft", strings.Replace(closed, ";\n\t}", ";\n\t\ttcp dport { 22, 8080 } accept\n\t\tudp dport 67 accept\n\t}", 1), 0},
		"nft, wrong protocol":    {"nft", strings.Replace(closed, ";\n\t}", ";\n\t\tudp dport { 67, 8080 } accept\n\t}", 1), 1},
		"nft, longer number":     {"nft", strings.Replace(closed, ";\n\t}", ";\n\t\ttcp dport 18080 accept\n\t}", 1), 2},
		"nft, reject at the end": {"nft", strings.Replace(open, ";\n\t}", ";\n\t\tcounter packets 1 bytes 2 reject with icmpx admin-prohibited\n\t}", 1), 2},
		"iptables, open":         {"iptables", "-P INPUT ACCEPT\n-P FORWARD DROP\n", 0},
		"iptables, drop":         {"iptables", "-P INPUT DROP\n-A INPUT -p tcp -m tcp --dport 8080 -j ACCEPT\n", 1},
		"iptables, reject":       {"iptables", "-P INPUT ACCEPT\n-A INPUT -i lo -j ACCEPT\n-A INPUT -j REJECT --reject-with icmp-host-prohibited\n", 2},
	} {
		t.Run(name, func(t *testing.T) {
			if got := judge(c.program, c.rules, ports); len(got) != c.want {
				t.Errorf("%v, want %d findings", got, c.want)
			}
		})
	}
}

func TestBoot(t *testing.T) {
	dir := t.TempDir()
	if l := levels(checkBoot(dir), "boot"); len(l) != len(bootFiles()) || slices.Contains(l, Good) {
		t.Errorf("an empty folder: %v", l)
	}
	for _, f := range bootFiles() {
		p := filepath.Join(dir, f.name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(p, f.least); err != nil {
			t.Fatal(err)
		}
	}
	if l := levels(checkBoot(dir), "boot"); !slices.Equal(l, []Level{Good, Doubt}) { // no troy.iso
		t.Errorf("a whole folder: %v", l)
	}
	if err := os.Truncate(filepath.Join(dir, "troy/vmlinuz"), 1000); err != nil {
		t.Fatal(err)
	}
	if all := checkBoot(dir); len(all) != 1 || all[0].Level != Fault || !strings.Contains(all[0].Text, "vmlinuz is cut off") {
		t.Errorf("a kernel that is cut off: %v", all)
	}
}

func TestCerts(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	if l := levels(checkCerts(dir, now), "cert"); !slices.Equal(l, []Level{Fault}) {
		t.Errorf("no certificate: %v", l)
	}
	if err := certs.Init(dir, []string{"elsewhere.example"}, now); err != nil {
		t.Fatal(err)
	}
	for after, want := range map[time.Duration]Level{0: Good, certs.LeafTime - time.Hour: Good, certs.LeafTime + time.Hour: Fault, -48 * time.Hour: Fault} {
		t.Run(after.String(), func(t *testing.T) {
			if l := levels(checkCerts(dir, now.Add(after)), "cert"); !slices.Equal(l, []Level{want, Doubt}) { // no name of this machine
				t.Errorf("after %v: %v, want %v", after, l, want)
			}
		})
	}
	if err := os.Remove(filepath.Join(dir, certs.FileCAKey)); err != nil {
		t.Fatal(err)
	}
	if l := levels(checkCerts(dir, now.Add(certs.LeafTime-time.Hour)), "cert"); l[0] != Doubt {
		t.Errorf("not to be renewed: %v", l)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(dir, "own")
	if err := certs.Init(dir, []string{host}, now); err != nil {
		t.Fatal(err)
	}
	if l := levels(checkCerts(dir, now), "cert"); !slices.Equal(l, []Level{Good}) {
		t.Errorf("a certificate for this machine: %v", l)
	}
}

func TestClockAndSpace(t *testing.T) {
	now := time.Now()
	if f := checkClock(now, now.Add(time.Hour)); f.Level != Fault {
		t.Errorf("a clock before the program: %v", f)
	}
	if f := checkClock(now, now.Add(-time.Hour)); f.Level == Fault {
		t.Errorf("a clock behind the program: %v", f)
	}
	if f := checkSpace(filepath.Join(t.TempDir(), "none")); f.Level != Fault {
		t.Errorf("no folder: %v", f)
	}
	if f := checkSpace(t.TempDir()); !strings.Contains(f.Text, "MB free of") {
		t.Errorf("a folder: %v", f)
	}
	if f := checkSpace("/proc"); f.Level != Fault { // a file system without room
		t.Errorf("a full file system: %v", f)
	}
}

func TestOwners(t *testing.T) {
	needs.Root(t)
	const nobody = 65534
	around := t.TempDir()
	dir := filepath.Join(around, "store")
	key := filepath.Join(dir, "keys/server.key")
	if err := os.MkdirAll(filepath.Dir(key), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(key, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	own := func(uid int, paths ...string) {
		t.Helper()
		for _, p := range paths {
			if err := os.Chown(p, uid, -1); err != nil {
				t.Fatal(err)
			}
		}
	}
	if l := levels(checkOwners(dir, ""), "owner"); !slices.Equal(l, []Level{Good}) {
		t.Errorf("all of root: %v", l)
	}
	own(nobody, around)
	if all := checkOwners(dir, ""); len(all) != 1 || all[0].Level != Fault || !strings.Contains(all[0].Do, "chown -R "+userName(nobody)+": "+dir) {
		t.Errorf("made by root in another's folder: %v", all)
	}
	own(nobody, dir, filepath.Join(dir, "keys"), key)
	if l := levels(checkOwners(dir, ""), "owner"); !slices.Equal(l, []Level{Good}) {
		t.Errorf("all of one: %v", l)
	}
	own(0, key)
	if all := checkOwners(dir, ""); len(all) != 1 || all[0].Level != Fault || !strings.Contains(all[0].Text, key+" belongs to root") {
		t.Errorf("a key of root's: %v", all)
	}
	own(nobody, key)
	tls := t.TempDir()
	if err := certs.Init(tls, []string{"server.example"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if all := checkOwners(dir, tls); len(all) != 1 || all[0].Level != Fault || !strings.Contains(all[0].Text, certs.FileServerKey+" belongs to root") {
		t.Errorf("a certificate of root's: %v", all)
	}
	if err := os.Chmod(filepath.Join(tls, certs.FileServerKey), 0o640); err != nil {
		t.Fatal(err)
	}
	if l := levels(checkOwners(dir, tls), "owner"); !slices.Equal(l, []Level{Good}) {
		t.Errorf("a key that a group may read: %v", l)
	}
}

func TestCheck(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	all, err := Check(t.Context(), &Options{Listen: l.Addr().String(), Boot: t.TempDir(), Store: t.TempDir(), Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	for _, check := range []string{"ports", "firewall", "addresses", "boot", "clock", "space", "owner", "page", "signed"} {
		if len(levels(all, check)) == 0 {
			t.Errorf("%s was not looked at", check)
		}
	}
	if !slices.Contains(levels(all, "boot"), Fault) {
		t.Error("there are no boot files, and that is no fault")
	}
	for _, f := range all {
		t.Log(f)
		if strings.Count(fmt.Sprint(f), "\n") > 1 || f.Level == Fault && f.Do == "" {
			t.Errorf("not one line and one of advice: %v", f)
		}
	}
}

func TestOptionsPorts(t *testing.T) {
	for name, c := range map[string]struct {
		o    Options
		want []int // nil: the address is none
	}{
		"store alone":  {Options{Listen: ":8080"}, []int{8080}},
		"with a host":  {Options{Listen: "[fd00::1]:80"}, []int{80}},
		"TLS":          {Options{Listen: ":8080", TLSListen: ":8443"}, []int{8080, 8443}},
		"network boot": {Options{Listen: ":8080", Boot: "net"}, []int{8080, 69, 67, 4011}},
		"without DHCP": {Options{Listen: ":8080", Boot: "net", NoDHCP: true}, []int{8080, 69}},
		"no colon":     {Options{Listen: "8080"}, nil},
		"too large":    {Options{Listen: ":65536"}, nil},
		"a name":       {Options{Listen: ":8080", TLSListen: ":https"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			ports, err := c.o.ports()
			var got []int
			for _, p := range ports {
				got = append(got, p.number)
			}
			if c.want == nil && err == nil || c.want != nil && (err != nil || !slices.Equal(got, c.want)) {
				t.Errorf("got %v, %v, want %v", got, err, c.want)
			}
		})
	}
}

// TestSigned: what ends soon is a doubt, what has ended a fault.
func TestSigned(t *testing.T) {
	dir, now := smallstore.Make(t, t.TempDir()), time.Now()
	unsigned := filepath.Join(t.TempDir(), "store")
	if _, err := publish.Init(unsigned); err != nil {
		t.Fatal(err)
	}
	damaged := smallstore.Make(t, t.TempDir())
	if err := os.WriteFile(filepath.Join(damaged, "metadata", "timestamp.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		dir string
		now time.Time
		has []Level
	}{
		"fresh":    {dir, now, []Level{Good, Good}},
		"later":    {dir, now.AddDate(20, 0, 0), []Level{Fault, Fault}},
		"unsigned": {unsigned, now, []Level{Fault}},
		"no store": {t.TempDir(), now, []Level{Fault}},
		"damaged":  {damaged, now, []Level{Fault}},
	} {
		t.Run(name, func(t *testing.T) {
			all := checkSigned(c.dir, c.now)
			if l := levels(all, "signed"); !slices.Equal(l, c.has) {
				t.Errorf("got %v, want %v: %v", l, c.has, all)
			}
		})
	}
	for where, want := range map[string]string{unsigned: "troy key init", t.TempDir(): "troy init "} {
		if f := checkSigned(where, now)[0]; !strings.Contains(f.Do, want) {
			t.Errorf("%s: %v", want, f)
		}
	}
	expiries := checkSigned(dir, now)
	day, err := time.Parse(time.DateOnly, expiries[0].Text[len(expiries[0].Text)-len(time.DateOnly):])
	if err != nil {
		t.Fatal(err)
	}
	if f := checkSigned(dir, day.AddDate(0, 0, -1))[0]; f.Level != Doubt || !strings.Contains(f.Do, "troy key") {
		t.Errorf("a day before the end: %v", f)
	}
}

// TestSignedUnreadable: a disk that fails, or a user who may not read, says nothing of what is
// signed: no new signature is the answer.
func TestSignedUnreadable(t *testing.T) {
	dir := smallstore.Make(t, t.TempDir())
	root := filepath.Join(dir, "metadata", "1.root.json")
	if err := errors.Join(os.Remove(root), os.Symlink("/proc/self/mem", root)); err != nil { // its first page cannot be read: EIO
		t.Fatal(err)
	}
	for _, f := range append(checkSigned(dir, time.Now()), checkKey(dir)...) {
		if f.Level != Fault || !strings.Contains(f.Text, "input/output error") || strings.Contains(f.Do, "troy key") {
			t.Errorf("%v", f)
		}
	}
	denied := fmt.Errorf("the store is not what was signed: %w", &fs.PathError{Op: "open", Path: root, Err: syscall.EACCES})
	if f, ok := unreadable("signed", denied); !ok || f.Level != Doubt || !strings.Contains(f.Do, "as the user of the service") {
		t.Errorf("%v", f)
	}
	if f, ok := unreadable("signed", fs.ErrNotExist); ok {
		t.Errorf("%v", f)
	}
}

func TestState(t *testing.T) {
	dir := t.TempDir()
	folder := servedir.Of(dir)
	if all := checkState(dir); len(all) != 0 {
		t.Errorf("a store that was not served yet: %v", all)
	}
	if err := folder.Make(); err != nil {
		t.Fatal(err)
	}
	s, err := state.Open(folder.State(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() // it is looked at while a server has it
	want := func(level Level, does string) {
		t.Helper()
		if all := checkState(dir); len(all) != 1 || all[0].Level != level || !strings.Contains(all[0].Do, does) {
			t.Errorf("%v, want level %v", all, level)
		}
	}
	want(Doubt, "makes one")
	if err := s.Copy(); err != nil {
		t.Fatal(err)
	}
	want(Good, "")
	if err := os.Truncate(folder.State(), 8192); err != nil {
		t.Fatal(err)
	}
	want(Fault, "stop the server; 'cp -p ")
}

func TestLogins(t *testing.T) {
	dir := t.TempDir()
	if l := levels(checkLogins(dir), "page"); !slices.Equal(l, []Level{Doubt}) {
		t.Errorf("nobody: %v", l)
	}
	folder := servedir.Of(dir)
	if err := errors.Join(folder.Make(), os.WriteFile(folder.Users(), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if all := checkLogins(dir); len(all) != 0 {
		t.Errorf("somebody: %v", all)
	}
}
