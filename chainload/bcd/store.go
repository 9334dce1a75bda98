package bcd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"troy/chainload/regf"
)

// Classes of error, for errors.Is.
var (
	// ErrMissing is the class of objects and elements that a store lacks.
	ErrMissing = errors.New("bcd: missing")
	// ErrOtherTarget is the class of stores that do not boot the file asked for.
	ErrOtherTarget = errors.New("bcd: store does not boot the VHDX file")
)

// Store is a BCD store.
type Store struct{ hive *regf.Hive }

// Parse reads a store made by any program. The bytes must not change while the
// Store is in use. The error wraps regf.ErrCorrupt, regf.ErrUnsupported or
// ErrCorrupt (a hive that is no store).
func Parse(b []byte) (*Store, error) {
	h, err := regf.Parse(b)
	if err != nil {
		return nil, fmt.Errorf("bcd: %w", err)
	}
	if h.Root.Key("Objects") == nil {
		return nil, fmt.Errorf("%w: hive without the key Objects", ErrCorrupt)
	}
	return &Store{hive: h}, nil
}

// Marshal returns the bytes of the file, as a hive that was written to its end.
func (s *Store) Marshal() ([]byte, error) {
	b, err := s.hive.Marshal()
	if err != nil {
		return nil, fmt.Errorf("bcd: %w", err)
	}
	return b, nil
}

// Dirty tells that the store was not written to its end.
func (s *Store) Dirty() bool { return s.hive.Dirty }

// typeOf returns the type of an object. The error wraps ErrMissing or ErrCorrupt.
func (s *Store) typeOf(object string) (objectType, error) {
	v := s.hive.Root.Key("Objects").Key(object).Key("Description").Value("Type")
	if v == nil {
		return 0, fmt.Errorf("%w: object %s", ErrMissing, object)
	}
	if len(v.Data) != 4 {
		return 0, fmt.Errorf("%w: type of object %s has %d bytes", ErrCorrupt, object, len(v.Data))
	}
	return objectType(binary.LittleEndian.Uint32(v.Data)), nil
}

// value returns what an element holds.
func (s *Store) value(object string, t elementType) (*regf.Value, error) {
	e := s.hive.Root.Key("Objects").Key(object).Key("Elements").Key(elementKey(t))
	if v := e.Value("Element"); v != nil {
		return v, nil
	}
	return nil, fmt.Errorf("%w: element %08x of object %s", ErrMissing, uint32(t), object)
}

// device returns a device element. The error wraps ErrMissing or ErrCorrupt.
func (s *Store) device(object string, t elementType) (device, error) {
	v, err := s.value(object, t)
	if err != nil {
		return nil, err
	}
	d, err := decodeDevice(v.Data)
	if err != nil {
		return nil, fmt.Errorf("element %08x of object %s: %w", uint32(t), object, err)
	}
	return d, nil
}

// text returns a string or an object element. The error wraps ErrMissing or
// regf.ErrCorrupt.
func (s *Store) text(object string, t elementType) (string, error) {
	v, err := s.value(object, t)
	if err != nil {
		return "", err
	}
	return v.Text()
}

// defaultLoader returns the identifier of the entry that boots without
// a choice: the default of the boot manager, which must be there and be a
// Windows loader. The error wraps ErrMissing or ErrCorrupt.
func (s *Store) defaultLoader() (string, error) {
	id, err := s.text(bootManagerID, defaultObject)
	if err != nil {
		return "", err
	}
	t, err := s.typeOf(id)
	if err != nil {
		return "", fmt.Errorf("default entry: %w", err)
	}
	if t != typeLoader {
		return "", fmt.Errorf("%w: default entry %s has type %08x, a Windows loader has %08x", ErrCorrupt, id, uint32(t), uint32(typeLoader))
	}
	return id, nil
}

// vhd returns the VHDX file that the default entry boots. The error wraps
// ErrOtherTarget when its two device elements do not agree on one such file.
func (s *Store) vhd() (VHD, error) {
	id, err := s.defaultLoader()
	if err != nil {
		return VHD{}, fmt.Errorf("%w: %w", ErrOtherTarget, err)
	}
	loader, err := s.fileOf(id, applicationDevice)
	if err != nil {
		return VHD{}, err
	}
	system, err := s.fileOf(id, osDevice)
	if err != nil {
		return VHD{}, err
	}
	if !loader.same(system) {
		return VHD{}, fmt.Errorf("%w: device is %s, osdevice is %s", ErrOtherTarget, loader, system)
	}
	return loader, nil
}

func (s *Store) fileOf(id string, t elementType) (VHD, error) {
	d, err := s.device(id, t)
	if err != nil {
		return VHD{}, fmt.Errorf("%w: %w", ErrOtherTarget, err)
	}
	v, ok := vhdOf(d)
	if !ok {
		return VHD{}, fmt.Errorf("%w: element %08x of object %s names no VHDX file", ErrOtherTarget, uint32(t), id)
	}
	if o, ok := d.(optionDevice); ok && !s.has(o.Options) {
		return VHD{}, fmt.Errorf("%w: options {%s} of element %08x are missing", ErrOtherTarget, o.Options, uint32(t))
	}
	return v, nil
}

// Names returns nil when the default entry boots Windows from that file, by
// winload.efi, and the store was written to its end. Else the error says in
// one line what is different; it wraps ErrOtherTarget.
func (s *Store) Names(want VHD) error {
	if s.Dirty() {
		return fmt.Errorf("%w: the store was not written to its end", ErrOtherTarget)
	}
	have, err := s.vhd()
	if err != nil {
		return err
	}
	if !have.same(want) {
		return fmt.Errorf("%w: it boots %s", ErrOtherTarget, have)
	}
	return s.startsWindows()
}

// startsWindows checks the two paths inside the VHDX file.
func (s *Store) startsWindows() error {
	id, err := s.defaultLoader()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrOtherTarget, err)
	}
	if err := s.textIs(id, applicationPath, loaderPath); err != nil {
		return err
	}
	return s.textIs(id, systemRootElement, systemRoot)
}

func (s *Store) textIs(id string, t elementType, want string) error {
	have, err := s.text(id, t)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrOtherTarget, err)
	}
	if !strings.EqualFold(have, want) {
		return fmt.Errorf("%w: element %08x is %.60q, want %s", ErrOtherTarget, uint32(t), have, want)
	}
	return nil
}

// PatchVHD makes the two device elements of the default entry name that file,
// and leaves all else as it is, the options of a VHDX file included. The error wraps ErrMissing or ErrCorrupt when
// the store has no default entry for Windows; the store is unchanged then.
func (s *Store) PatchVHD(v VHD) error {
	id, err := s.defaultLoader()
	if err != nil {
		return err
	}
	e := elements{key: s.hive.Root.Key("Objects").Key(id).Make("Elements")}
	e.device(applicationDevice, s.withOptions(id, applicationDevice, v.device(applicationPath)))
	e.device(osDevice, s.withOptions(id, osDevice, v.device(systemRootElement)))
	return nil
}

// withOptions gives d the options that the element has now, if they are in the store and a VHDX
// file has them: those of another device, say a RAM disk, go with it.
func (s *Store) withOptions(id string, t elementType, d device) device {
	now, err := s.device(id, t)
	if err != nil {
		return d // nothing to keep
	}
	o, ok := now.(optionDevice)
	if _, isVHD := vhdOf(now); !ok || !isVHD || !s.has(o.Options) {
		return d
	}
	return optionDevice{o.Options, d}
}

// has tells whether the store holds an object.
func (s *Store) has(object GUID) bool {
	return s.hive.Root.Key("Objects").Key("{"+object.String()+"}") != nil
}
