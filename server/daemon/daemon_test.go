package daemon

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"troy/chainload/release"
	"troy/image"
	"troy/image/publish"
	"troy/image/trust"
	"troy/image/trust/sign"
	"troy/internal/testing/smallstore"
	"troy/internal/tlskey"
	"troy/netfetch"
	"troy/server/certs"
	"troy/server/lab"
	"troy/server/netboot"
	"troy/server/protocol"
	"troy/server/rooms"
	"troy/server/rooms/api"
	"troy/server/servedir"
	"troy/server/state"
)

const labText = `format: 1
zone: UTC
images: [pc]
defaults: {image: pc, always: true}
rooms: {test: }
hosts:
  - {name: test-1, room: test, mac: "52:54:00:00:00:01"}
`

const testMAC = "52:54:00:00:00:01"

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// options serve a small store on a free port of the loopback.
func options(t *testing.T) *Options {
	t.Helper()
	return &Options{Dir: smallstore.Make(t, t.TempDir()), Listen: "127.0.0.1:0", TLSListen: "127.0.0.1:0"}
}

// withLab adds a lab.yaml.
func withLab(t *testing.T, o *Options) *Options {
	t.Helper()
	o.Lab = filepath.Join(filepath.Dir(o.Dir), "lab.yaml")
	must(t, os.WriteFile(o.Lab, []byte(labText), 0o644))
	return o
}

// start runs a daemon until the test ends or stop is called, which returns what Run did.
func start(t *testing.T, o *Options) (d *Daemon, stop func() error) {
	t.Helper()
	d, err := New(t.Context(), o)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	stop = func() error {
		cancel()
		err := <-ended
		ended <- err
		return err
	}
	t.Cleanup(func() {
		if err := errors.Join(stop(), d.Close()); err != nil {
			t.Errorf("the end: %v", err)
		}
	})
	return d, stop
}

// machineTLS is that of a machine which takes the daemon by its key.
func machineTLS(t *testing.T, d *Daemon) *tls.Config {
	t.Helper()
	key, err := tlskey.New()
	must(t, err)
	own, err := key.Certificate()
	must(t, err)
	return tlskey.Client(func() []string { return []string{d.Key()} }, &own)
}

// checkIn is a machine with version 1.
func checkIn(t *testing.T, d *Daemon) (o protocol.Order) {
	t.Helper()
	h, err := netfetch.NewHTTP("https://"+d.TLS().String(), &netfetch.HTTPOptions{TLS: machineTLS(t, d)})
	must(t, err)
	defer h.Reconnect()
	in := protocol.CheckIn{Protocol: protocol.Version, Machine: protocol.Machine{Ports: []protocol.Port{{MAC: testMAC}}}, Image: smallstore.Image, Version: 1}
	must(t, h.PostJSON(t.Context(), protocol.PathCheckIn, in, &o))
	return o
}

// TestEventLog: the log holds what happened; what everybody can ask for has a file of its own.
func TestEventLog(t *testing.T) {
	o := withLab(t, options(t))
	o.EventLog = filepath.Join(t.TempDir(), "log")
	var told []protocol.Order
	o.Events.CheckIn = func(_ protocol.CheckIn, o protocol.Order, _ error) { told = append(told, o) }
	d, stop := start(t, o)
	promote(t, o, 2)
	if order := checkIn(t, d); order.Reason != "" || order.Want == nil || order.Want.Image != smallstore.Image || order.Want.Version != 2 {
		t.Errorf("order: %+v", order)
	}
	h, err := netfetch.NewHTTP("http://"+d.Plain().String()+"/"+protocol.PathRepo, nil)
	must(t, err)
	b, err := h.Get(t.Context(), "store.json", 1<<20)
	must(t, err)
	h.Reconnect()
	must(t, stop())
	if bytes, requests := d.Served(); bytes != int64(len(b)) || requests != 1 || len(told) != 1 {
		t.Errorf("served %d bytes in %d requests, told %v", bytes, requests, told)
	}
	var events []event
	for _, file := range []string{o.EventLog, o.EventLog + servedSuffix} {
		line, err := os.ReadFile(file)
		must(t, err)
		var e event
		must(t, json.Unmarshal(line, &e))
		events = append(events, e)
	}
	if events[0].CheckIn == nil || events[1].Served == nil || events[0].Order.Want.Version != 2 || *events[1].Served != (served{"store.json", int64(len(b))}) {
		t.Errorf("log: %+v", events)
	}
}

// promote gives the room of labText a version, as the admin's commands do.
func promote(t *testing.T, o *Options, version int) {
	t.Helper()
	_, err := api.NewLocalClient(servedir.Of(o.Dir)).Promote(t.Context(), rooms.Promotion{Room: "test", Image: smallstore.Image, Version: version})
	must(t, err)
}

// TestNext: a store without lab.yaml, without images, without a promotion is served, and Next says
// what is to be done.
func TestNext(t *testing.T) {
	empty := func(t *testing.T, o *Options) {
		o.Dir = filepath.Join(t.TempDir(), "empty")
		_, err := publish.Init(o.Dir)
		must(t, err)
		repo, err := sign.Init(o.Dir, time.Now(), nil)
		must(t, err)
		store, err := image.OpenStore(o.Dir)
		must(t, err)
		must(t, servedir.Of(o.Dir).Make())
		key, _, err := certs.LoadKey(servedir.Of(o.Dir).TLSKey())
		must(t, err)
		name, err := key.Name()
		must(t, err)
		must(t, repo.SetServers(t.Context(), store, []trust.Server{{Key: name}}, time.Now()))
	}
	unread := func(t *testing.T, o *Options) {
		must(t, os.RemoveAll(filepath.Join(o.Dir, "metadata", "targets", "images")))
	}
	first := func(t *testing.T, o *Options) { must(t, lab.WriteFirst(filepath.Join(o.Dir, lab.FileName))) }
	for name, x := range map[string]struct {
		is    []func(*testing.T, *Options)
		next  string // how it begins; %s is the store
		code  bool
		wants int // after promote, if it is not 0
	}{
		"nothing":      {[]func(*testing.T, *Options){empty}, "there is no %[1]s/lab.yaml yet: 'troy lab init %[1]s/lab.yaml' writes one; it is read as soon as it is there", true, 0},
		"no lab.yaml":  {nil, "there is no %[1]s/lab.yaml yet: 'troy lab init %[1]s/lab.yaml' writes one; it is read as soon as it is there", true, 0},
		"no images":    {[]func(*testing.T, *Options){empty, first}, "the store has no image yet: 'troy image import --store %[1]s NAME DISK.vhdx' publishes version 1 of one", true, 0},
		"not promoted": {[]func(*testing.T, *Options){first}, "room default has no version yet: 'troy promote --store %[1]s --room default pc@2' gives it one", true, 0},
		"not readable": {[]func(*testing.T, *Options){first, unread}, "what the store has cannot be read, and machines are ordered nothing: trust: %.0[1]s", true, 0},
		"all is there": {[]func(*testing.T, *Options){func(t *testing.T, o *Options) { withLab(t, o) }}, "room test has no version yet: 'troy promote --store %[1]s --room test pc@2' gives it one", false, 2},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t)
			for _, f := range x.is {
				f(t, o)
			}
			d, _ := start(t, o)
			if next := d.Next(t.Context()); len(next) != 1 || !strings.HasPrefix(next[0], fmt.Sprintf(x.next, o.Dir)) {
				t.Errorf("next: %q", next)
			}
			if x.wants > 0 {
				promote(t, o, x.wants)
				if next := d.Next(t.Context()); next != nil {
					t.Errorf("after the promotion: %q", next)
				}
			}
			order := checkIn(t, d)
			if (order.Code != "") != x.code || (order.Want != nil) != (x.wants > 0) {
				t.Errorf("order: %+v", order)
			}
		})
	}
}

// TestLabComesLater: the file is taken when it appears, without a restart.
func TestLabComesLater(t *testing.T) {
	o := options(t)
	d, _ := start(t, o)
	must(t, os.WriteFile(filepath.Join(o.Dir, lab.FileName), []byte(labText), 0o644))
	d.Reload()
	promote(t, o, 2)
	if order := checkIn(t, d); order.Want == nil || order.Want.Version != 2 {
		t.Errorf("order: %+v", order)
	}
}

// TestAgentRelease: machines of a room get the store's current release of the agent that is signed.
func TestAgentRelease(t *testing.T) {
	o := withLab(t, options(t))
	dir := t.TempDir()
	for _, name := range release.Files() {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644))
	}
	store, err := image.OpenStore(o.Dir)
	must(t, err)
	_, err = sign.PublishAgent(t.Context(), store, "1.2", dir)
	must(t, err)
	repo, err := sign.Open(o.Dir, nil)
	must(t, err)
	_, err = repo.SignAll(t.Context(), store, time.Now())
	must(t, err)
	_, err = sign.PublishAgent(t.Context(), store, "1.3", dir) // and killed before it is signed
	must(t, err)
	d, _ := start(t, o)
	if order := checkIn(t, d); order.Agent != "1.2" {
		t.Errorf("order: %+v", order)
	}
}

// TestLab: with lab.yaml the rooms decide, the service manager hears that all is open, and the
// admin's commands find the server.
func TestLab(t *testing.T) {
	o := withLab(t, options(t))
	o.NotifySocket = filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: o.NotifySocket, Net: "unixgram"})
	must(t, err)
	defer manager.Close()
	notes := make(chan string, 100)
	o.Events.Note = func(line string) { notes <- line }
	d, stop := start(t, o)
	ready := make([]byte, 100)
	n, err := manager.Read(ready)
	if must(t, err); string(ready[:n]) != "READY=1" {
		t.Errorf("the service manager heard %q", ready[:n])
	}

	folder := servedir.Of(o.Dir)
	path, err := folder.Lab()
	must(t, err)
	if path != o.Lab || d.Lab() != o.Lab || d.Page() != "http://"+d.Plain().String()+"/" {
		t.Errorf("lab %q, page %q", path, d.Page())
	}
	promote(t, o, 2)
	if order := checkIn(t, d); order.Reason != "" || order.Want == nil || order.Want.Version != 2 {
		t.Errorf("order: %+v", order)
	}
	if text, err := os.ReadFile(folder.Audit()); err != nil || !strings.Contains(string(text), "POST /v1/admin/promote") {
		t.Errorf("audit log: %s, %v", text, err)
	}

	must(t, os.WriteFile(o.Lab, []byte(strings.Replace(labText, "test:", "text:", 1)), 0o644))
	d.Reload()
	for line := range notes {
		if t.Log(line); strings.Contains(line, "lab.yaml:7:") {
			break
		}
	}
	must(t, stop())
}

// TestMistakes: New says what is wrong, and leaves nothing open.
func TestMistakes(t *testing.T) {
	used, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer used.Close()
	for name, c := range map[string]struct {
		change func(o *Options)
		want   func(err error) bool
	}{
		"no store":         {func(o *Options) { o.Dir = t.TempDir(); must(t, servedir.Of(o.Dir).Make()) }, is(image.ErrNotFound)},
		"not signed":       {func(o *Options) { must(t, os.RemoveAll(filepath.Join(o.Dir, "metadata"))) }, is(sign.ErrUnsigned)},
		"no lab.yaml":      {func(o *Options) { o.Lab += "x" }, is(fs.ErrNotExist)},
		"no folder of log": {func(o *Options) { o.EventLog = filepath.Join(o.Lab, "log") }, says("log")},
		"port in use":      {func(o *Options) { o.Listen = used.Addr().String() }, says("in use")},
		"no boot files":    {func(o *Options) { o.Boot = &netboot.Options{Dir: t.TempDir()} }, is(netboot.ErrNoBootFiles)},
		"no certificates":  {func(o *Options) { o.Certs = t.TempDir() }, says("server.crt")},
		"wrong users":      {func(o *Options) { must(t, os.WriteFile(servedir.Of(o.Dir).Users(), []byte("x"), 0o600)) }, says("users")},
		"audit is no file": {func(o *Options) { must(t, os.MkdirAll(servedir.Of(o.Dir).Audit(), 0o700)) }, says("audit")},
		"token is no file": {func(o *Options) { must(t, os.Mkdir(servedir.Of(o.Dir).Token(), 0o700)) }, says("token")},
		"wrong lab.yaml": {func(o *Options) { must(t, os.WriteFile(o.Lab, []byte("format: 2\n"), 0o644)) }, func(err error) bool {
			var faults lab.Errors
			return errors.As(err, &faults)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			o := withLab(t, options(t))
			must(t, servedir.Of(o.Dir).Make())
			c.change(o)
			d, err := New(t.Context(), o)
			if d != nil || err == nil || !c.want(err) {
				t.Errorf("got %v, %v", d, err)
			}
			if _, err := servedir.Of(o.Dir).Lab(); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a server that never ran has left its lab.yaml: %v", err)
			}
			s, err := state.Open(servedir.Of(o.Dir).State(), nil)
			must(t, err) // ErrBusy if New left it open
			s.Close()
		})
	}
}

func is(target error) func(error) bool { return func(err error) bool { return errors.Is(err, target) } }

func says(word string) func(error) bool {
	return func(err error) bool { return strings.Contains(err.Error(), word) }
}

// TestEndOfOne: when one port fails the daemon ends, and says why.
func TestEndOfOne(t *testing.T) {
	d, err := New(t.Context(), withLab(t, options(t)))
	must(t, err)
	defer d.Close()
	must(t, d.plain.Close())
	if err := d.Run(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Run: %v", err)
	}
}

// TestNoManager: a service manager that does not listen is an error, and nothing is served.
func TestNoManager(t *testing.T) {
	o := options(t)
	o.NotifySocket = filepath.Join(t.TempDir(), "nobody")
	d, err := New(t.Context(), o)
	must(t, err)
	defer d.Close()
	if err := d.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "service manager") {
		t.Errorf("Run: %v", err)
	}
}

func TestRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		ask := remembered(agentTime, func() string { asked++; return strings.Repeat("x", asked) })
		for i, c := range []struct {
			after time.Duration
			want  string
		}{{0, "x"}, {agentTime, "x"}, {1, "xx"}, {agentTime / 2, "xx"}, {agentTime, "xxx"}} {
			time.Sleep(c.after)
			if got := ask(); got != c.want {
				t.Errorf("question %d: %q, want %q", i, got, c.want)
			}
		}
	})
}

func TestLocalHost(t *testing.T) {
	for listen, want := range map[string]string{
		"0.0.0.0:80": "127.0.0.1:80", "[::]:80": "127.0.0.1:80", "10.1.2.3:80": "10.1.2.3:80", "[fd00::1]:80": "[fd00::1]:80",
	} {
		a, err := net.ResolveTCPAddr("tcp", listen)
		must(t, err)
		if got := localHost(a); got != want {
			t.Errorf("%s: %s, want %s", listen, got, want)
		}
	}
}
