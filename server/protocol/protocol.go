package protocol

import (
	"cmp"
	"fmt"
	"time"

	"troy/internal/format"
)

// Paths of the calls and of the objects, relative to the server's base URL.
const (
	PathCheckIn  = "v1/checkin"
	PathProgress = "v1/progress"
	PathReport   = "v1/report"
	PathRepo     = "repo"
	PathHealth   = "healthz"
)

// Limits on what a message may hold; Validate checks them.
const (
	MaxBody    = 64 << 10 // bytes of a message
	MaxText    = 256      // bytes of a text member
	MaxDetail  = 4 << 10  // bytes of Report.Message
	MaxLog     = 16 << 10 // bytes of Report.Log
	MaxPorts   = 32
	MaxSteps   = 48
	MaxDisks   = 32
	MaxCAs     = 64
	MaxDevices = 32
	MaxImages  = 64
	MaxMirrors = 8
	MaxWait    = 3600 // seconds of Order.Wait
	MaxWindows = 64
	MinRate    = 65536 // bytes per second of Rules.Rate: a slower order would hold the machine for days
	MaxLink    = 600   // seconds of Rules.LinkPatience
	MaxMinutes = 10080 // of Weekly: a week
	MaxDirect  = 1000  // of CheckIn.Direct
	HashSize   = 64    // hex digits of a SHA-256
)

// Machine says which machine this is, as its firmware and its kernel tell. All of it is a claim:
// package identity judges what it is worth.
type Machine struct {
	Ports   []Port `json:"ports"`             // wired ones
	UUID    string `json:"uuid,omitempty"`    // SMBIOS system UUID
	Serial  string `json:"serial,omitempty"`  // SMBIOS serial number
	Vendor  string `json:"vendor,omitempty"`  // SMBIOS manufacturer
	Product string `json:"product,omitempty"` // SMBIOS product name
}

// Port is a wired network port.
type Port struct {
	MAC string `json:"mac"`           // lower case with colons
	Bus string `json:"bus,omitempty"` // that it hangs on: pci, usb, …; "" = not known
}

// CheckIn is what the agent says at every start.
type CheckIn struct {
	format.Next
	Protocol int     `json:"protocol"`         // the highest that the agent speaks
	Oldest   int     `json:"oldest,omitempty"` // the lowest
	Machine  Machine `json:"machine"`
	Agent    string  `json:"agent,omitempty"`   // version of the program
	Image    string  `json:"image,omitempty"`   // image on the disk; "" = none that the agent knows
	Version  int     `json:"version,omitempty"` // version that the boot child shows; 0 = none
	// Manifest is the SHA-256 of the version's manifest, in hex; "" = not recorded, NoVersion = compared, and none.
	Manifest string `json:"manifest,omitempty"`
	Staged   int    `json:"staged,omitempty"` // version in the inactive slot; 0 = none
	// StagedManifest is that of the staged version.
	StagedManifest string `json:"staged_manifest,omitempty"`
	Merging        bool   `json:"merging,omitempty"`  // a merge is under way
	Previous       int    `json:"previous,omitempty"` // version that a rollback on the machine itself would bring back; 0 = none
	Detail         string `json:"detail,omitempty"`   // why the disk cannot take an image now; "" = it can
	Damaged        bool   `json:"damaged,omitempty"`  // a reinstall would mend what Detail names

	Health     Health `json:"health,omitempty"`     // what the last starts of Windows showed
	LastStart  string `json:"last_start,omitempty"` // how Windows was started the last time and what came of it
	Direct     int    `json:"direct,omitempty"`     // starts of Windows since the last hand-off that were none of the agent, as Rules.Starts permits
	Without    string `json:"without,omitempty"`    // why Windows was, or may have been, started without the agent since; "" = no sign of it
	Firmware   string `json:"firmware,omitempty"`   // "uefi" or "bios"
	SecureBoot bool   `json:"secure_boot,omitempty"`
	Keys       Keys   `json:"keys,omitzero"`    // what Secure Boot goes by
	Memory     int64  `json:"memory,omitempty"` // bytes
	Disks      []Disk `json:"disks,omitempty"`  // those that an image could go to

	FirmwareVersion string   `json:"firmware_version,omitempty"` // vendor, version and date, for people
	Devices         []Device `json:"devices,omitempty"`          // through which disks and networks are reached

	Trusted *Trusted `json:"trusted,omitempty"` // absent: nothing is remembered
	Setup   Setup    `json:"setup,omitempty"`   // of the version on the disk, if it came without having been set up
	Named   *Named   `json:"named,omitempty"`   // absent: the version is as published, and nothing else is wanted
}

// Trusted is what a machine remembers of the signed metadata of its store: the highest numbers that
// it has seen, below which it takes nothing.
type Trusted struct {
	Store     string `json:"store"` // name of the store, which its root metadata carries
	Root      int64  `json:"root"`
	Targets   int64  `json:"targets,omitempty"`
	Snapshot  int64  `json:"snapshot,omitempty"`
	Timestamp int64  `json:"timestamp,omitempty"`
	Servers   int    `json:"servers,omitempty"` // of the list of servers
	Images    []Held `json:"images,omitempty"`
}

// Held is the newest version of an image that a machine ever had.
type Held struct {
	Image   string `json:"image"`
	Version int    `json:"version"`
}

// Device is a controller or card through which disks or networks are reached.
type Device struct {
	Kind   string `json:"kind"`             // "storage", "network", or "unknown": USB, of its vendor's own class, without driver
	Bus    string `json:"bus"`              // "pci" or "usb"
	ID     string `json:"id"`               // vendor and product in hex: "8086:15fb"
	Class  string `json:"class,omitempty"`  // class, subclass and interface in hex: "020000"
	Driver string `json:"driver,omitempty"` // "" = none
}

// String is the device for people, without its kind.
func (d Device) String() string {
	return fmt.Sprintf("%s %s class %s %s", d.Bus, d.ID, d.Class, cmp.Or(d.Driver, "without driver"))
}

// Keys is what Secure Boot goes by on a machine, as its firmware tells.
type Keys struct {
	SBAT    string    `json:"sbat,omitempty"`    // SbatLevelRT: the least generations that shim starts
	DBX     string    `json:"dbx,omitempty"`     // SHA-256 of dbx, in hex; "" = there is none
	DBXDate time.Time `json:"dbx_date,omitzero"` // the newest time of revocation that stands in dbx
	SVN     int64     `json:"svn,omitempty"`     // the least security version that dbx asks of Windows Boot Manager; major × 65536 + minor
	CAs     []CA      `json:"cas,omitempty"`     // certificates in db
	Revoked []CA      `json:"revoked,omitempty"` // certificates in dbx
}

// CA is a certificate of db or dbx.
type CA struct {
	Name   string `json:"name"`   // common name
	SHA256 string `json:"sha256"` // in hex
}

// Health is what the agent saw of the version on the disk.
type Health string

// Healths.
const (
	HealthUnknown Health = ""        // Windows has not been up since the last commit, or was cut off
	HealthGood    Health = "good"    // Windows has run and closed its volumes in order
	HealthFailing Health = "failing" // several starts without a sign of it
)

// Setup is how far the setup of a version is that came onto the disk without having been set up.
type Setup string

// Setups.
const (
	SetupNone    Setup = ""        // the version was set up before it was published, or nothing is known
	SetupPending Setup = "pending" // it has not run to its end
	SetupOver    Setup = "over"    // it has, or the admin said so
)

// Disk is one fixed disk of the machine.
type Disk struct {
	Path       string `json:"path"` // the kernel's name
	Model      string `json:"model,omitempty"`
	Serial     string `json:"serial,omitempty"`
	Size       int64  `json:"size"`            // bytes
	SectorSize int    `json:"sector_size"`     // bytes of a logical sector
	Empty      bool   `json:"empty,omitempty"` // neither partition table nor file system
	Troy       bool   `json:"troy,omitempty"`  // prepared for Troy
}

// Merge says when the slot is copied into the parent.
type Merge string

// Merge policies.
const (
	MergeNow  Merge = "now"  // right after the commit, before Windows
	MergeLazy Merge = "lazy" // at a later start, once the version was seen healthy
)

// Reset says when what Windows wrote is discarded.
type Reset string

// Reset policies.
const (
	ResetUpdate Reset = "update" // with each new version
	ResetBoot   Reset = "boot"   // at each start of the machine
	ResetKey    Reset = "key"    // with each new version, and when a person at the machine presses R
)

// Starts says whether each start of a machine is one of the agent.
type Starts string

// Policies of starts.
const (
	StartsAgent  Starts = "agent"  // each is
	StartsDirect Starts = "direct" // GRUB may start Windows without it, up to four times in a row
)

// Order is the answer to a CheckIn: what the machine is to have, and what it may do to get there.
// How it gets there the machine decides (package agent/decide).
type Order struct {
	format.Next
	Protocol int       `json:"protocol"`            // the highest that both ends speak; see CheckIn.Common
	Newest   int       `json:"newest,omitempty"`    // the highest that the server speaks; 0 = not stated
	Needs    []string  `json:"needs,omitempty"`     // words without which the agent must not follow the order
	Time     time.Time `json:"time,omitzero"`       // the server's clock: windows are judged by it
	Want     *Want     `json:"want,omitempty"`      // absent: keep what is there
	Rules    Rules     `json:"rules,omitzero"`      // of the room, whatever is wanted
	Permits  Permits   `json:"permits,omitzero"`    // what may be lost on the way
	Verify   *Verify   `json:"verify,omitempty"`    // compare the disk with its version
	EndSetup *EndSetup `json:"end_setup,omitempty"` // the setup of its version is not waited for any longer
	Wait     int       `json:"wait,omitempty"`      // seconds: ask again then, do nothing before
	Repo     string    `json:"repo,omitempty"`      // path of the store under the server's base URL
	Mirrors  []string  `json:"mirrors,omitempty"`   // base URLs of further copies of the store
	Agent    string    `json:"agent,omitempty"`     // release of the agent to start from its own disk; "" = keep it
	Servers  string    `json:"servers,omitempty"`   // SHA-256 of the signed list of servers, in hex; "" = not stated
	Name     string    `json:"name,omitempty"`      // of the machine in its room; "" = it has none
	Code     string    `json:"code,omitempty"`      // for the screen of a machine that is not assigned yet
	Reason   string    `json:"reason,omitempty"`    // one line for the screen
	Room     string    `json:"room,omitempty"`      // of the machine, for its screen; "" = it has none
	Contact  string    `json:"contact,omitempty"`   // who helps, for the screen of a machine with a fault; "" = not stated
	Identity *Identity `json:"identity,omitempty"`  // what is the machine's own in Windows; absent: nothing, or without Room what it has

	Refused string   `json:"-"` // why this program does not follow it, see ReadOrder; "" = it does
	Lacks   []string `json:"-"` // words that it needs and this program does not know
}

// Want names one version of one image.
type Want struct {
	Image   string `json:"image"`
	Version int    `json:"version"`
	// Manifest is the SHA-256 of the version's manifest, in hex: it names the content.
	Manifest string `json:"manifest"`
}

// Verify orders that the machine reads all that its boot child sits on, what Windows wrote since
// left out, and compares it with its version; or, if that is none of this store's, with the one
// that is wanted.
type Verify struct {
	ID string `json:"id"` // of the order; the report names it
	// Adopt: compare with the version that is wanted, and make the machine hold that: what differs is
	// staged and committed, the session is discarded.
	Adopt bool `json:"adopt,omitempty"`
}

// Verified is what such an order found.
type Verified struct {
	ID      string `json:"id"`
	With    Want   `json:"with"`              // what the disk was compared with
	Differ  int64  `json:"differ,omitempty"`  // bytes of the regions of 1 MiB that differed; 0 = equal
	Where   string `json:"where,omitempty"`   // the first of them
	Adopted bool   `json:"adopted,omitempty"` // the machine holds With now
}

// EndSetup orders what becomes of a setup that has not run to its end, of the version that the
// machine holds: it counts as over.
type EndSetup struct {
	ID string `json:"id"` // of the order; the report names it
	Of Want   `json:"of"` // the version; a machine that holds another one does nothing
	// Leave: what setup has done is discarded in place of that. If another version is wanted, the
	// machine takes it; else setup begins again.
	Leave bool `json:"leave,omitempty"`
}

// Rules are those of the machine's room. The zero value is: no reset, merge lazily, no limits.
type Rules struct {
	Reset Reset     `json:"reset,omitempty"` // "" = update
	Merge Merge     `json:"merge,omitempty"` // "" = lazy
	Until time.Time `json:"until,omitzero"`  // the window closes: nothing long is begun after it, and merges stop
	Rate  int64     `json:"rate,omitempty"`  // bytes per second to fetch at most; 0 = no limit
	// Starts of the machine; "" = agent, also where the room says direct and a start of the agent has
	// work to do.
	Starts Starts `json:"starts,omitempty"`
	// LinkPatience is how long a start waits for the network while a window is open, or after a call
	// to wake up, in seconds; 0 = 60. It is kept, and counts from the next start.
	LinkPatience int `json:"link_patience,omitempty"`
	// Windows are when the room is worked on, so that a machine knows it without a server.
	Windows []Weekly `json:"windows,omitempty"`
}

// Weekly is a time that comes each week.
type Weekly struct {
	From    int `json:"from"`    // minutes from Monday, 00:00 UTC
	Minutes int `json:"minutes"` // how long it is
}

// Holds reports whether t lies in the time.
func (w Weekly) Holds(t time.Time) bool {
	return (MinuteOfWeek(t)-w.From+MaxMinutes)%MaxMinutes < w.Minutes
}

// MinuteOfWeek counts minutes from Monday, 00:00 UTC.
func MinuteOfWeek(t time.Time) int {
	t = t.UTC()
	return (int(t.Weekday())+6)%7*24*60 + t.Hour()*60 + t.Minute()
}

// Permits allow what a machine does not do by itself. A downgrade, writing over a version that
// starts, and wiping a disk that holds something need the admin's permit besides, which the store
// carries.
type Permits struct {
	Provision *Provision `json:"provision,omitempty"` // make a disk of the machine into one of Troy's
	Reinstall bool       `json:"reinstall,omitempty"` // write the version over one that is unknown, damaged, or of another image
	Retry     bool       `json:"retry,omitempty"`     // try again what was given up on this machine: the version, the agent
}

// Provision says which disk becomes the machine's, and how.
type Provision struct {
	// Serial names the disk. "" = the only empty one. A disk that is not empty is wiped only if it
	// is named here, or Wipe is set, and a signed permit of the store names it.
	Serial string `json:"serial,omitempty"`
	Wipe   bool   `json:"wipe,omitempty"`
	// SlotBytes is the room for changes in each of two slots; 0 = a quarter of the virtual disk.
	SlotBytes int64 `json:"slot_bytes,omitempty"`
	// SystemBytes is the size of the data volume; 0 = all that is left.
	SystemBytes int64 `json:"system_bytes,omitempty"`
}

// Erases tells whether a disk may be taken that holds something, once the admin signed for it.
func (p *Provision) Erases() bool { return p != nil && (p.Wipe || p.Serial != "") }

// Progress is what the agent says while it works, every few seconds. It is not answered but for a
// status, and may be lost.
type Progress struct {
	format.Next
	Protocol int     `json:"protocol"`
	Machine  Machine `json:"machine"`
	Phase    string  `json:"phase"` // fetch, merge, …; what a step does now
	Done     int64   `json:"done"`  // bytes
	Total    int64   `json:"total"` // bytes; 0 = not known
	Rate     int64   `json:"rate"`  // bytes per second
}

// Outcome is how a start of the agent ended.
type Outcome string

// Outcomes.
const (
	OutcomeDone    Outcome = "done"    // the order was carried out
	OutcomeKept    Outcome = "kept"    // nothing was to do
	OutcomeWaiting Outcome = "waiting" // for a permit, or lab.yaml; Message names what gives it
	OutcomeFailed  Outcome = "failed"  // Message says why
)

// Step is one step of a start.
type Step struct {
	Kind    string  `json:"kind"`             // check-in, stage, commit, merge, …; see package agent/decide
	Reason  string  `json:"reason,omitempty"` // why it was done
	Seconds float64 `json:"seconds"`
	Fetched int64   `json:"fetched,omitempty"` // bytes
	Written int64   `json:"written,omitempty"` // bytes that the disk was sent
	Error   string  `json:"error,omitempty"`   // why it failed
}

// Report is what the agent says before it hands the machine over.
type Report struct {
	format.Next
	Protocol int       `json:"protocol"`     // of the order
	ID       string    `json:"id,omitempty"` // drawn by the sender; the same in a repeat
	Machine  Machine   `json:"machine"`
	Agent    string    `json:"agent,omitempty"`
	Image    string    `json:"image,omitempty"`    // what the machine holds now
	Version  int       `json:"version,omitempty"`  // what it boots now; 0 = not known
	Manifest string    `json:"manifest,omitempty"` // see CheckIn
	Outcome  Outcome   `json:"outcome"`
	ExitCode int       `json:"exit_code"`
	Message  string    `json:"message,omitempty"`
	Refused  bool      `json:"refused,omitempty"`   // what the store has signed was not taken: nothing of the version was tried
	Verified *Verified `json:"verified,omitempty"`  // what an order to verify found
	EndSetup string    `json:"end_setup,omitempty"` // the order about setup that was carried out last
	Steps    []Step    `json:"steps,omitempty"`
	HandOff  string    `json:"hand_off,omitempty"` // how Windows is started: by BootNext, by BootOrder, …
	Leaves   string    `json:"leaves,omitempty"`   // why the agent does not start again by itself; "" = it does
	Named    *Named    `json:"named,omitempty"`    // as in a CheckIn
	// Lacks are words that the order, a document of the store or the disk needs and the agent does
	// not know.
	Lacks []string `json:"lacks,omitempty"`
	Log   string   `json:"log,omitempty"` // the last lines of the screen
}

// Ack is the answer to a Progress or Report.
type Ack struct {
	Protocol int `json:"protocol"`
}

// Failure is the body of every answer that is no success.
type Failure struct {
	Error string `json:"error"` // one line
}
