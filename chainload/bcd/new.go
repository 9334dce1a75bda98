package bcd

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"troy/chainload/regf"
)

// DefaultPath is where the boot child lies on the machine's data volume.
const DefaultPath = `\Troy\boot.vhdx`

// ErrOptions is the class of options that make no store.
var ErrOptions = errors.New("bcd: bad options")

// Options says what Windows to boot, and from where. Disk and Partition are
// required.
type Options struct {
	Disk      GUID   // GUID of the disk that holds the VHDX file
	Partition GUID   // unique GUID of its partition
	Path      string // of the VHDX file; empty: DefaultPath

	ESP     GUID // unique partition GUID of the ESP; zero: whatever was booted from
	ESPDisk GUID // GUID of the disk of the ESP; zero: Disk

	Loader      GUID   // identifier of the entry; zero: derived from the VHDX file's place
	Description string // empty: "Windows"
	Locale      string // empty: "en-US"
	DetectHAL   bool   // detect kernel and HAL anew at each boot
}

func (o Options) withDefaults() (Options, error) {
	setDefault(&o.Path, DefaultPath)
	setDefault(&o.Description, "Windows")
	setDefault(&o.Locale, "en-US")
	if o.ESPDisk.IsZero() {
		o.ESPDisk = o.Disk
	}
	if o.Loader.IsZero() {
		o.Loader = deriveLoader(o)
	}
	switch {
	case o.Disk.IsZero() || o.Partition.IsZero():
		return o, fmt.Errorf("%w: GUIDs of disk and partition are needed", ErrOptions)
	case !strings.HasPrefix(o.Path, `\`) || strings.ContainsAny(o.Path, "/:\x00") || len(o.Path) > 255:
		return o, fmt.Errorf("%w: %.60q is no path from the root of a volume", ErrOptions, o.Path)
	}
	return o, nil
}

func setDefault(s *string, v string) {
	if *s == "" {
		*s = v
	}
}

// deriveLoader makes an identifier that is the same whenever the same file is
// named (RFC 9562 version 8: by hash).
func deriveLoader(o Options) GUID {
	h := sha256.New()
	h.Write([]byte("boot entry of a VHDX file\x00"))
	h.Write(o.Disk[:])
	h.Write(o.Partition[:])
	h.Write([]byte(strings.ToLower(o.Path)))
	g := GUID(h.Sum(nil)[:16])
	g[7] = g[7]&0x0f | 0x80
	g[8] = g[8]&0x3f | 0x80
	return g
}

// New returns a store whose only entry starts Windows from a VHDX file at
// once: no menu, no recovery, failures of earlier boots ignored. The error
// wraps ErrOptions.
func New(o *Options) (*Store, error) {
	opt, err := o.withDefaults()
	if err != nil {
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
	s.addBootManager(opt)
	s.addLoader(opt)
	s.object(BootLoaderSettingsID, TypeBootLoaderSettings).list(InheritedObjects, GlobalSettingsID)
	s.object(GlobalSettingsID, TypeGlobalSettings)
	return s, nil
}

func (o Options) loaderID() string { return "{" + o.Loader.String() + "}" }

func (s *Store) addBootManager(o Options) {
	var esp Device = Boot{}
	if !o.ESP.IsZero() {
		esp = Partition{ID: o.ESP, Table: GPT, Disk: o.ESPDisk}
	}
	m := s.object(BootManagerID, TypeBootManager)
	m.device(ApplicationDevice, esp)
	m.string(ApplicationPath, BootManagerPath)
	m.string(Description, "Windows Boot Manager")
	m.string(PreferredLocale, o.Locale)
	m.list(InheritedObjects, GlobalSettingsID)
	m.string(DefaultObject, o.loaderID())
	m.list(DisplayOrder, o.loaderID())
	m.integer(Timeout, 0)
	m.boolean(DisplayBootMenu, false)
}

func (s *Store) addLoader(o Options) {
	v := VHD{Disk: o.Disk, Partition: o.Partition, Path: o.Path}
	l := s.object(o.loaderID(), TypeLoader)
	l.device(ApplicationDevice, v.Device(ApplicationPath))
	l.string(ApplicationPath, loaderPath)
	l.string(Description, o.Description)
	l.string(PreferredLocale, o.Locale)
	l.list(InheritedObjects, BootLoaderSettingsID)
	l.boolean(AutoRecoveryEnabled, false)
	l.boolean(IsolatedExecutionContext, true)
	l.integer(AllowedInMemorySettings, allowedInMemorySettings)
	l.device(OSDevice, v.Device(SystemRoot))
	l.string(SystemRoot, systemRoot)
	l.integer(NxPolicy, nxOptIn)
	l.integer(BootMenuPolicy, menuStandard)
	l.integer(BootStatusPolicy, ignoreAllFailures)
	if o.DetectHAL {
		l.boolean(DetectKernelAndHal, true)
	}
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
