package fields

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"troy/image"
	"troy/internal/utf16le"
)

// Names of fields.
const (
	ComputerName          = "computer-name"
	Hostname              = "hostname"
	NVHostname            = "nv-hostname"
	ExpandOnMount         = "virtual-disk-expand-on-mount"
	Hiberboot             = "hiberboot-enabled"
	DisablePasswordChange = "disable-password-change"
	MaximumPasswordAge    = "maximum-password-age"
	StorageStart          = "storage-start"
	MachineFile           = "machine-file"
	AnswerFile            = "answer-file"
)

// NameSlot is the element of an answer file that gets the name of the machine as well.
const NameSlot = "specialize/Microsoft-Windows-Shell-Setup/ComputerName"

// MaxName is the longest name of a PC, in characters: NetBIOS has no more.
const MaxName = 15

// names are the fields that get the name of the machine.
var names = []string{ComputerName, Hostname, NVHostname}

// most are the largest numbers that Windows knows for a setting, and comes up with: a driver that does
// not start early is no driver of the disk. Others may be any.
var most = map[string]uint32{Hiberboot: 1, DisablePasswordChange: 1, MaximumPasswordAge: 1_000_000, StorageStart: 0}

// Values are what a machine gets. What is empty stays as published.
type Values struct {
	// Name is what the PC is called. It goes to the three names of the registry, and to NameSlot.
	Name string
	// Settings are numbers of the registry by the names of their fields.
	Settings map[string]uint32
	// Machine is all of machine.json.
	Machine []byte
	// Answers are texts for elements of the answer file, by the names of the slots.
	Answers map[string]string
	// Secret are the names of the fields and slots whose values must not be kept, and go only where a
	// field is private. An answer file with one of them is secret as a whole.
	Secret []string
}

// Check tells whether all values can be written into the fields of a version. Errors: *NoFieldError,
// *RoomError, *ValueError, *NotPrivateError.
func Check(list []image.Field, v *Values) error {
	_, err := encode(list, v)
	return err
}

// CheckName returns a *ValueError for what cannot be the name of a PC.
func CheckName(name string) error {
	reason := ""
	switch {
	case len(name) > MaxName:
		reason = fmt.Sprintf("%.64q has %d characters, at most %d", name, len(name), MaxName)
	case strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != "" || name == "":
		reason = fmt.Sprintf("%q: want letters, digits and dashes", name)
	case strings.Trim(name, "0123456789") == "":
		reason = fmt.Sprintf("%q has digits alone", name)
	case name[0] == '-' || name[len(name)-1] == '-':
		reason = fmt.Sprintf("%q begins or ends with a dash", name)
	default:
		return nil
	}
	return &ValueError{"name", reason}
}

// filling is a field and what is to be written there.
type filling struct {
	*image.Field
	value   []byte            // all of it; nil: of the slots alone
	answers map[string]string // escaped
	secret  bool
}

// encode checks the values and returns the fields that get one.
func encode(list []image.Field, v *Values) ([]filling, error) {
	if err := v.check(); err != nil {
		return nil, err
	}
	wanted, err := v.wanted(list)
	if err != nil {
		return nil, err
	}
	var out []filling
	for i := range list {
		f := &list[i]
		value, ok := wanted[f.Name]
		if !ok || f.Kind == image.FieldAnswers {
			continue
		}
		if need := int64(len(value)); need > f.Room() {
			return nil, &RoomError{f.Name, f.Where, need, f.Room()}
		}
		out = append(out, filling{Field: f, value: value, secret: slices.Contains(v.Secret, f.Name)})
	}
	answers, err := v.answers(list)
	if err != nil {
		return nil, err
	}
	if answers != nil {
		out = append(out, *answers)
	}
	for _, f := range out {
		if f.secret && !f.Private {
			return nil, &NotPrivateError{f.Name, f.Where}
		}
	}
	return out, nil
}

// check looks at the values alone.
func (v *Values) check() error {
	if v.Name != "" {
		if err := CheckName(v.Name); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(v.Settings)) {
		if err := bounded(name, v.Settings[name]); err != nil {
			return err
		}
	}
	if v.Machine != nil && (!utf8.Valid(v.Machine) || !json.Valid(v.Machine)) {
		return &ValueError{MachineFile, "it is not JSON in UTF-8"}
	}
	for _, name := range slices.Sorted(maps.Keys(v.Answers)) {
		if !isText(v.Answers[name]) {
			return &ValueError{name, "it has characters that XML does not allow"}
		}
	}
	return nil
}

// isText tells whether XML can hold a text.
func isText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xfffe || r == 0xffff
	})
}

// wanted returns the bytes of each value but those of the answer file, by the names of fields.
func (v *Values) wanted(list []image.Field) (map[string][]byte, error) {
	wanted := map[string][]byte{}
	if v.Name != "" {
		for _, name := range names {
			text := v.Name
			if name == ComputerName {
				text = strings.ToUpper(text) // as Windows does: it is the name of NetBIOS
			}
			// Where the setup of Windows gives the name, the registry need not hold one yet.
			if has(list, name, image.FieldText) || !hasSlot(list, NameSlot) {
				wanted[name] = utf16le.Append(nil, text+"\x00")
			}
		}
	}
	for name, n := range v.Settings {
		wanted[name] = []byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)}
	}
	if v.Machine != nil {
		wanted[MachineFile] = v.Machine
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		kind := image.FieldText
		if _, number := v.Settings[name]; number {
			kind = image.FieldNumber
		} else if name == MachineFile {
			kind = image.FieldFile
		}
		if !has(list, name, kind) {
			return nil, &NoFieldError{Name: name}
		}
	}
	return wanted, nil
}

// has tells whether there is a field of that name, and all of that name are of a kind.
func has(list []image.Field, name, kind string) (found bool) {
	for i := range list {
		if list[i].Name == name {
			if list[i].Kind != kind {
				return false
			}
			found = true
		}
	}
	return found
}

// answersOf returns the field of the answer file, or nil.
func answersOf(list []image.Field) *image.Field {
	i := slices.IndexFunc(list, func(f image.Field) bool { return f.Kind == image.FieldAnswers })
	if i < 0 {
		return nil
	}
	return &list[i]
}

func hasSlot(list []image.Field, name string) bool {
	f := answersOf(list)
	return f != nil && slices.ContainsFunc(f.Slots, func(s image.Slot) bool { return s.Name == name })
}

var escape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "\r", "&#13;")

// answers returns what the answer file gets, nil for nothing.
func (v *Values) answers(list []image.Field) (*filling, error) {
	all := map[string]string{}
	if v.Name != "" && hasSlot(list, NameSlot) {
		all[NameSlot] = v.Name
	}
	maps.Copy(all, v.Answers)
	if len(all) == 0 {
		return nil, nil
	}
	f := answersOf(list)
	if f == nil {
		return nil, &NoFieldError{Name: AnswerFile}
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !hasSlot(list, name) {
			return nil, &NoFieldError{Name: AnswerFile, Slot: name}
		}
		all[name] = escape.Replace(all[name])
	}
	need := f.Used
	for _, s := range f.Slots {
		if text, ok := all[s.Name]; ok {
			need += int64(len(text)) - s.Length
		}
	}
	if need > f.Room() {
		return nil, &RoomError{f.Name, f.Where, need, f.Room()}
	}
	secret := slices.ContainsFunc(v.Secret, func(name string) bool { _, is := all[name]; return is || name == f.Name })
	return &filling{Field: f, answers: all, secret: secret}, nil
}
