package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"troy/image"
	"troy/image/trust/sign"
	"troy/server/servedir"
	"troy/server/signing"
)

// checkLogins looks whether anybody can sign in on the page of a store.
func checkLogins(dir string) []Finding {
	if _, err := os.Stat(servedir.Of(dir).Users()); err != nil {
		return []Finding{{"page", Doubt, "no user can sign in on the status page", "troy login NAME " + dir}}
	}
	return nil
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
	if err != nil {
		return []Finding{{"signed", Fault, err.Error(), "troy key rotate --server --store " + dir}}
	}
	expiries, err := repo.Expiries(now)
	if err != nil {
		return []Finding{{"signed", Fault, err.Error(), "troy key rotate --server --store " + dir}}
	}
	for _, e := range expiries {
		f := Finding{"signed", Good, fmt.Sprintf("what the %s signed is valid until %s", e.Key, e.Expires.Format(time.DateOnly)), ""}
		switch {
		case !e.Expires.After(now):
			f.Level, f.Do = Fault, "machines accept nothing new: "+signing.Renewal(e.Key)
		case e.Soon:
			f.Level, f.Do = Doubt, signing.Renewal(e.Key)
		}
		all = append(all, f)
	}
	return all
}
