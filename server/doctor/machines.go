package doctor

import (
	"cmp"
	"fmt"
	"strings"

	"troy/image/trust/sign"
	"troy/server/rooms"
	"troy/server/signing"
)

// checkNumbers compares the numbers of the signed metadata with those below which machines take
// nothing: a store that was restored from an old backup has lower ones.
func checkNumbers(dir string, list []rooms.Host) []Finding {
	repo, err := sign.Open(dir, nil)
	if err != nil {
		return nil // checkSigned says it
	}
	have, err := repo.Numbers()
	if err != nil {
		return []Finding{{"signed", Fault, err.Error(), "troy key rotate --server --store " + dir}}
	}
	told := signing.Compare(list, have)
	if told.Machines == 0 {
		return nil
	}
	var ahead []string
	for _, s := range told.Ahead() {
		ahead = append(ahead, s.String())
	}
	if len(ahead) > 0 {
		return []Finding{{"signed", Fault, "machines have seen newer signatures, and take none of this store: it was restored from an old backup; " + strings.Join(ahead, "; "),
			"troy key sign --at-least --store " + dir}}
	}
	return []Finding{{"signed", Good, fmt.Sprintf("as new as the %d machines that are known by their keys have seen", told.Machines), ""}}
}

// checkMachines lists the machines that a person should look after.
func checkMachines(list []rooms.Host) (all []Finding) {
	for _, h := range list {
		if name := cmp.Or(h.Name, h.ID); h.Attention != "" {
			all = append(all, Finding{"machines", Doubt, fmt.Sprintf("%s: %s", name, h.Attention), "look at it; troy log " + name})
		}
	}
	if len(all) == 0 {
		all = []Finding{{"machines", Good, fmt.Sprintf("none of %d needs attention", len(list)), ""}}
	}
	return all
}
