package fields

import (
	"encoding/json"
	"slices"

	"troy/image"
)

// machineFile is the content of machine.json.
type machineFile struct {
	Host   string            `json:"host,omitempty"`
	Name   string            `json:"name,omitempty"`
	Room   string            `json:"room,omitempty"`
	Values map[string]string `json:"values,omitempty"`
}

// MachineJSON is the content of machine.json: the name in Windows, the name and the room in the lab,
// and values by their keys. The same values give the same bytes.
func MachineJSON(name, host, room string, values map[string]string) []byte {
	b, err := json.Marshal(machineFile{host, name, room, values})
	if err != nil {
		return nil // texts always have JSON
	}
	return b
}

// HasMachineFile tells whether a version has a place for machine.json. It is written there whatever
// is in it, so that a script finds the name of the PC.
func HasMachineFile(list []image.Field) bool {
	return slices.ContainsFunc(list, func(f image.Field) bool { return f.Name == MachineFile })
}
