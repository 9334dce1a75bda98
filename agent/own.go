package agent

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"troy/image"
	"troy/image/fields"
	"troy/internal/format"
	"troy/server/protocol"
)

// What machine.Identity.Values says for the agent.
const (
	nameValue  = "name"  // the name that the version has a place for
	lacksValue = "lacks" // what it has none for, and why
	// secretsValue says whether secrets are among that.
	secretsValue = "secrets"

	maxLacks = 1 << 10 // bytes of lacksValue
)

// own is what an order says of the machine's own, and who it is: machine.json tells that as well.
type own struct {
	Identity protocol.Identity `json:"identity"`
	Host     string            `json:"host"`
	Room     string            `json:"room"`
}

// ownOf sorts what an order says, so that the order of its lists does not count.
func ownOf(o *protocol.Order) *own {
	w := &own{Identity: *o.Identity, Host: o.Name, Room: o.Room}
	w.Identity.Settings, w.Identity.Values = slices.Clone(o.Identity.Settings), slices.Clone(o.Identity.Values)
	slices.SortStableFunc(w.Identity.Settings, func(a, b protocol.Setting) int { return cmp.Compare(a.Field, b.Field) })
	slices.SortStableFunc(w.Identity.Values, func(a, b protocol.Value) int { return cmp.Compare(a.Key, b.Key) })
	return w
}

// plain is what there is without the secrets.
func (w *own) plain() *own {
	p := *w
	p.Identity.Values = slices.DeleteFunc(slices.Clone(w.Identity.Values), func(v protocol.Value) bool { return v.Secret })
	return &p
}

// identityOf names what an order says of the machine's own, secrets too, without telling it; "" = it
// says nothing.
func identityOf(o *protocol.Order) string {
	if o == nil || o.Identity == nil {
		return ""
	}
	b, err := format.Marshal(ownOf(o))
	if err != nil {
		return "" // texts and numbers that came as JSON
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// placed are the values for which a version has a place, and what it has none for.
func (w *own) placed(list []image.Field) *places {
	p := &places{list: list, values: &fields.Values{}}
	if name := w.Identity.Name; name != "" {
		p.lack(p.add(func(v *fields.Values) { v.Name = name }))
	}
	for _, s := range w.Identity.Settings {
		p.lack(p.add(func(v *fields.Values) { v.Settings[s.Field] = s.Number }))
	}
	w.addFile(p)
	for _, x := range w.Identity.Values {
		if !protocol.IsAnswer(x.Key) {
			continue
		}
		err := p.add(func(v *fields.Values) {
			if v.Answers[x.Key] = x.Text; x.Secret {
				v.Secret = append(v.Secret, x.Key)
			}
		})
		p.secretless = p.secretless || x.Secret && err != nil
		p.lack(err)
	}
	return p
}

// addFile adds machine.json: in a version that has a place for it, or if something is to be in it.
// Where it may not hold secrets, it is written without.
func (w *own) addFile(p *places) {
	all := w.file()
	if len(all.values) == 0 && !fields.HasMachineFile(p.list) {
		return
	}
	err := p.add(all.into)
	if err != nil && all.secret {
		p.secretless = true
		if p.add(w.plain().file().into) == nil {
			err = fmt.Errorf("secrets of machine.json: %w", err)
		}
	}
	p.lack(err)
}

// machineFile is machine.json.
type machineFile struct {
	own    *own
	values map[string]string
	secret bool // one of them is
}

// file makes machine.json.
func (w *own) file() *machineFile {
	f := &machineFile{own: w, values: map[string]string{}}
	for _, x := range w.Identity.Values {
		if !protocol.IsAnswer(x.Key) {
			f.values[x.Key], f.secret = x.Text, f.secret || x.Secret
		}
	}
	return f
}

func (f *machineFile) into(v *fields.Values) {
	if v.Machine = fields.MachineJSON(f.own.Identity.Name, f.own.Host, f.own.Room, f.values); f.secret {
		v.Secret = append(v.Secret, fields.MachineFile)
	}
}

// places are the fields of a version, and what was put into them so far.
type places struct {
	list       []image.Field
	values     *fields.Values
	lacks      []string // what has no place, and why
	secretless bool     // a secret has none
}

// add puts one thing more into its place. If there is none, nothing changes.
func (p *places) add(one func(*fields.Values)) error {
	v := &fields.Values{Name: p.values.Name, Machine: p.values.Machine, Secret: slices.Clone(p.values.Secret), Settings: map[string]uint32{}, Answers: map[string]string{}}
	maps.Copy(v.Settings, p.values.Settings)
	maps.Copy(v.Answers, p.values.Answers)
	one(v)
	if err := fields.Check(p.list, v); err != nil {
		return err
	}
	p.values = v
	return nil
}

func (p *places) lack(err error) {
	if err != nil && !slices.Contains(p.lacks, err.Error()) {
		p.lacks = append(p.lacks, err.Error())
	}
}
