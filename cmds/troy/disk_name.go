package main

import (
	"context"
	"encoding/hex"
	"fmt"

	"github.com/spf13/cobra"

	"troy/diskwriter/blockdev"
	"troy/diskwriter/machine"
	"troy/image"
	"troy/image/fields"
	"troy/internal/cli"
)

func newDiskName(s *cli.Streams) *cobra.Command {
	d := &diskStore{call: newCall(s)}
	cmd := leaf("name --store DIR DEVICE NAME", "reset a machine and give its Windows a name", d.name)
	cmd.Long = `Discard the changes that Windows made, and write the name of the machine over that of the version,
in the places that 'troy image show' lists. The agent writes it again after each reset, until a
server says something else. Nothing is written if the version has no such place, or the name is none
that Windows takes.`
	return d.define(cmd)
}

func (d *diskStore) name(ctx context.Context, args []string) error {
	d.device = args[0]
	v := &fields.Values{Name: args[1]}
	err := fields.CheckName(v.Name)
	if err == nil {
		d.store, err = d.openStore(ctx)
	}
	if err != nil {
		return explainDisk(err, fateOf(nil))
	}
	t, m, err := openMachine(d.call, d.device, &blockdev.Options{Exclusive: true})
	if err != nil {
		return explainDisk(err, fateOf(nil))
	}
	defer t.Close()
	err = recoverAnd(ctx, d.call, t, m, func(ctx context.Context, _ *call, m *machine.Machine) error { return d.give(ctx, m, v) })
	if err == nil {
		err = d.finish(t, "named "+v.Name)
	}
	return explainDisk(err, fateOf(t))
}

// give names a machine. What is to be written is known, and noted, before the session goes.
func (d *diskStore) give(ctx context.Context, m *machine.Machine, v *fields.Values) error {
	st := m.State()
	of, err := image.LoadManifest(ctx, d.store, st.Image, st.Version)
	if err != nil {
		return err
	}
	if sum := hex.EncodeToString(of.SHA256[:]); st.Manifest != sum {
		return fmt.Errorf("%s version %d of the store is another one than that of the machine", st.Image, st.Version)
	}
	if err := fields.Check(of.Fields, v); err != nil {
		return err
	}
	published, err := image.OpenVersion(ctx, d.store, st.Image, st.Version)
	if err != nil {
		return err
	}
	edits, err := fields.Fill(of.Fields, v, published)
	if err != nil {
		return err
	}
	id := &machine.Identity{Image: st.Image, Version: st.Version, Manifest: st.Manifest, Of: "troy disk name " + v.Name, Values: map[string]string{"name": v.Name}, Edits: edits}
	if err := m.Want(ctx, id); err != nil {
		return err
	}
	if err := m.Reset(ctx); err != nil {
		return err
	}
	return m.Personalise(ctx, edits)
}
