package trial

import (
	"context"
	"errors"
	"path/filepath"
	"strconv"

	"troy/diskwriter/blockdev"
	"troy/image/source"
	"troy/initramfs/bundle"
	"troy/internal/durable"
	"troy/internal/progress"
	"troy/trial/prepare"
	"troy/vhdx"
)

// firstStamp is that of the ballast when Windows is up for the first time: that of version 2, which
// is made then.
const firstStamp = 2

// importArguments are those of the import of version 1. A medium gets the trial's answer file, a
// disk image the trial's program, in a copy.
func (t *Trial) importArguments(ctx context.Context) ([]string, error) {
	args := append([]string{"image", "import", "--yes", "--store", t.troy.store()}, t.force()...)
	if !t.source.Medium {
		file, err := t.prepared(ctx)
		return append(args, imageName, file), err
	}
	answer, err := prepare.Answer(t.source.Language)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(t.o.Dir, "unattend.xml")
	if err := durable.WriteFile(file, answer, 0o600); err != nil {
		return nil, err
	}
	if t.o.Size > 0 {
		args = append(args, "--size", strconv.FormatFloat(float64(t.o.Size)/(1<<30), 'f', -1, 64))
	}
	return append(args, "--edition", t.source.Choice, "--unattend", file, imageName, t.o.Source), nil
}

// prepared makes the copy of a disk image that has the trial's program.
func (t *Trial) prepared(ctx context.Context) (string, error) {
	if err := prepare.Clear(t.o.Dir); err != nil {
		return "", err
	}
	src, err := source.Recognise(t.o.Source)
	if err != nil {
		return "", err
	}
	boot, err := bundle.Open(t.o.Bundle)
	if err != nil {
		return "", err
	}
	p, err := prepare.Disk(ctx, &prepare.Options{Source: src, Parents: &vhdx.Parents{}, Dir: t.o.Dir, Program: t.o.Program, Bundle: boot,
		Ballast: t.o.ballast(), Stamp: firstStamp, Progress: progress.On(&indented{w: t.o.Out})})
	if err != nil {
		return "", err
	}
	t.source.Setup, t.state.Setup = p.Setup, p.Setup
	if t.source.Size == 0 {
		if err := t.converted(p.Path); err != nil {
			return "", err
		}
	}
	for _, note := range p.Notes {
		t.say("    %s", note)
	}
	return p.Path, nil
}

// converted looks at a disk image that could not be looked at before it was converted.
func (t *Trial) converted(path string) error {
	dev, err := blockdev.Open(path, &blockdev.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer dev.Close()
	if err := t.source.look(dev, dev.Size(), int(dev.SectorSize())); err != nil {
		return err
	}
	t.state.Bound = t.source.Bound
	return errors.Join(t.source.licensed(), t.source.allowed(&t.o))
}
