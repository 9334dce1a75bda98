package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"troy/agent/decide"
	"troy/diskwriter/machine"
	"troy/image"
	"troy/image/fields"
	"troy/image/trust"
	"troy/server/protocol"
)

// naming gives the machine what is its own in Windows: its name, numbers of the registry, texts for
// machine.json and for the answer file.
type naming struct {
	con   *console
	disk  *disk
	rec   *records
	store *store
	facts *decide.Facts // of the agent

	made   *machine.Identity // what was made last: the journal does not have its secrets
	failed string            // why the last step did not do all; "" = it did
}

// errNotOurs: the store that is asked does not have the version on the disk.
var errNotOurs = errors.New("this store has another content under that number")

// want notes in the journal what the machine is to be called in a version that starts, or that is
// staged.
func (n *naming) want(ctx context.Context, step decide.Step) error {
	m, order := n.disk.machine, n.facts.Order
	if order.Identity == nil {
		n.con.say("identity: %s", step.Reason)
		return n.kept(m.Want(ctx, nil))
	}
	s := m.State()
	l, starts := machine.Label{Image: s.Image, Version: s.Version, Manifest: s.Manifest}, true
	if step.Image != s.Image || step.Version != s.Version {
		l, starts = machine.Label{Image: s.StagedImage, Version: s.Staged, Manifest: s.StagedManifest}, false
	}
	id, err := n.make(ctx, order, l)
	if err == nil && !starts && order.Identity.Required {
		err = required(l.Image, l.Version, id.Values[lacksValue])
	}
	if err == nil {
		err = m.Want(ctx, id)
	}
	if err == nil {
		n.sayWanted(id)
	}
	return n.kept(err)
}

// required is the error of a version that may not start without all of what is the machine's own.
func required(name string, version int, lacks string) error {
	if lacks == "" {
		return nil
	}
	return fmt.Errorf("%s version %d is not put in place, because its room says identity: required: %s; publish a version that has it, or set `identity: wanted`", name, version, lacks)
}

// kept keeps what the page and the report say of a step, and what was learnt of the store.
func (n *naming) kept(err error) error {
	if n.failed = ""; err != nil {
		n.failed = err.Error()
		return err
	}
	n.rec.remember()
	return nil
}

// wantIn notes it for a version that was just written as a whole, and is not to stay unfinished
// because it has no name.
func (n *naming) wantIn(ctx context.Context, in *machine.Reinstaller, l machine.Label) error {
	order := n.facts.Order
	if order == nil || order.Identity == nil {
		return nil
	}
	list, err := n.fieldsOf(ctx, order, l)
	if err == nil {
		n.made, err = compose(order, list, l, in)
	}
	if err == nil {
		err = in.Want(ctx, n.made)
	}
	if stop := new(machine.StepError); errors.As(err, &stop) {
		return err
	}
	if err != nil {
		n.con.say("identity: %v; going on without", err)
		return nil
	}
	n.sayWanted(n.made)
	return nil
}

func (n *naming) sayWanted(id *machine.Identity) {
	text := "as published"
	if name := id.Values[nameValue]; name != "" {
		text = name
	}
	n.con.say("identity: in %s version %d this machine is called %s", id.Image, id.Version, text)
	if lacks := id.Values[lacksValue]; lacks != "" {
		n.con.say("identity: %s", lacks)
	}
}

// make finds out what the order comes to in a version on the disk.
func (n *naming) make(ctx context.Context, order *protocol.Order, l machine.Label) (*machine.Identity, error) {
	if is := n.made; is != nil && is.Of == identityOf(order) && is.Image == l.Image && is.Version == l.Version && is.Manifest == l.Manifest {
		return is, nil
	}
	list, err := n.fieldsOf(ctx, order, l)
	if err != nil {
		return nil, err
	}
	disk, err := n.disk.machine.ContentOf(l)
	if err != nil {
		return nil, err
	}
	id, err := compose(order, list, l, disk)
	if err == nil {
		n.made = id
	}
	return id, err
}

// fieldsOf are the fields of a version as they were signed.
func (n *naming) fieldsOf(ctx context.Context, order *protocol.Order, l machine.Label) ([]image.Field, error) {
	src, err := n.store.open(ctx, order)
	if err != nil {
		return nil, err
	}
	m, err := image.LoadManifest(ctx, src, l.Image, l.Version)
	if err != nil {
		return nil, err
	}
	if m.SHA256.String() != l.Manifest {
		return nil, fmt.Errorf("%s version %d: %w", l.Image, l.Version, errNotOurs)
	}
	return m.Fields, nil
}

// personalise writes into the empty boot child what the journal has for the version that starts. The
// secrets are those of the order; without one, their places stay as published.
func (n *naming) personalise(ctx context.Context) error {
	m := n.disk.machine
	id, s := m.Wanted(), m.State()
	edits, lacks := id.Edits, s.IdentityWanted != machine.SumEdits(id.Edits)
	var err error
	if lacks && n.facts.Identity == id.Of && n.facts.Identity != "" {
		var all *machine.Identity
		if all, err = n.make(ctx, n.facts.Order, machine.Label{Image: s.Image, Version: s.Version, Manifest: s.Manifest}); err == nil {
			edits, lacks = all.Edits, false
		} else {
			n.con.say("personalise: the secrets cannot be placed: %v", err)
		}
	}
	if err := m.Personalise(ctx, edits); err != nil {
		return n.kept(err)
	}
	_ = n.kept(nil)
	switch name := id.Values[nameValue]; {
	case len(edits) == 0:
		n.con.say("personalise: there is nothing to write without the secrets")
	case lacks:
		n.con.say("personalise: Windows finds %s, without the secrets", orPublished(name))
	default:
		n.con.say("personalise: Windows finds %s", orPublished(name))
	}
	return nil
}

func orPublished(name string) string {
	if name == "" {
		return "the name as published, and what else is this machine's own"
	}
	return "the name " + name
}

// fits says why a version that has to be nameable is not, from its signed fields alone: before
// anything of it is fetched. "" = it is, or need not be.
func (s *store) fits(ctx context.Context, src *trust.Source, order *protocol.Order, step decide.Step) (string, error) {
	if order.Identity == nil || !order.Identity.Required || step.Begun {
		return "", nil
	}
	m, err := image.LoadManifest(ctx, src, step.Image, step.Version)
	if err != nil {
		return "", err
	}
	if err := required(step.Image, step.Version, joined(ownOf(order).placed(m.Fields).lacks)); err != nil {
		return err.Error(), nil
	}
	return "", nil
}

// compose makes the edits of an order in a version: all for which it has a place.
func compose(order *protocol.Order, list []image.Field, l machine.Label, disk io.ReaderAt) (*machine.Identity, error) {
	p := ownOf(order).placed(list)
	edits, err := fields.Fill(list, p.values, disk)
	if err != nil {
		return nil, err
	}
	var plain []machine.Edit
	if len(p.values.Secret) > 0 {
		if plain, err = fields.Fill(list, ownOf(order).plain().placed(list).values, disk); err != nil {
			return nil, err
		}
		plain = slices.Concat([]machine.Edit{}, plain) // not nil: there are secrets
	}
	id := &machine.Identity{Image: l.Image, Version: l.Version, Manifest: l.Manifest, Of: identityOf(order), Values: map[string]string{}, Edits: edits, Plain: plain}
	if id.Values[nameValue], id.Values[lacksValue] = p.values.Name, joined(p.lacks); p.secretless {
		id.Values[secretsValue] = "missing"
	}
	maps.DeleteFunc(id.Values, func(_, text string) bool { return text == "" })
	return id, nil
}

func joined(lacks []string) string {
	return protocol.Clean(strings.Join(lacks, "; "), maxLacks)
}
