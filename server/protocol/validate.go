package protocol

import (
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"troy/internal/errline"
	"troy/internal/format"
)

// ErrInvalid is the class of everything Validate finds.
var ErrInvalid = errors.New("invalid message")

// Validate checks everything that can be checked without knowing the machine.
func (m *Machine) Validate() error {
	if len(m.Ports) == 0 && m.UUID == "" {
		return invalid("machine: neither ports nor uuid")
	}
	if len(m.Ports) > MaxPorts {
		return invalid("machine: %d ports, at most %d", len(m.Ports), MaxPorts)
	}
	for i, p := range m.Ports {
		if mac, err := net.ParseMAC(p.MAC); err != nil || mac.String() != p.MAC {
			return invalid("machine: ports[%d].mac is no lower-case MAC address with colons", i)
		}
		if texts(MaxText, "bus", p.Bus) != nil {
			return invalid("machine: ports[%d].bus", i)
		}
	}
	return texts(MaxText, "uuid", m.UUID, "serial", m.Serial, "vendor", m.Vendor, "product", m.Product)
}

// Validate checks the message; the error is an ErrInvalid.
func (c *CheckIn) Validate() error {
	for _, v := range []int{c.Version, c.Staged, c.Previous} {
		if v < 0 || v > math.MaxInt32 {
			return invalid("version %d", v)
		}
	}
	if len(c.Disks) > MaxDisks {
		return invalid("%d disks, at most %d", len(c.Disks), MaxDisks)
	}
	for i, d := range c.Disks {
		if d.Size < 0 || d.SectorSize < 0 || texts(MaxText, "path", d.Path, "model", d.Model, "serial", d.Serial) != nil {
			return invalid("disks[%d]", i)
		}
	}
	if len(c.Devices) > MaxDevices {
		return invalid("%d devices, at most %d", len(c.Devices), MaxDevices)
	}
	for i, d := range c.Devices {
		if texts(MaxText, "kind", d.Kind, "bus", d.Bus, "id", d.ID, "class", d.Class, "driver", d.Driver) != nil {
			return invalid("devices[%d]", i)
		}
	}
	switch c.Health {
	case HealthUnknown, HealthGood, HealthFailing:
	default:
		return invalid("health %q", c.Health)
	}
	switch c.Setup {
	case SetupNone, SetupPending, SetupOver:
	default:
		return invalid("setup %q", c.Setup)
	}
	if c.Memory < 0 || c.Direct < 0 || c.Direct > MaxDirect {
		return invalid("memory %d, direct %d", c.Memory, c.Direct)
	}
	if c.Oldest < 0 {
		return invalid("oldest %d", c.Oldest)
	}
	return errline.Join(
		version(c.Protocol),
		c.Machine.Validate(),
		c.Keys.validate(),
		c.Trusted.validate(),
		c.Named.validate(),
		hashes("manifest", c.Manifest, "staged_manifest", c.StagedManifest),
		texts(MaxText, "agent", c.Agent, "image", c.Image, "detail", c.Detail, "last_start", c.LastStart, "without", c.Without, "firmware", c.Firmware,
			"firmware_version", c.FirmwareVersion),
	)
}

func (t *Trusted) validate() error {
	if t == nil {
		return nil
	}
	for _, n := range []int64{t.Root, t.Targets, t.Snapshot, t.Timestamp, int64(t.Servers)} {
		if n < 0 || n > math.MaxInt32 {
			return invalid("trusted: number %d", n)
		}
	}
	if t.Store == "" || t.Root == 0 || len(t.Images) > MaxImages {
		return invalid("trusted: store %.40q, root %d, %d images; at most %d", t.Store, t.Root, len(t.Images), MaxImages)
	}
	for i, h := range t.Images {
		if h.Image == "" || h.Version < 1 || h.Version > math.MaxInt32 || texts(MaxText, "image", h.Image) != nil {
			return invalid("trusted: images[%d]", i)
		}
	}
	return texts(MaxText, "store", t.Store)
}

func (k *Keys) validate() error {
	if k.SVN < 0 || k.SVN > math.MaxUint32 {
		return invalid("svn %d", k.SVN)
	}
	if len(k.CAs) > MaxCAs || len(k.Revoked) > MaxCAs {
		return invalid("%d cas, %d revoked, at most %d", len(k.CAs), len(k.Revoked), MaxCAs)
	}
	for _, list := range [][]CA{k.CAs, k.Revoked} {
		for i, c := range list {
			if !isHash(c.SHA256) || texts(MaxText, "name", c.Name) != nil {
				return invalid("certificate %d", i)
			}
		}
	}
	return errline.Join(hashes("dbx", k.DBX), texts(MaxDetail, "sbat", k.SBAT))
}

// Validate checks the message; the error is an ErrInvalid.
func (o *Order) Validate() error {
	if err := errline.Join(
		version(o.Protocol),
		words("needs", o.Needs),
		o.Want.validate(),
		o.Rules.validate(),
		o.Verify.validate(),
		o.EndSetup.validate(),
		o.Identity.Validate(),
		hashes("servers", o.Servers),
		texts(MaxText, "repo", o.Repo, "reason", o.Reason, "agent", o.Agent, "name", o.Name, "code", o.Code, "room", o.Room, "contact", o.Contact),
		texts(MaxText, append(pairs("mirrors", o.Mirrors), o.Permits.Provision.texts()...)...),
	); err != nil {
		return err
	}
	if o.Wait < 0 || o.Wait > MaxWait || len(o.Mirrors) > MaxMirrors || o.Newest < 0 {
		return invalid("wait %d, %d mirrors, newest %d", o.Wait, len(o.Mirrors), o.Newest)
	}
	if p := o.Permits.Provision; p != nil && (p.SlotBytes < 0 || p.SystemBytes < 0) {
		return invalid("slot_bytes %d, system_bytes %d", p.SlotBytes, p.SystemBytes)
	}
	return nil
}

func (w *Want) validate() error {
	switch {
	case w == nil:
		return nil
	case w.Image == "" || w.Version < 1 || w.Version > math.MaxInt32:
		return invalid("want image %q version %d", w.Image, w.Version)
	case !isHash(w.Manifest):
		return invalid("manifest is not a SHA-256 in lower-case hex")
	}
	return texts(MaxText, "image", w.Image)
}

// isHash tells whether s is a SHA-256 as hex writes it.
func isHash(s string) bool {
	return len(s) == HashSize && strings.Trim(s, "0123456789abcdef") == ""
}

func (r *Rules) validate() error {
	switch {
	case r.Reset != "" && r.Reset != ResetUpdate && r.Reset != ResetBoot && r.Reset != ResetKey:
		return invalid("reset %q", r.Reset)
	case r.Starts != "" && r.Starts != StartsAgent && r.Starts != StartsDirect:
		return invalid("starts %q", r.Starts)
	case r.Merge != "" && r.Merge != MergeNow && r.Merge != MergeLazy:
		return invalid("merge %q", r.Merge)
	case r.Rate != 0 && r.Rate < MinRate:
		return invalid("rate %d", r.Rate)
	case r.LinkPatience < 0 || r.LinkPatience > MaxLink:
		return invalid("link_patience %d", r.LinkPatience)
	case len(r.Windows) > MaxWindows:
		return invalid("%d windows, at most %d", len(r.Windows), MaxWindows)
	}
	for i, w := range r.Windows {
		if w.From < 0 || w.From >= MaxMinutes || w.Minutes < 1 || w.Minutes > MaxMinutes {
			return invalid("windows[%d] from %d, %d minutes", i, w.From, w.Minutes)
		}
	}
	return nil
}

func (p *Provision) texts() []string {
	if p == nil {
		return nil
	}
	return []string{"serial", p.Serial}
}

// pairs names every text of a list.
func pairs(name string, list []string) []string {
	var all []string
	for _, s := range list {
		all = append(all, name, s)
	}
	return all
}

// Validate checks the message; the error is an ErrInvalid.
func (p *Progress) Validate() error {
	if p.Done < 0 || p.Total < 0 || p.Rate < 0 {
		return invalid("done %d, total %d, rate %d", p.Done, p.Total, p.Rate)
	}
	return errline.Join(version(p.Protocol), p.Machine.Validate(), texts(MaxText, "phase", p.Phase))
}

func (o Outcome) known() bool {
	return slices.Contains([]Outcome{OutcomeDone, OutcomeKept, OutcomeWaiting, OutcomeFailed}, o)
}

// Validate checks the message; the error is an ErrInvalid.
func (r *Report) Validate() error {
	if !r.Outcome.known() {
		return invalid("outcome %q", r.Outcome)
	}
	if len(r.Steps) > MaxSteps {
		return invalid("%d steps, at most %d", len(r.Steps), MaxSteps)
	}
	if r.Version < 0 || r.Version > math.MaxInt32 {
		return invalid("version %d", r.Version)
	}
	for i, s := range r.Steps {
		if !(s.Seconds >= 0) || s.Fetched < 0 || s.Written < 0 || texts(MaxText, "kind", s.Kind, "reason", s.Reason, "error", s.Error) != nil {
			return invalid("steps[%d]", i)
		}
	}
	return errline.Join(
		version(r.Protocol),
		words("lacks", r.Lacks),
		r.Machine.Validate(),
		r.Verified.validate(),
		r.Named.validate(),
		hashes("manifest", r.Manifest),
		texts(MaxText, "id", r.ID, "agent", r.Agent, "image", r.Image, "end_setup", r.EndSetup, "hand_off", r.HandOff, "leaves", r.Leaves),
		texts(MaxDetail, "message", r.Message),
		texts(MaxLog, "log", r.Log),
	)
}

// version checks a number alone: which one is spoken, both ends agree on at the check-in.
func version(got int) error {
	if got < 1 {
		return invalid("protocol %d", got)
	}
	return nil
}

// words checks a list of words that a reader has to understand.
func words(name string, list []string) error {
	if err := format.CheckNeeds(list); err != nil {
		return invalid("%s: %v", name, err)
	}
	return nil
}

func invalid(text string, a ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(text, a...))
}

// Clean makes a text that Validate takes of one that a firmware or an error gave: valid UTF-8,
// control characters as spaces, at most max bytes, no character cut. Above MaxText it may have
// several lines.
func Clean(s string, max int) string {
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		if control(r, max) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?")))
	if len(s) > max {
		end := max
		for end > 0 && !utf8.RuneStart(s[end]) {
			end--
		}
		s = s[:end]
	}
	return strings.TrimSpace(s)
}

// control tells whether a character could draw on a terminal or forge a line of a log. Texts of
// more than MaxText bytes have lines.
func control(r rune, max int) bool {
	return unicode.IsControl(r) && !(r == '\n' && max > MaxText) || unicode.Is(unicode.Bidi_Control, r)
}

// texts checks pairs of name and text: valid UTF-8, no control characters, at most max bytes.
func texts(max int, pairs ...string) error {
	for i := 0; i < len(pairs); i += 2 {
		name, s := pairs[i], pairs[i+1]
		if len(s) > max {
			return invalid("%s: %d bytes, at most %d", name, len(s), max)
		}
		if !utf8.ValidString(s) {
			return invalid("%s: not UTF-8", name)
		}
		for _, r := range s {
			if control(r, max) {
				return invalid("%s: control character %U", name, r)
			}
		}
	}
	return nil
}
