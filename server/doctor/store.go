package doctor

import (
	"errors"
	"fmt"
	"os"
	"time"

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
	repo, err := sign.Open(dir, nil)
	if errors.Is(err, sign.ErrUnsigned) {
		return []Finding{{"signed", Fault, "the store is not signed: machines accept nothing from it", "troy key init --store " + dir}}
	}
	if err != nil {
		return []Finding{{"signed", Fault, err.Error(), "is this the folder of a store?"}}
	}
	expiries, err := repo.Expiries(now)
	if err != nil {
		return []Finding{{"signed", Fault, err.Error(), "sign it again: see troy key"}}
	}
	for _, e := range expiries {
		f := Finding{"signed", Good, fmt.Sprintf("%s is valid until %s", e.Role, e.Expires.Format(time.DateOnly)), ""}
		switch {
		case !e.Expires.After(now):
			f.Level, f.Do = Fault, "machines accept nothing new: "+signing.Renewal(e.Role)
		case e.Soon:
			f.Level, f.Do = Doubt, signing.Renewal(e.Role)
		}
		all = append(all, f)
	}
	return all
}
