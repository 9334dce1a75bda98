package protocol

import "strings"

import "slices"

// Limits on what an Identity holds; Validate checks them. All of it has to fit a message.
const (
	MaxName    = 15       // bytes of Identity.Name: NetBIOS has no more
	MaxValues  = 64       // values, and settings
	MaxValue   = 16 << 10 // bytes of Value.Text
	MaxContent = 32 << 10 // bytes of all values and their keys
)

// Identity is what a machine is called in Windows, and whatever else is its own there. It is written
// into the fields of its version (package image/fields).
type Identity struct {
	// Required: a version that has no place for all of this is not committed. Otherwise what has a
	// place is written.
	Required bool      `json:"required,omitempty"`
	Name     string    `json:"name,omitempty"`     // of the PC; "" = as published
	Settings []Setting `json:"settings,omitempty"` // numbers of the registry
	Values   []Value   `json:"values,omitempty"`   // texts for machine.json and for the answer file
}

// Setting is a number of the registry.
type Setting struct {
	Field  string `json:"field"` // its name, see package image/fields
	Number uint32 `json:"number"`
}

// Value is a text of the machine's own.
type Value struct {
	// Key is a member of machine.json, or, if there is a slash in it, the path of an element of the
	// answer file, such as "specialize/Microsoft-Windows-Shell-Setup/RegisteredOwner".
	Key  string `json:"key"`
	Text string `json:"text"`
	// Secret: nothing keeps or shows it. Only a machine that an admin confirmed gets it.
	Secret bool `json:"secret,omitempty"`
}

// IsAnswer tells whether the key of a value is the path of an element of the answer file.
func IsAnswer(key string) bool { return strings.Contains(key, "/") }

// Named is what a machine has of its identity in the version that it boots.
type Named struct {
	Name    string `json:"name,omitempty"`    // "" = as published
	Secrets bool   `json:"secrets,omitempty"` // it has all secrets of the last order
	Lacks   string `json:"lacks,omitempty"`   // what it lacks of what was ordered, and why; "" = nothing
}

// Public returns the identity with no text of its secrets: for logs.
func (id *Identity) Public() *Identity {
	if id == nil {
		return nil
	}
	public := *id
	public.Values = slices.Clone(id.Values)
	for i := range public.Values {
		if public.Values[i].Secret {
			public.Values[i].Text = ""
		}
	}
	return &public
}

// Validate checks the bounds; the error is an ErrInvalid and holds nothing of the values.
func (id *Identity) Validate() error {
	if id == nil {
		return nil
	}
	if len(id.Settings) > MaxValues || len(id.Values) > MaxValues {
		return invalid("identity: %d settings, %d values, at most %d", len(id.Settings), len(id.Values), MaxValues)
	}
	for i, s := range id.Settings {
		if s.Field == "" || texts(MaxText, "field", s.Field) != nil {
			return invalid("identity: settings[%d]", i)
		}
	}
	size := 0
	for i, v := range id.Values {
		if v.Key == "" || texts(MaxText, "key", v.Key) != nil || texts(MaxValue, "text", v.Text) != nil {
			return invalid("identity: values[%d], of %d bytes, at most %d", i, len(v.Text), MaxValue)
		}
		size += len(v.Key) + len(v.Text)
	}
	if size > MaxContent {
		return invalid("identity: values of %d bytes, at most %d", size, MaxContent)
	}
	return texts(MaxName, "identity: name", id.Name)
}

func (n *Named) validate() error {
	if n == nil {
		return nil
	}
	return texts(MaxText, "named: name", n.Name, "named: lacks", n.Lacks)
}
