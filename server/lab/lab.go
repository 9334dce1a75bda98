package lab

import (
	"net/netip"
	"slices"
	"time"

	"github.com/goccy/go-yaml/token"

	"troy/internal/identity"
	"troy/server/protocol"
)

// Format is the number of the format that this package reads.
const formatNumber = 1

// UnknownCode, as Lab.Unknown, has machines that are not listed show a code.
const UnknownCode Name = "code"

// What a Policy holds by default.
const (
	defaultBandwidth = Mbit(900) // of a server's port of 1 Gbit/s
	defaultWave      = 10
	defaultHealthy   = 80 // percent
	defaultFailures  = 3
	defaultSilent    = 7 // days
)

// Lab is the content of a lab.yaml.
type Lab struct {
	Format    int              `yaml:"format" need:"true" about:"1"`
	Zone      Zone             `yaml:"zone" need:"true" about:"IANA time zone of all times in this file"`
	Bandwidth Mbit             `yaml:"bandwidth" about:"Mbit/s that the server may send in total; default 900"`
	Mirrors   []URL            `yaml:"mirrors" about:"base URLs of further copies of the store"`
	Images    []Name           `yaml:"images" about:"images that rooms and hosts may name; default: all of the store"`
	Unknown   Name             `yaml:"unknown" about:"what happens to a machine that is not under hosts: code = it shows a code for troy assign; the name of a room = it joins that room, without permits; default code"`
	Defaults  Policy           `yaml:"defaults" about:"defaults for the keys that a room does not set"`
	Rooms     map[Name]*Policy `yaml:"rooms" need:"true" about:"rooms by name"`
	Hosts     []Host           `yaml:"hosts" about:"machines by MAC address or SMBIOS UUID"`
	Shared    []UUID           `yaml:"placeholders" about:"SMBIOS UUIDs that several machines have here, besides the usual ones: they tell no machine from another"`

	file    string // that it was read from
	byName  map[Name]*Host
	byPC    map[string]*Host           // by the name in Windows, folded
	places  map[string]*token.Position // of the secrets
	byRoom  map[Name][]*Host
	listing *identity.Listing
	loc     *time.Location
}

// Policy says how a room is worked on. A member that is not set is taken from Lab.Defaults, then
// from the constants.
type Policy struct {
	Image     Name       `yaml:"image" about:"image of the room; default: that of its promotion"`
	Version   Count      `yaml:"version" about:"pins the version; default: the promoted one"`
	Merge     Merge      `yaml:"merge" about:"when a version is copied into the parent: lazy or now"`
	Reset     Reset      `yaml:"reset" about:"when the changes that Windows made are discarded: at every boot, on update, or by key: on update, and when somebody presses R while the machine starts; default update"`
	Starts    Starts     `yaml:"starts" about:"agent: each start is one of the agent; direct: up to four starts in a row go to Windows without it, where nothing is to do; default agent"`
	Windows   []Window   `yaml:"windows" about:"when machines may be updated, in local time"`
	Except    []Dates    `yaml:"except" about:"dates on which no window opens: a day, or a span of days such as 2026-12-21 to 2027-01-03"`
	Always    *bool      `yaml:"always" about:"deploy outside of windows as well"`
	Bandwidth Mbit       `yaml:"bandwidth" about:"Mbit/s that the room may take"`
	Wave      Count      `yaml:"wave" about:"number of machines updated at the same time; default 10"`
	Failures  Count      `yaml:"failures" about:"number of failed machines that stops the wave; default 3"`
	Healthy   Percent    `yaml:"healthy" about:"percent of the machines that must be healthy before a room that comes after this one goes on; default 80"`
	AtClose   AtClose    `yaml:"at_close" about:"what a machine still at work does when the window closes: stop or finish"`
	Provision *Provision `yaml:"provision" about:"provisioning of machines that have no Troy disk"`
	Reinstall *bool      `yaml:"reinstall" about:"rewrite machines that hold another image, or a version that is not recorded, by troy permit reinstall; and damaged ones"`
	Wake      *bool      `yaml:"wake" about:"wake machines of the room in its windows: to update them, then to merge or to report their health to a room that waits; default true"`
	Broadcast []IP       `yaml:"broadcast" about:"directed broadcast addresses of the room's networks, for wake-on-LAN"`
	Link      Seconds    `yaml:"link_patience" about:"seconds that machines wait for the network when they start in a window or were woken; outside of both it is 10 at most; default 60"`
	Contact   Contact    `yaml:"contact" about:"who helps when something is wrong with a machine of the room: its screen shows it"`
	Silent    Count      `yaml:"silent" about:"days without a check-in after which a machine needs attention, if a wake-up packet or a window should have brought one; default 7"`
	After     Name       `yaml:"after" about:"the room in which a version must be healthy before this room gets it"`

	Identity Identity           `yaml:"identity" about:"what is each PC's own in Windows: off: nothing; wanted: what the version has a place for; required: a version without a place for all of it is not installed; default off"`
	PCName   Pattern            `yaml:"pc_name" about:"name of each PC in Windows, at most 15 characters; default \"{host}\""`
	Settings map[Setting]Number `yaml:"settings" about:"numbers for the registry, added to those of defaults"`
	Values   map[Key]Text       `yaml:"values" about:"texts for machine.json and for the answer file, added to those of defaults"`
	Secrets  map[Key]Path       `yaml:"secrets" about:"like values, but each is in a file beside lab.yaml; only PCs that were confirmed get them"`
}

// Provision says whether and how a bare machine gets a disk.
type Provision struct {
	Allow  bool   `yaml:"allow" about:"provision machines whose disk is empty"`
	Wipe   bool   `yaml:"wipe" about:"also use a disk that is not empty, if troy permit wipe permits it"`
	Serial string `yaml:"serial" about:"the disk with this serial number"`
	Slot   Gib    `yaml:"slot_gib" about:"size of each slot in GiB; default: a quarter of the image"`
	System Gib    `yaml:"system_gib" about:"size of the data volume in GiB; default: the rest of the disk"`
}

// Host is one machine. It is known by MAC or UUID: see package identity.
type Host struct {
	Name    Name  `yaml:"name" need:"true" about:"name of the machine"`
	Room    Name  `yaml:"room" need:"true" about:"room of the machine"`
	MAC     MAC   `yaml:"mac" about:"MAC address of a wired port that stays in the machine; those of USB adapters do not count"`
	UUID    UUID  `yaml:"uuid" about:"SMBIOS system UUID"`
	Image   Name  `yaml:"image" about:"another image than the room's"`
	Version Count `yaml:"version" about:"pins the version of this machine"`

	PCName   Pattern            `yaml:"pc_name" about:"another name in Windows than the room's pattern gives"`
	Settings map[Setting]Number `yaml:"settings" about:"numbers for the registry, added to the room's"`
	Values   map[Key]Text       `yaml:"values" about:"texts for machine.json and for the answer file, added to the room's"`
	Secrets  map[Key]Path       `yaml:"secrets" about:"like values, but each is in a file beside lab.yaml, added to the room's"`
}

// Line is what the host is recognised by.
func (h *Host) Line() identity.Line {
	return identity.Line{Name: string(h.Name), MAC: string(h.MAC), UUID: h.UUID.folded()}
}

// Room returns the policy of a room with every member set that has a default.
func (l *Lab) Room(name string) (Policy, bool) {
	p, ok := l.Rooms[Name(name)]
	if !ok {
		return Policy{}, false
	}
	return *p.over(&l.Defaults).over(builtin()), true
}

// builtin is what holds when neither the room nor the defaults say something.
func builtin() *Policy {
	wake := true
	return &Policy{Merge: Merge(protocol.MergeLazy), Reset: ResetUpdate, Starts: Starts(protocol.StartsAgent), Wave: defaultWave, Failures: defaultFailures,
		Identity: IdentityOff, PCName: defaultPCName, Healthy: defaultHealthy, Silent: defaultSilent, AtClose: CloseStop, Always: new(bool), Reinstall: new(bool), Wake: &wake, Provision: &Provision{}}
}

// over fills what p leaves open from below.
func (p *Policy) over(below *Policy) *Policy {
	q := *p
	fill(&q.Image, below.Image)
	fill(&q.Version, below.Version)
	fill(&q.Merge, below.Merge)
	fill(&q.Reset, below.Reset)
	fill(&q.Starts, below.Starts)
	fill(&q.Always, below.Always)
	fill(&q.Bandwidth, below.Bandwidth)
	fill(&q.Wave, below.Wave)
	fill(&q.Failures, below.Failures)
	fill(&q.Healthy, below.Healthy)
	fill(&q.AtClose, below.AtClose)
	fill(&q.Provision, below.Provision)
	fill(&q.Reinstall, below.Reinstall)
	fill(&q.Wake, below.Wake)
	fill(&q.Link, below.Link)
	fill(&q.Silent, below.Silent)
	fill(&q.After, below.After)
	fill(&q.Contact, below.Contact)
	fill(&q.Identity, below.Identity)
	fill(&q.PCName, below.PCName)
	q.Settings = merged(q.Settings, below.Settings)
	q.Values = merged(q.Values, below.Values)
	q.Secrets = merged(q.Secrets, below.Secrets)
	if q.Windows == nil {
		q.Windows = below.Windows
	}
	if q.Except == nil {
		q.Except = below.Except
	}
	if q.Broadcast == nil {
		q.Broadcast = below.Broadcast
	}
	return &q
}

func fill[T comparable](v *T, below T) {
	var zero T
	if *v == zero {
		*v = below
	}
}

// Listing is what the file says of single machines, for package identity.
func (l *Lab) Listing() *identity.Listing { return l.listing }

// HostNamed returns the host of that name, nil if there is none.
func (l *Lab) HostNamed(name string) *Host { return l.byName[Name(name)] }

// HostsOf returns the hosts of a room, by name.
func (l *Lab) HostsOf(room string) []*Host { return l.byRoom[Name(room)] }

// RoomNames returns the names of all rooms, sorted.
func (l *Lab) RoomNames() []string {
	names := make([]string, 0, len(l.Rooms))
	for name := range l.Rooms {
		names = append(names, string(name))
	}
	slices.Sort(names)
	return names
}

// Hours returns when a room of this policy may be worked on. It knows nothing of Always.
func (l *Lab) Hours(p *Policy) Hours {
	return Hours{Windows: p.Windows, Except: p.Except, Zone: l.Location()}
}

// Location is the time zone of the lab.
func (l *Lab) Location() *time.Location {
	if l.loc == nil {
		return time.UTC // of a Lab that Parse did not make
	}
	return l.loc
}

// Rate returns bytes per second that the server, or the room if it has less, may take.
func (l *Lab) Rate(p *Policy) int64 {
	r := l.Bandwidth
	if r == 0 {
		r = defaultBandwidth
	}
	if p.Bandwidth > 0 {
		r = min(r, p.Bandwidth)
	}
	return r.Bytes()
}

// Guests is the room that machines join which are not listed; "" = they show a code.
func (l *Lab) Guests() string {
	if l.Unknown == UnknownCode {
		return ""
	}
	return string(l.Unknown)
}

// AllImages returns every image that the file names, sorted.
func (l *Lab) AllImages() []string {
	names := append([]Name{l.Defaults.Image}, l.Images...)
	for _, p := range l.Rooms {
		names = append(names, p.Image)
	}
	for i := range l.Hosts {
		names = append(names, l.Hosts[i].Image)
	}
	var all []string
	for _, n := range names {
		if n != "" {
			all = append(all, string(n))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// MirrorURLs returns the mirrors as an order takes them.
func (l *Lab) MirrorURLs() []string {
	var all []string
	for _, u := range l.Mirrors {
		all = append(all, string(u))
	}
	return all
}

// Addresses returns the broadcast addresses.
func (p *Policy) Addresses() []netip.Addr {
	var all []netip.Addr
	for _, a := range p.Broadcast {
		all = append(all, netip.Addr(a))
	}
	return all
}
