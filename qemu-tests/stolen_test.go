package qemutests

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"troy/image"
	"troy/image/trust"
	"troy/image/trust/sign"
	"troy/internal/testing/testlab"
	"troy/server/certs"
	"troy/server/protocol"
	"troy/server/servedir"
)

// TestStolenServer: the server is stolen and replaced. The PC, started as ever, takes the new one by
// what the admin signed, without a visit, and tells the stolen one nothing from then on.
func TestStolenServer(t *testing.T) {
	if !soak() {
		t.Log("only with TROY_SOAK=1")
		return
	}
	l := small(t)
	pc, err := l.NewPC(t.Context(), "stolen")
	if err != nil {
		t.Fatal(err)
	}
	key := servedir.Of(l.Store).TLSKey()
	boot := func(version, reports int, want string) {
		t.Helper()
		server, err := l.Serve(t.Context(), testlab.Room{Version: version})
		if err != nil {
			t.Fatal(err)
		}
		defer server.Stop()
		serial, err := pc.FromKernel(t.Context(), "")
		if err != nil || !strings.Contains(serial, want) {
			t.Fatalf("%v, want %q in\n%s", err, want, serial)
		}
		if got, err := server.Reports(); err != nil || len(got) != reports || reports > 0 && (got[0].Version != version || got[0].Outcome == protocol.OutcomeFailed) {
			t.Errorf("the server heard %+v, %v", got, err)
		}
	}
	boot(1, 1, "nothing to do")

	// Replaced: the new server makes a key of its own, which the admin signs in place of the old one.
	if err := os.Rename(key, key+".stolen"); err != nil {
		t.Fatal(err)
	}
	if err := signOnly(t, l.Store, key); err != nil {
		t.Fatal(err)
	}
	boot(2, 1, "servers: list 2 of the signed servers is in force")

	// The thief's server stands at the same address.
	if err := errors.Join(os.Rename(key, key+".new"), os.Rename(key+".stolen", key)); err != nil {
		t.Fatal(err)
	}
	boot(1, 0, "the server's key is not one that the site's signed list names")
	if _, err := pc.Holds(t.Context(), l.Windows.V2); err != nil {
		t.Error(err)
	}
}

// signOnly signs the key in a file, which is made if need be, as the only server of a store.
func signOnly(t *testing.T, store, keyFile string) error {
	key, _, err := certs.LoadKey(keyFile)
	if err != nil {
		return err
	}
	name, err := key.Name()
	if err != nil {
		return err
	}
	s, err := image.OpenStore(store)
	if err != nil {
		return err
	}
	repo, err := sign.Open(store, nil)
	if err != nil {
		return err
	}
	return repo.SetServers(t.Context(), s, []trust.Server{{Key: name, URLs: []string{testlab.ServerURL}}}, time.Now())
}
