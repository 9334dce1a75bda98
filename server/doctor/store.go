package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"troy/image"
	"troy/image/trust/sign"
	"troy/server/certs"
	"troy/server/servedir"
	"troy/server/signing"
	"troy/server/state"
)

// checkLogins looks whether anybody can sign in on the page of a store.
func checkLogins(dir string) []Finding {
	_, err := os.Stat(servedir.Of(dir).Users())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return []Finding{{"page", Doubt, fmt.Sprintf("it is not known who can sign in: %v", err), "run this as the user of the service"}}
	}
	if err != nil {
		return []Finding{{"page", Doubt, "no user can sign in on the status page", "troy login NAME " + dir}}
	}
	return nil
}

// checkState looks into the state file and its copy, also while a server works with it.
func checkState(dir string) []Finding {
	path := servedir.Of(dir).State()
	err := state.Check(path)
	var damaged *state.DamagedError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // it was never served
	case errors.As(err, &damaged):
		return []Finding{{"state", Fault, err.Error(), "stop the server; " + damaged.WayBack()}}
	case err != nil:
		return []Finding{{"state", Doubt, err.Error(), "run as the user of the service, or as root"}}
	}
	if err := state.Check(state.CopyOf(path)); err != nil {
		return []Finding{{"state", Doubt, fmt.Sprintf("%s is whole, but there is no good copy of it: %v", path, err), "troy serve makes one at its start and every day"}}
	}
	return []Finding{{"state", Good, path + " and its copy are whole", ""}}
}

// unreadable is the finding where the system did not let something be read: that says nothing of
// what it holds, and is no reason to sign anything again.
func unreadable(about string, err error) (f Finding, ok bool) {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return Finding{about, Doubt, err.Error(), "run as the user of the service, or as root"}, true
	case errors.Is(err, syscall.EIO):
		return Finding{about, Fault, err.Error(), "look after the disk: the kernel's log tells more"}, true
	}
	return f, false
}

// checkSigned looks at the signatures of a store.
func checkSigned(dir string, now time.Time) (all []Finding) {
	if _, err := os.Stat(filepath.Join(dir, image.MarkerName)); errors.Is(err, fs.ErrNotExist) {
		return []Finding{{"signed", Fault, dir + " is no store", "troy init " + dir}}
	}
	repo, err := sign.Open(dir, nil)
	if errors.Is(err, sign.ErrUnsigned) && !errors.Is(err, sign.ErrDoubt) {
		return []Finding{{"signed", Fault, "the store is not signed: machines accept nothing from it", "troy key init --store " + dir}}
	}
	var expiries []sign.Expiry
	if err == nil {
		expiries, err = repo.Expiries(now)
	}
	if f, ok := unreadable("signed", err); ok {
		return []Finding{f}
	}
	if err != nil {
		return []Finding{{"signed", Fault, err.Error(), "troy key rotate --server --store " + dir}}
	}
	for _, e := range expiries {
		f := Finding{"signed", Good, fmt.Sprintf("what the %s signed is valid until %s", e.Key, e.Expires.Format(time.DateOnly)), ""}
		switch {
		case e.Ended(now):
			f.Text = fmt.Sprintf("what the %s signed has expired on %s", e.Key, e.Expires.Format(time.DateOnly))
			f.Level, f.Do = Fault, "machines accept nothing new: "+signing.Renewal(e.Key)
		case e.Soon:
			f.Level, f.Do = Doubt, signing.Renewal(e.Key)
		}
		all = append(all, f)
	}
	return all
}

// checkKey looks whether machines take the server of a store.
func checkKey(dir string) []Finding {
	repo, err := sign.Open(dir, nil)
	if err != nil {
		return nil // checkSigned says it
	}
	list, err := repo.ServedList()
	if f, ok := unreadable("server", err); ok {
		return []Finding{f}
	}
	if err != nil {
		return []Finding{{"server", Fault, err.Error(), "sign the servers again: see troy key servers"}}
	}
	path := servedir.Of(dir).TLSKey()
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return []Finding{{"server", Doubt, "it has no key yet", "start troy serve: it makes one and says how it is signed"}}
	}
	key, _, err := certs.LoadKey(path)
	if f, ok := unreadable("server", err); ok {
		return []Finding{f}
	}
	if err != nil {
		return []Finding{{"server", Fault, err.Error(), ""}}
	}
	name, err := key.Name()
	if err != nil {
		return []Finding{{"server", Fault, err.Error(), ""}}
	}
	if !slices.Contains(list.Keys(), name) {
		return []Finding{{"server", Fault, fmt.Sprintf("no machine takes it: its key %s is not signed", name), "troy key servers --store " + dir + " --add " + name + " --url https://SERVER:PORT"}}
	}
	return []Finding{{"server", Good, "machines take it by its key " + name, ""}}
}
