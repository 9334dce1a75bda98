package doctor

import (
	"cmp"
	"fmt"

	"troy/server/rooms"
)

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
