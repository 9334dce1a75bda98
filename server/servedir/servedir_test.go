package servedir

import (
	"errors"
	"io/fs"
	"os"
	"testing"
)

func TestNotes(t *testing.T) {
	d := Of(t.TempDir())
	if _, err := d.Address(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("address before there is one: %v", err)
	}
	for range 2 { // the second time it is there
		if err := d.Make(); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(string(d)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder: %v, %v", info, err)
	}
	for _, c := range []struct {
		name string
		set  func(string) error
		get  func() (string, error)
	}{{"address", d.SetAddress, d.Address}, {"lab", d.SetLab, d.Lab}} {
		t.Run(c.name, func(t *testing.T) {
			for _, want := range []string{"http://127.0.0.1:8080", "/srv/with space/x"} {
				if err := c.set(want); err != nil {
					t.Fatal(err)
				}
				if got, err := c.get(); got != want || err != nil {
					t.Errorf("got %q, %v, want %q", got, err, want)
				}
			}
		})
	}
}
