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
	s.object(bootLoaderSettingsID, typeBootLoaderSettings).list(inheritedObjects, globalSettingsID)
	s.object(globalSettingsID, typeGlobalSettings)
	return s, nil
}

func (s *Store) addBootManager(v VHD, esp GUID) {
	var from device = bootDevice{}
	if !esp.IsZero() {
		from = partitionDevice{ID: esp, Table: tableGPT, Disk: v.Disk}
	}
	m := s.object(bootManagerID, typeBootManager)
	m.device(applicationDevice, from)
	m.string(applicationPath, BootManagerPath)
	m.string(description, "Windows Boot Manager")
	m.string(preferredLocale, locale)
	m.list(inheritedObjects, globalSettingsID)
	m.string(defaultObject, v.loaderID())
	m.list(displayOrder, v.loaderID())
	m.integer(timeout, 0)
	m.boolean(displayBootMenu, false)
}

func (s *Store) addLoader(v VHD) {
	l := s.object(v.loaderID(), typeLoader)
	l.device(applicationDevice, v.device(applicationPath))
	l.string(applicationPath, loaderPath)
	l.string(description, "Windows")
	l.string(preferredLocale, locale)
	l.list(inheritedObjects, bootLoaderSettingsID)
	l.boolean(autoRecoveryEnabled, false)
	l.boolean(isolatedExecutionContext, true)
	l.integer(allowedInMemory, allowedInMemorySettings)
	l.device(osDevice, v.device(systemRootElement))
	l.string(systemRootElement, systemRoot)
	l.integer(nxPolicy, nxOptIn)
	l.integer(bootMenuPolicy, menuStandard)
	l.integer(bootStatusPolicy, ignoreAllFailures)
}

// elements writes into the Elements key of an object.
type elements struct{ key *regf.Key }

// object adds an object.
func (s *Store) object(id string, t objectType) elements {
	k := s.hive.Root.Make("Objects").Make(id)
	k.Make("Description").Set("Type", regf.DWORD, regf.EncodeDWORD(uint32(t)))
	return elements{key: k.Make("Elements")}
}

func (e elements) set(t elementType, kind regf.Type, data []byte) {
	e.key.Make(elementKey(t)).Set("Element", kind, data)
}

func elementKey(t elementType) string { return fmt.Sprintf("%08x", uint32(t)) }

func (e elements) device(t elementType, d device) { e.set(t, regf.Binary, encodeDevice(d)) }

func (e elements) string(t elementType, s string) { e.set(t, regf.SZ, regf.EncodeSZ(s)) }

func (e elements) list(t elementType, ids ...string) {
	e.set(t, regf.MultiSZ, regf.EncodeMultiSZ(ids...))
}

func (e elements) integer(t elementType, n uint64) {
	e.set(t, regf.Binary, binary.LittleEndian.AppendUint64(nil, n))
}

func (e elements) boolean(t elementType, b bool) {
	data := []byte{0}
	if b {
		data[0] = 1
	}
	e.set(t, regf.Binary, data)
}
