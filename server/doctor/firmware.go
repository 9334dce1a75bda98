package doctor

import (
	"fmt"
	"slices"
	"strings"

	"troy/server/rooms"
)

// checkFirmware says what of the store machines would not start, a finding for each program.
func checkFirmware(hosts []rooms.Host) (all []Finding) {
	names := map[string][]string{}
	var lines []string
	for _, h := range hosts {
		for _, line := range h.Refuses {
			if names[line] == nil {
				lines = append(lines, line)
			}
			names[line] = append(names[line], h.Name)
		}
	}
	slices.Sort(lines)
	for _, line := range lines {
		all = append(all, Finding{"firmware", Doubt, fmt.Sprintf("%s would not start %s", some(names[line]), line), remedy(line)})
	}
	if len(hosts) > 0 && len(all) == 0 {
		all = append(all, Finding{"firmware", Good, "no machine that has checked in would refuse what the store gives it to start", ""})
	}
	return all
}

const namesMost = 3 // in a line

// some names the first machines, and says how many there are besides.
func some(names []string) string {
	text := strings.Join(names[:min(len(names), namesMost)], ", ")
	if more := len(names) - namesMost; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// remedy says what helps, by what is refused.
func remedy(line string) string {
	if strings.HasPrefix(line, "Windows Boot Manager") {
		return "update the Windows in the image and publish it, before the version goes to machines"
	}
	return "update shim-signed and grub-efi-amd64-signed, make the media again, and publish out/agent as a release, before machines need it"
}
