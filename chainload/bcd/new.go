package bcd

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"troy/chainload/regf"
)

// locale is that of the boot manager's own messages.
const locale = "en-US"

// DefaultPath is where the boot child lies on the machine's data volume.
const DefaultPath = `\Troy\boot.vhdx`

// ErrOptions is the class of VHDX files that no store can name.
var ErrOptions = errors.New("bcd: bad options")

// check refuses what the boot manager would not find.
func (v VHD) check() error {
	switch {
	case v.Disk.IsZero() || v.Partition.IsZero():
		return fmt.Errorf("%w: GUIDs of disk and partition are needed", ErrOptions)
	case !strings.HasPrefix(v.Path, `\`) || strings.ContainsAny(v.Path, "/:\x00") || len(v.Path) > 255:
		return fmt.Errorf("%w: %.60q is no path from the root of a volume", ErrOptions, v.Path)
	}
	return nil
}

// loaderID is the identifier of the entry: the same whenever the same file is
// named (RFC 9562 version 8: by hash).
func (v VHD) loaderID() string {
	h := sha256.New()
	h.Write([]byte("boot entry of a VHDX file\x00"))
	h.Write(v.Disk[:])
	h.Write(v.Partition[:])
	h.Write([]byte(strings.ToLower(v.Path)))
	g := GUID(h.Sum(nil)[:16])
	g[7] = g[7]&0x0f | 0x80
	g[8] = g[8]&0x3f | 0x80
	return "{" + g.String() + "}"
}

// New returns a store whose only entry starts Windows from a VHDX file at
// once: no menu, no recovery, failures of earlier boots ignored. esp is the
// unique GUID of the ESP, a partition of the same disk; zero: whatever the
// firmware started from. The error wraps ErrOptions.
func New(v VHD, esp GUID) (*Store, error) {
	if err := v.check(); err != nil {
		return nil, err
	}
	s := &Store{hive: &regf.Hive{
		Root:     &regf.Key{Name: "NewStoreRoot"},
		FileName: `\EFI\Microsoft\Boot\BCD`,
		Sequence: 1,
	}}
	d := s.hive.Root.Make("Description")
	d.Set("KeyName", regf.SZ, regf.EncodeSZ("BCD00000000"))
	d.Set("System", regf.DWORD, regf.EncodeDWORD(1))
	d.Set("TreatAsSystem", regf.DWORD, regf.EncodeDWORD(1))
	s.addBootManager(v, esp)
	s.addLoader(v)
	s.object(BootLoaderSettingsID, TypeBootLoaderSettings).list(InheritedObjects, GlobalSettingsID)
	s.object(GlobalSettingsID, TypeGlobalSettings)
	return s, nil
}

func (s *Store) addBootManager(v VHD, esp GUID) {
	var from Device = Boot{}
	if !esp.IsZero() {
		from = Partition{ID: esp, Table: GPT, Disk: v.Disk}
	}
	m := s.object(BootManagerID, TypeBootManager)
	m.device(ApplicationDevice, from)
	m.string(ApplicationPath, BootManagerPath)
	m.string(Description, "Windows Boot Manager")
	m.string(PreferredLocale, locale)
	m.list(InheritedObjects, GlobalSettingsID)
	m.string(DefaultObject, v.loaderID())
	m.list(DisplayOrder, v.loaderID())
	m.integer(Timeout, 0)
	m.boolean(DisplayBootMenu, false)
}

func (s *Store) addLoader(v VHD) {
	l := s.object(v.loaderID(), TypeLoader)
	l.device(ApplicationDevice, v.Device(ApplicationPath))
	l.string(ApplicationPath, loaderPath)
	l.string(Description, "Windows")
	l.string(PreferredLocale, locale)
	l.list(InheritedObjects, BootLoaderSettingsID)
	l.boolean(AutoRecoveryEnabled, false)
	l.boolean(IsolatedExecutionContext, true)
	l.integer(AllowedInMemorySettings, allowedInMemorySettings)
	l.device(OSDevice, v.Device(SystemRoot))
	l.string(SystemRoot, systemRoot)
	l.integer(NxPolicy, nxOptIn)
	l.integer(BootMenuPolicy, menuStandard)
	l.integer(BootStatusPolicy, ignoreAllFailures)
}

// elements writes into the Elements key of an object.
type elements struct{ key *regf.Key }

// object adds an object.
func (s *Store) object(id string, t ObjectType) elements {
	k := s.hive.Root.Make("Objects").Make(id)
	k.Make("Description").Set("Type", regf.DWORD, regf.EncodeDWORD(uint32(t)))
	return elements{key: k.Make("Elements")}
}

func (e elements) set(t ElementType, kind regf.Type, data []byte) {
	e.key.Make(elementKey(t)).Set("Element", kind, data)
}

func elementKey(t ElementType) string { return fmt.Sprintf("%08x", uint32(t)) }

func (e elements) device(t ElementType, d Device) { e.set(t, regf.Binary, EncodeDevice(d)) }

func (e elements) string(t ElementType, s string) { e.set(t, regf.SZ, regf.EncodeSZ(s)) }

func (e elements) list(t ElementType, ids ...string) {
	e.set(t, regf.MultiSZ, regf.EncodeMultiSZ(ids...))
}

func (e elements) integer(t ElementType, n uint64) {
	e.set(t, regf.Binary, binary.LittleEndian.AppendUint64(nil, n))
}

func (e elements) boolean(t ElementType, b bool) {
	data := []byte{0}
	if b {
		data[0] = 1
	}
	e.set(t, regf.Binary, data)
}
