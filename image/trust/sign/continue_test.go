package sign_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troy/image"
	"troy/image/publish"
	"troy/image/trust"
	"troy/image/trust/sign"
	"troy/internal/testing/trusttest"
)

// restoredBackup is a store that a week of work was lost of: version 3, a permit, several signatures.
// A machine has seen all of it. The stick with the admin key was not restored.
func restoredBackup(t *testing.T) (m *trusttest.Room, stick string, seen *trusttest.Memory) {
	t.Helper()
	stick = filepath.Join(t.TempDir(), "stick")
	m = trusttest.NewRoom(t, &sign.Options{Keys: stick})
	m.Publish()
	m.Sign(trusttest.Start)
	m.Permit(trusttest.Wipe("OLD-1"))
	backup := m.CopyTree()
	backup.Disks = m.Disks[:2:2]
	m.Publish()
	m.Sign(trusttest.Start)
	m.Must(m.Repo.Withdraw(t.Context(), m.Store, func(trust.Permit) bool { return true }, trusttest.Start))
	m.Permit(trusttest.Downgrade(1))
	seen = &trusttest.Memory{}
	m.WantVersion(3, m.Root(), seen, trusttest.Start)
	backup.Reopen(&sign.Options{Keys: stick})
	return backup, stick, seen
}

// asked agrees to all that is shown, and keeps it.
func asked(m *trusttest.Room, keys string) *strings.Builder {
	var shown strings.Builder
	m.Reopen(&sign.Options{Keys: keys, Confirm: func(_ string, list []sign.Difference) error {
		for _, d := range list {
			shown.WriteString(d.String() + "\n")
		}
		return nil
	}})
	return &shown
}

func continued(m *trusttest.Room, seen trust.Numbers) error {
	return m.Repo.Continue(m.T.Context(), m.Store, trusttest.Start, seen, func(ctx context.Context, image string, newest int) error {
		return publish.Reserve(ctx, m.Store, image, newest)
	})
}

// TestContinue: machines refuse what was restored from a backup, and take it when it was signed
// above the numbers that they tell. The number of the lost version is not used again.
func TestContinue(t *testing.T) {
	for name, older := range map[string]bool{"with the newest trusted.json": false, "with that of the backup": true} {
		t.Run(name, func(t *testing.T) {
			m, stick, seen := restoredBackup(t)
			root, err := os.ReadFile(filepath.Join(m.Dir, "metadata", "1.root.json"))
			m.Must(err)
			m.T = t
			if _, err := m.Sees(root, seen, m.Store, trusttest.Start); !errors.Is(err, trust.ErrRollback) {
				t.Fatalf("a machine takes what is older: %v", err)
			}
			if older { // its admin key lies in the store, and came with the backup
				m.Must(os.Remove(filepath.Join(stick, "trusted.json")))
				m.Must(m.Repo.Trust(nil))
			}
			have, err := m.Repo.Numbers()
			m.Must(err)
			n := trust.Remembered(root, seen)
			if n.Images = map[string]int{"pc": 3, "lost": 5}; n.Timestamp <= have.Timestamp || n.Targets <= have.Targets || n.Store != have.Store || have.Images["pc"] != 2 {
				t.Fatalf("a machine tells %+v, the store has %+v", n, have)
			}
			shown := asked(m, stick)
			m.Must(continued(m, n))
			want := []string{"next version of pc: other than before: 4, was 3", "next version of lost: other than before: 6, was 1", "number of the timestamp"}
			if !older {
				want = append(want, "pc version 3: gone", "permit to wipe disk \"OLD-1\"", "permit to downgrade")
			}
			for _, w := range want {
				if !strings.Contains(shown.String(), w) {
					t.Errorf("%q is not in what was shown: %s", w, shown)
				}
			}
			m.WantVersion(2, root, seen, trusttest.Start)
			for name, next := range map[string]int{"pc": 4, "lost": 6} {
				s, err := m.Repo.Source(t.Context(), m.Store)
				m.Must(err)
				if x, err := image.LoadIndex(t.Context(), s, name); err != nil || x.Next != next {
					t.Errorf("%s goes on with %+v, %v; want version %d", name, x, err, next)
				}
			}
			_, err = publish.Import(t.Context(), m.Store, "lost", &publish.Disk{Reader: strings.NewReader(strings.Repeat("x", 1<<20)), Size: 1 << 20, SectorSize: 512}, nil)
			m.Must(err)
			m.Sign(trusttest.Start) // and so on, as ever
			if v, err := m.Store.Show(t.Context(), "lost", 0); err != nil || v.Version != 6 {
				t.Errorf("version %+v, %v", v, err)
			}
			m.WantVersion(2, root, seen, trusttest.Start)
		})
	}
}

// TestContinueInterrupted: numbers are reserved, and nothing is signed yet. Another call ends it.
func TestContinueInterrupted(t *testing.T) {
	m, _, seen := restoredBackup(t)
	n := trust.Remembered(m.Files()["metadata/1.root.json"], seen)
	n.Images = map[string]int{"pc": 7}
	stop := errors.New("the plug is pulled")
	err := m.Repo.Continue(t.Context(), m.Store, trusttest.Start, n, func(ctx context.Context, image string, newest int) error {
		m.Must(publish.Reserve(ctx, m.Store, image, newest))
		return stop
	})
	if !errors.Is(err, stop) {
		t.Fatal(err)
	}
	if err := m.Repo.Ready(t.Context(), m.Store); !errors.Is(err, sign.ErrDoubt) {
		t.Errorf("half a change is signed by the way: %v", err)
	}
	m.Must(continued(m, n))
	m.WantVersion(2, m.Root(), seen, trusttest.Start)
}

// TestContinueRefused: what cannot be right is not signed, and nothing changes.
func TestContinueRefused(t *testing.T) {
	for name, x := range map[string]struct {
		change func(m *trusttest.Room, n *trust.Numbers)
		want   error
	}{
		"another version in the folder": {func(m *trusttest.Room, _ *trust.Numbers) { plantVersion(m) }, sign.ErrDoubt},
		"a newer root":                  {func(_ *trusttest.Room, n *trust.Numbers) { n.Root = 2 }, sign.ErrOldRoot},
		"no room for further numbers":   {func(_ *trusttest.Room, n *trust.Numbers) { n.Timestamp = 1 << 30 }, sign.ErrRefused},
		"no room for further versions":  {func(_ *trusttest.Room, n *trust.Numbers) { n.Images = map[string]int{"pc": 1_000_000} }, sign.ErrRefused},
		"a name that is none":           {func(_ *trusttest.Room, n *trust.Numbers) { n.Images = map[string]int{"../pc": 1} }, sign.ErrRefused},
		"no": {func(m *trusttest.Room, _ *trust.Numbers) {
			m.Reopen(&sign.Options{Keys: filepath.Dir(m.Repo.KeyPath(sign.Admin)), Confirm: func(string, []sign.Difference) error { return errors.New("no") }})
		}, sign.ErrRefused},
	} {
		t.Run(name, func(t *testing.T) {
			m, _, seen := restoredBackup(t)
			n := trust.Remembered(m.Files()["metadata/1.root.json"], seen)
			x.change(m, &n)
			before := m.Files()
			if err := continued(m, n); !errors.Is(err, x.want) {
				t.Errorf("%v, want %v", err, x.want)
			}
			if after := m.Files(); len(after) != len(before) || string(after["metadata/timestamp.json"]) != string(before["metadata/timestamp.json"]) {
				t.Error("something was signed")
			}
		})
	}
}
