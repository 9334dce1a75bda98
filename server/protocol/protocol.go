package protocol

// Version is the protocol that this package describes.
const Version = 1

// Paths of the two calls and of the objects, relative to the server's base URL.
const (
	PathCheckIn = "v1/checkin"
	PathReport  = "v1/report"
	PathRepo    = "repo"
)

// Limits on what a message may hold; Validate checks them.
const (
	MaxBody   = 64 << 10 // bytes of a message
	MaxText   = 256      // bytes of a text member
	MaxDetail = 4 << 10  // bytes of Report.Message
	MaxMACs   = 32
	MaxPhases = 32
)

// Machine says which machine this is, as its firmware tells.
type Machine struct {
	MACs    []string `json:"macs"`              // wired ports, lower case with colons
	UUID    string   `json:"uuid,omitempty"`    // SMBIOS system UUID
	Serial  string   `json:"serial,omitempty"`  // SMBIOS serial number
	Vendor  string   `json:"vendor,omitempty"`  // SMBIOS manufacturer
	Product string   `json:"product,omitempty"` // SMBIOS product name
}

// CheckIn is what the agent says at every start.
type CheckIn struct {
	Protocol int     `json:"protocol"`
	Machine  Machine `json:"machine"`
	Agent    string  `json:"agent,omitempty"`   // version of the program
	Image    string  `json:"image,omitempty"`   // image on the disk; "" = none that the agent knows
	Version  int     `json:"version,omitempty"` // version that the boot child shows; 0 = none
	Staged   int     `json:"staged,omitempty"`  // version in the inactive slot; 0 = none
	Merging  bool    `json:"merging,omitempty"` // a merge is under way
	Detail   string  `json:"detail,omitempty"`  // why the disk cannot take an image now; "" = it can
}

// Action is what an order tells the agent to do.
type Action string

// Actions.
const (
	ActionDeploy Action = "deploy" // bring the machine to Image, Version
	ActionNone   Action = "none"   // start what is there
)

// Merge says when the slot is copied into the parent.
type Merge string

// Merge policies.
const (
	MergeNow  Merge = "now"  // right after the commit, before Windows
	MergeLazy Merge = "lazy" // at a later start, once the version was seen healthy
)

// Order is the answer to a CheckIn.
type Order struct {
	Protocol int    `json:"protocol"`
	Action   Action `json:"action"`
	Image    string `json:"image,omitempty"`
	Version  int    `json:"version,omitempty"`
	Merge    Merge  `json:"merge,omitempty"`
	Repo     string `json:"repo,omitempty"`   // path of the store under the server's base URL
	Reason   string `json:"reason,omitempty"` // one line for the screen
}

// Outcome is how a start of the agent ended.
type Outcome string

// Outcomes.
const (
	OutcomeDone   Outcome = "done"   // the order was carried out
	OutcomeKept   Outcome = "kept"   // nothing was to do
	OutcomeFailed Outcome = "failed" // the version that was there is started; Message says why
)

// Phase is one part of the work.
type Phase struct {
	Name    string  `json:"name"` // link, fetch, stage, commit, merge, …
	Seconds float64 `json:"seconds"`
	Bytes   int64   `json:"bytes,omitempty"` // fetched or written in it
}

// Report is what the agent says before it hands the machine over.
type Report struct {
	Protocol int     `json:"protocol"`
	ID       string  `json:"id,omitempty"` // drawn by the sender; the same in a repeat
	Machine  Machine `json:"machine"`
	Agent    string  `json:"agent,omitempty"`
	Image    string  `json:"image,omitempty"`   // what the machine holds now
	Version  int     `json:"version,omitempty"` // what it boots now; 0 = not known
	Outcome  Outcome `json:"outcome"`
	ExitCode int     `json:"exit_code"`
	Message  string  `json:"message,omitempty"`
	Phases   []Phase `json:"phases,omitempty"`
}

// Ack is the answer to a Report.
type Ack struct {
	Protocol int `json:"protocol"`
}

// Failure is the body of every answer that is no success.
type Failure struct {
	Error string `json:"error"` // one line
}
