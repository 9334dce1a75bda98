package startable

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"troy/chainload/regf"
	"troy/chainload/setup"
	"troy/diskwriter/ntfs"
)

const (
	hiveFolder = windowsFolder + `\System32\config\`
	// hiveMost bounds a hive that is read, in bytes. SOFTWARE has up to some 200 MB.
	hiveMost = 512 << 20
)

// hive is one of a Windows. Its methods give nothing for what is not there, and note why something
// could not be read.
type hive struct {
	*regf.Reader
	faults []string
}

// openHive opens a hive by its name. Small ones are read whole: looking around in them would be
// many short reads of the disk.
func openHive(volume *ntfs.Volume, name string) (*hive, error) {
	const whole = 32 << 20
	f, err := volume.OpenFile(hiveFolder + name)
	if err != nil {
		return nil, err
	}
	size := f.Size()
	if size > hiveMost {
		return nil, fmt.Errorf("%s%s: %w: %d bytes", hiveFolder, name, regf.ErrUnsupported, size)
	}
	reader, err := regf.Load(f, size, whole)
	if err != nil {
		return nil, fmt.Errorf("%s%s: %w", hiveFolder, name, err)
	}
	return &hive{Reader: reader}, nil
}

func (h *hive) fault(err error) {
	if !errors.Is(err, regf.ErrNotFound) {
		h.faults = append(h.faults, err.Error())
	}
}

func (h *hive) text(path, name string) string {
	v, err := h.Value(path, name)
	if err == nil {
		var text string
		if text, err = v.Text(); err == nil {
			return strings.TrimSpace(text)
		}
	}
	h.fault(err)
	return ""
}

func (h *hive) number(path, name string) uint32 {
	v, err := h.Value(path, name)
	if err != nil {
		h.fault(err)
		return 0
	}
	n, _ := v.Number()
	return n
}

func (h *hive) keys(path string) []string {
	names, err := h.Keys(path)
	if err != nil {
		h.fault(err)
	}
	return names
}

// control is the set of controls that Windows starts with.
func (h *hive) control() string {
	return fmt.Sprintf(`ControlSet%03d`, max(1, h.number("Select", "Current")))
}

// registry looks at the hives of a Windows.
func (v *Verdict) registry(volume *ntfs.Volume, where string) {
	system, err := openHive(volume, "SYSTEM")
	if err != nil {
		v.add(NoRegistry, where, "%v", err)
		return
	}
	pending, err := setup.PendingIn(system.Reader)
	if err != nil && !errors.Is(err, setup.ErrUnclosed) {
		system.fault(err)
	}
	v.Setup = v.Setup || pending
	v.entra(system, where)
	v.domain(system, volume, where)
	image := ""
	software, err := openHive(volume, "SOFTWARE")
	if err != nil {
		v.add(Unread, where, "%v", err)
	} else {
		v.enrolled(software, where)
		image = software.text(`Microsoft\Windows\CurrentVersion\Setup\State`, "ImageState")
		v.closed(software, "SOFTWARE", where)
	}
	if !pending {
		v.generalised(system, image, where)
	}
	v.closed(system, "SYSTEM", where)
}

// closed says what could not be read of a hive, and whether all that Windows wrote is in it.
func (v *Verdict) closed(h *hive, name, where string) {
	if h.Dirty() {
		v.add(Unclosed, where, "%s%s", hiveFolder, name)
	}
	if len(h.faults) > 0 {
		v.add(Unread, where, "%s%s: %s", hiveFolder, name, h.faults[0])
	}
}

// entra looks for the certificate by which a Windows is a device of a tenant.
func (v *Verdict) entra(system *hive, where string) {
	joins := system.control() + `\Control\CloudDomainJoin\JoinInfo`
	if names := system.keys(joins); len(names) > 0 {
		v.add(EntraJoined, where, "certificate %s, tenant %s", names[0], system.text(joins+`\`+names[0], "TenantId"))
	}
}

// enrolled looks for MDM enrolments. Every Windows has keys of its own there, without a user;
// Intune is the provider "MS DM Server".
func (v *Verdict) enrolled(software *hive, where string) {
	const enrollments = `Microsoft\Enrollments`
	for _, name := range software.keys(enrollments) {
		key := enrollments + `\` + name
		if software.number(key, "EnrollmentState") != 1 {
			continue
		}
		user, provider := software.text(key, "UPN"), software.text(key, "ProviderID")
		if user != "" || provider == "MS DM Server" {
			v.add(Enrolled, where, "enrolment %s, user %q, provider %q", name, user, provider)
			return // one is enough
		}
	}
}

// domain looks for the secret of a machine account, and for the domain that the network has.
func (v *Verdict) domain(system *hive, volume *ntfs.Volume, where string) {
	network := system.control() + `\Services\Tcpip\Parameters`
	name := system.text(network, "Domain")
	if name == "" {
		name = system.text(network, "NV Domain")
	}
	if security, err := openHive(volume, "SECURITY"); err == nil &&
		slices.ContainsFunc(security.keys(`Policy\Secrets`), func(s string) bool { return strings.EqualFold(s, "$MACHINE.ACC") }) {
		v.add(DomainJoined, where, "it has a machine account, domain %q", name)
	} else if name != "" {
		v.add(DomainJoined, where, "domain %q", name)
	}
}

// generalised looks for a sysprep that began and did not end: setup is not going to run, and the
// image is not complete either. In audit mode that is so on purpose.
func (v *Verdict) generalised(system *hive, image, where string) {
	const failed = 3 // what GeneralizationState keeps of a sysprep that stopped; 7 is none, or a whole one
	state := system.number(`Setup\Status\SysprepStatus`, "GeneralizationState")
	audit := system.number(`Setup\Status`, "AuditBoot") != 0
	switch {
	case state == failed:
		v.add(HalfGeneralised, where, "GeneralizationState is %d", state)
	case image != "" && image != "IMAGE_STATE_COMPLETE" && !audit:
		v.add(HalfGeneralised, where, "ImageState is %s, and setup is not going to run", image)
	}
}
