package startable

import (
	"errors"
	"fmt"
	"strings"
)

// Level says what a reason means for publishing.
type Level int

// Levels, from the mildest to the worst.
const (
	Warning    Level = iota // it is published, and said
	Secret                  // everyone on the network could read it: refused unless allowed
	Unbootable              // no PC starts it: refused unless forced
	Never                   // refused
)

// Reason is why a PC does not start an image, or should not get it.
type Reason int

// Reasons; the table below says what they mean.
const (
	BitLocker Reason = iota
	Hibernated
	EntraJoined
	Enrolled
	NoTable
	SectorSize
	TooLarge
	Damaged
	NoWindows
	ManyWindows
	BootFiles
	Compressed
	NoRegistry
	HalfGeneralised
	Secrets
	DomainJoined
	Unclean
	Unclosed
	Unread
)

// Reasons have one row each: docs/startable.md shows the same.
var reasons = [...]struct {
	level        Level
	what, remedy string
}{
	BitLocker:  {Never, "BitLocker encrypts the volume", "run 'manage-bde -off C:' in Windows, wait until 'manage-bde -status' says Fully Decrypted, and shut down"},
	Hibernated: {Never, "Windows is hibernated, or was shut down with Fast Startup", "start it, run 'powercfg /h off', and shut down with 'shutdown /s /t 0'"},
	EntraJoined: {Never, "Windows is joined to Entra ID (Azure AD), and every PC would be the same device there",
		"run 'dsregcmd /leave' in Windows, and join PCs after they got the image"},
	Enrolled: {Never, "Windows is enrolled in Intune or another MDM, and every PC would be the same device there",
		"disconnect the account under Settings, Accounts, Access work or school"},
	NoTable:    {Unbootable, "the disk has no partition table", "publish the whole disk of a Windows"},
	SectorSize: {Unbootable, "the disk says another sector size than its content has", "make it again with 'troy vhdx convert --logical-sector-size'"},
	TooLarge:   {Unbootable, "an NTFS volume is larger than its partition", "make the partition at least as large as the volume, or capture the disk again"},
	Damaged:    {Unbootable, "an NTFS volume cannot be read", "run 'chkdsk /f' in Windows, or capture the disk again"},
	NoWindows:  {Unbootable, "no Windows is on the disk", "publish the disk that Windows starts from"},
	ManyWindows: {Unbootable, "more than one Windows is on the disk",
		"delete the others: Troy cannot tell which one to start"},
	BootFiles:  {Unbootable, "boot files of Windows are missing or cannot be used", "repair Windows with 'sfc /scannow', or take another source"},
	Compressed: {Unbootable, "a file that is read before Windows runs is compressed", "run 'compact /u /exe FILE' in Windows (for CompactOS), or 'compact /u FILE'"},
	NoRegistry: {Unbootable, "the registry of Windows is missing or damaged", "capture the disk again"},
	HalfGeneralised: {Unbootable, "sysprep did not run to its end",
		`run 'sysprep /generalize /oobe /shutdown' again; \Windows\System32\Sysprep\Panther\setuperr.log says why it stopped`},
	Secrets:      {Secret, "an answer file holds secrets, and everyone on the network can read what is published", "empty these elements, or delete the file"},
	DomainJoined: {Warning, "Windows is a member of a domain, and all PCs would share its account", "see docs/startable.md, A Windows in a domain"},
	Unclean: {Warning, "the volume was not dismounted: Windows checks it at every start after a reset",
		"shut Windows down with 'shutdown /s /t 0'"},
	Unclosed: {Warning, "the registry was not closed, and its newest values are not looked at", "shut Windows down with 'shutdown /s /t 0'"},
	Unread:   {Warning, "not everything could be looked at", "look at that part by yourself"},
}

// Finding is one reason and where it was found.
type Finding struct {
	Reason Reason
	Where  string // a partition or file; "" = the disk
	Detail string // what was read, may be empty
}

// Level returns what the finding means for publishing.
func (f *Finding) Level() Level { return reasons[f.Reason].level }

// String is one line: where, what, and what to do.
func (f *Finding) String() string {
	text := reasons[f.Reason].what
	if f.Where != "" {
		text = f.Where + ": " + text
	}
	if f.Detail != "" {
		text += " (" + f.Detail + ")"
	}
	return text + ": " + reasons[f.Reason].remedy
}

// Verdict is what Check found. The zero value is that of a disk without fault.
type Verdict struct {
	Findings []Finding // the worst first
	// Setup: the setup of the Windows on the disk is still to run, or runs.
	Setup bool
}

// Allowed says what is published all the same.
type Allowed struct{ Unbootable, Secrets bool }

func (a Allowed) accepts(l Level) bool {
	return l == Warning || l == Unbootable && a.Unbootable || l == Secret && a.Secrets
}

// ErrRefused is the class of disks that are not published.
var ErrRefused = errors.New("the disk is not published")

// RefusedError says why. It unwraps to ErrRefused.
type RefusedError struct {
	Findings []Finding
}

// Error is one line.
func (e *RefusedError) Error() string {
	lines := make([]string, len(e.Findings))
	for i := range e.Findings {
		lines[i] = e.Findings[i].String()
	}
	return strings.Join(lines, "; ")
}

// Unwrap returns ErrRefused.
func (e *RefusedError) Unwrap() error { return ErrRefused }

// Lacks says what would have to be allowed; possible is false if nothing helps.
func (e *RefusedError) Lacks() (need Allowed, possible bool) {
	for i := range e.Findings {
		switch e.Findings[i].Level() {
		case Never:
			return Allowed{}, false
		case Unbootable:
			need.Unbootable = true
		case Secret:
			need.Secrets = true
		}
	}
	return need, true
}

// Refused returns a RefusedError with what is not allowed, nil if the disk may be published.
func (v *Verdict) Refused(a Allowed) error {
	var e RefusedError
	for _, f := range v.Findings {
		if !a.accepts(f.Level()) {
			e.Findings = append(e.Findings, f)
		}
	}
	if len(e.Findings) == 0 {
		return nil
	}
	return &e
}

// Notes are lines for people about a disk that is published.
func (v *Verdict) Notes() (lines []string) {
	if v.Setup {
		lines = append(lines, "setup pending: Windows is set up at its first starts, and stays as it is on a PC until that is done")
	}
	for i := range v.Findings {
		f := &v.Findings[i]
		lines = append(lines, map[Level]string{Warning: "warning", Secret: "published with secrets", Unbootable: "published by force"}[f.Level()]+": "+f.String())
	}
	return lines
}

func (v *Verdict) add(r Reason, where, format string, args ...any) {
	v.Findings = append(v.Findings, Finding{r, where, fmt.Sprintf(format, args...)})
}
