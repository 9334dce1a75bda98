package testlab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"troy/diskwriter/machine"
	"troy/diskwriter/pcdisk"
	"troy/image"
	"troy/image/fields"
)

// InWindows is what a PC's Windows finds of what is its own.
type InWindows struct {
	Computer, Hostname, NVHostname string // names of its registry
	Machine                        string // \Troy\machine.json without the spaces that follow
}

// Called is what Windows finds on a PC of a room that gets a name, and nothing else.
func Called(name, host, room string) InWindows {
	return InWindows{Computer: strings.ToUpper(name), Hostname: name, NVHostname: name, Machine: string(fields.MachineJSON(name, host, room, nil))}
}

// InWindows reads that from the PC's disk. Only programs that are not Troy's read it: ntfscat, 7zz and
// hivexget; where the boot child has a log that no start has replayed yet, the chain is read by Troy.
func (p *PC) InWindows(ctx context.Context) (is InWindows, err error) {
	dir, err := os.MkdirTemp(p.lab.o.Dir, "inside-")
	if err != nil {
		return is, err
	}
	defer os.RemoveAll(dir)
	raw, volume := filepath.Join(dir, "raw"), filepath.Join(dir, "inner")
	if err := p.flatten(ctx, dir, raw); err != nil {
		return is, err
	}
	if err := CutOnlyVolume(ctx, raw, volume); err != nil {
		return is, err
	}
	if err := run(ctx, "ntfsfix", "-n", volume); err != nil {
		return is, err
	}
	return namesOn(ctx, dir, volume)
}

// flatten writes what Windows would see into a raw file.
func (p *PC) flatten(ctx context.Context, dir, raw string) (err error) {
	t, err := pcdisk.Find([]string{p.Disk})
	if err != nil {
		return err
	}
	defer t.Close()
	m, _, err := t.Open()
	if err != nil {
		return err
	}
	if !m.State().LogPending {
		volume := filepath.Join(dir, "outer")
		if err := CutVolume(ctx, p.Disk, volume); err != nil {
			return err
		}
		if err := extract(ctx, volume, dir); err != nil {
			return err
		}
		return run(ctx, "bash", "-c", `set -o pipefail; 7zz x -so -tvhdx "$1" | cp --sparse=always /dev/stdin "$2"`, "-", filepath.Join(dir, machine.BootName), raw)
	}
	chain, err := pcdisk.Chain(t.Files())
	if err != nil {
		return err
	}
	f, err := os.Create(raw)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, io.NewSectionReader(chain, 0, chain.Size()))
	return errors.Join(err, f.Close())
}

// namesOn reads the names on the volume of a Windows.
func namesOn(ctx context.Context, dir, volume string) (is InWindows, err error) {
	hive := filepath.Join(dir, "SYSTEM")
	if err := run(ctx, "bash", "-c", `ntfscat -f "$1" Windows/System32/config/SYSTEM >"$2"`, "-", volume, hive); err != nil {
		return is, err
	}
	for _, v := range []struct {
		key, value string
		to         *string
	}{
		{`\ControlSet001\Control\ComputerName\ComputerName`, "ComputerName", &is.Computer},
		{`\ControlSet001\Services\Tcpip\Parameters`, "Hostname", &is.Hostname},
		{`\ControlSet001\Services\Tcpip\Parameters`, "NV Hostname", &is.NVHostname},
	} {
		out, err := exec.CommandContext(ctx, "hivexget", hive, v.key, v.value).Output()
		if err != nil {
			return is, fmt.Errorf("hivexget %s %q: %w", v.key, v.value, err)
		}
		*v.to = strings.TrimSpace(string(out))
	}
	file, err := exec.CommandContext(ctx, "ntfscat", "-f", volume, "Troy/machine.json").Output()
	is.Machine = strings.TrimRight(string(file), " ")
	return is, err
}

// WithOwn writes a copy of a raw image, which is a version of the store, with what a PC gets over its
// fields, and returns its path.
func (l *Lab) WithOwn(ctx context.Context, raw string, version int, v *fields.Values) (path string, err error) {
	store, err := image.OpenStore(l.Store)
	if err != nil {
		return "", err
	}
	m, err := store.Show(ctx, Image, version)
	if err != nil {
		return "", err
	}
	path = filepath.Join(l.o.Dir, fmt.Sprintf("own-%s.raw", v.Name))
	if err := run(ctx, "cp", "--reflink=auto", "--sparse=always", raw, path); err != nil {
		return "", err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	edits, err := fields.Fill(m.Fields, v, f)
	for i := 0; i < len(edits) && err == nil; i++ {
		_, err = f.WriteAt(edits[i].Data, edits[i].Offset)
	}
	return path, errors.Join(err, f.Close())
}
