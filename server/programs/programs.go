// Package programs looks at what a store gives machines to start (Windows Boot Manager in its
// images, shim and GRUB in releases of the agent and for network boot), and says which of that a
// machine would refuse, by what its check-in tells of its firmware, and for which of its devices
// the Windows of an image has no driver.
//
// # Promises
//
// A refusal is told before the machine is given the program: of the version that it is to have, of
// the current release of the agent, of the folder for network boot. Nothing is said of machines
// whose Secure Boot is off, and nothing of what cannot be read: images without Windows, releases
// for Secure Boot off.
//
// Versions are read once. Releases and the folder are looked at again after ten seconds.
//
// # Known gaps
//
//   - The hashes in db and dbx stay on the machine: a program that is allowed or revoked by its
//     hash alone is judged by its signatures, security version and SBAT here. The machine itself
//     knows.
//   - The ISO image for UEFI HTTP boot carries the same shim and GRUB as the folder beside it, and
//     is not opened.
package programs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"troy/chainload/bootfiles"
	"troy/chainload/release"
	"troy/chainload/secureboot"
	"troy/image"
	"troy/image/startable"
	"troy/image/trust/sign"
	"troy/internal/absent"
	"troy/internal/digest"
	"troy/server/protocol"
)

// Shelf is what one store gives to start. Its methods may be called from several goroutines.
type Shelf struct {
	store *image.Store
	dir   string
	boot  string // folder for network boot; "" = none
	now   func() time.Time

	mu       sync.Mutex
	versions map[version]read
	drivers  map[version]*startable.Drivers // nil: it does not tell
	loaders  []loader
	looked   time.Time // when loaders were read
}

type version struct {
	image  string
	number int
}

// loader is a shim, or a GRUB that shim starts.
type loader struct {
	what    string
	shim    bool
	program *secureboot.Program
}

// read is what was found in a version.
type read struct {
	managers *bootfiles.Managers
	again    time.Time // it could not be read, and is looked at again then; zero = it could
}

const (
	versionsMost = 1000 // that are remembered
	fresh        = 10 * time.Second
	maxLoader    = 64 << 20
)

// Open opens the shelf of the store at dir, and of the folder boot for network boot; "" = none.
func Open(dir, boot string) (*Shelf, error) {
	store, err := image.OpenStore(dir)
	if err != nil {
		return nil, err
	}
	return &Shelf{store: store, dir: dir, boot: boot, now: time.Now, versions: map[version]read{}, drivers: map[version]*startable.Drivers{}}, nil
}

// Refused says what the machine would not start, a line for each; number 0 is no version.
func (s *Shelf) Refused(ctx context.Context, in *protocol.CheckIn, name string, number int) (all []string) {
	f := firmware(in)
	if !f.On {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.look() {
		err := f.ShimRefuses(l.program)
		if l.shim && err == nil {
			err = f.Refuses(l.program)
		}
		if err != nil {
			all = append(all, fmt.Sprintf("%s: %v", l.what, err))
		}
	}
	if m := s.managers(ctx, version{name, number}); m != nil {
		if err := m.Refused(f); err != nil {
			all = append(all, fmt.Sprintf("Windows Boot Manager of %s version %d: %v", name, number, err))
		}
	}
	return all
}

// Undriven names the machine's devices for which a version has no driver: controllers of disks and
// wired network cards. Nothing is said of versions that do not tell.
func (s *Shelf) Undriven(ctx context.Context, in *protocol.CheckIn, name string, number int) (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	have := s.driversOf(ctx, version{name, number})
	if have == nil {
		return nil
	}
	for _, d := range in.Devices {
		line := needed(&d)
		if line != "" && !slices.Contains(all, line) && !have.Has(startable.Device{Bus: d.Bus, ID: d.ID, Class: d.Class}) {
			all = append(all, line)
		}
	}
	return all
}

// needed names a device without which Windows does not start, or is alone; "" = another one. A disk
// on USB is none of the machine's, and a wireless card is not what machines of a room hang on.
func needed(d *protocol.Device) string {
	switch {
	case d.Kind == "storage" && d.Bus == "pci":
		return "the storage controller pci " + d.ID
	case d.Kind == "network" && (d.Bus == "usb" || strings.HasPrefix(d.Class, "0200")):
		return "the network card " + d.Bus + " " + d.ID
	}
	return ""
}

// driversOf are those of a version. It is read once; a store that cannot be read is asked again.
func (s *Shelf) driversOf(ctx context.Context, v version) *startable.Drivers {
	if known, ok := s.drivers[v]; ok || v.number == 0 {
		return known
	}
	r, err := image.OpenVersion(ctx, s.store, v.image, v.number)
	if err != nil {
		return nil
	}
	d, err := startable.ReadDrivers(r, r.Size(), int(r.Manifest().SectorSize))
	if err != nil && !errors.Is(err, startable.ErrNoDrivers) {
		return nil
	}
	if len(s.drivers) >= versionsMost {
		clear(s.drivers)
	}
	s.drivers[v] = d
	return d
}

// firmware is the machine's as far as it tells.
func firmware(in *protocol.CheckIn) *secureboot.Firmware {
	list := func(all []protocol.CA) (out []secureboot.CA) {
		for _, c := range all {
			var sum digest.Sum
			_ = sum.UnmarshalText([]byte(c.SHA256)) // Validate has checked it
			out = append(out, secureboot.CA{Name: c.Name, SHA256: sum})
		}
		return out
	}
	k := &in.Keys
	return &secureboot.Firmware{On: in.SecureBoot && len(k.CAs) > 0, CAs: list(k.CAs), Revoked: list(k.Revoked), SVN: secureboot.SVN(k.SVN), Level: k.SBAT}
}

// managers are those of a version, nil if it has none that can be read.
func (s *Shelf) managers(ctx context.Context, v version) *bootfiles.Managers {
	if v.number == 0 {
		return nil
	}
	known, ok := s.versions[v]
	if ok && (known.again.IsZero() || s.now().Before(known.again)) {
		return known.managers
	}
	m := read{}
	r, err := image.OpenVersion(ctx, s.store, v.image, v.number)
	if err == nil {
		m.managers, err = bootfiles.ReadManagers(r, r.Size(), int(r.Manifest().SectorSize))
	}
	if ctx.Err() != nil {
		return nil
	}
	if err != nil { // a disk that is no Windows, or a store that is not mounted
		m.again = s.now().Add(fresh)
	}
	if len(s.versions) >= versionsMost {
		clear(s.versions)
	}
	s.versions[v] = m
	return m.managers
}

// look reads shim and GRUB of the current release of the agent, and for network boot. While
// something of that cannot be read, what was known of it holds.
func (s *Shelf) look() []loader {
	now := s.now()
	if !s.looked.IsZero() && now.Sub(s.looked) < fresh {
		return s.loaders
	}
	s.looked = now
	releases, current, err := sign.AgentReleases(s.store)
	var found []loader
	for _, r := range releases {
		if err == nil && r.Version == current {
			found, err = loadersIn(found, "agent release "+current, filepath.Join(s.dir, filepath.FromSlash(r.Path(""))))
		}
	}
	if s.boot != "" {
		var berr error
		found, berr = loadersIn(found, "network boot", s.boot)
		err = cmp.Or(err, berr)
	}
	if err == nil || len(s.loaders) == 0 {
		s.loaders = found
	}
	return s.loaders
}

// loadersIn adds the loaders of a folder. The error is that one of them cannot be read now.
func loadersIn(all []loader, what, dir string) ([]loader, error) {
	for _, name := range []string{release.Shim, release.GRUB} {
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		if err == nil && info.Size() > maxLoader {
			continue
		}
		var b []byte
		if err == nil {
			b, err = os.ReadFile(path)
		}
		if absent.Is(err) {
			continue
		}
		if err != nil {
			return all, err
		}
		if p, err := secureboot.Parse(b); err == nil {
			shown := map[string]string{release.Shim: "shim", release.GRUB: "GRUB"}[name]
			all = append(all, loader{shown + " of " + what, name == release.Shim, p})
		}
	}
	return all, nil
}
