package vhdxcmd

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"

	"troy/internal/cli"
	"troy/vhdx"
)

// Extent is one element of the array that "map --json" prints: ascending, without gaps, from the
// start of the virtual disk to its end. Only data has a place in a file.
type Extent struct {
	Offset     int64  `json:"offset"` // of the virtual disk
	Length     int64  `json:"length"`
	Kind       string `json:"kind"` // data, or what reads zero: zero, unmapped, undefined, absent (no file of the chain holds it)
	Layer      int    `json:"layer"`
	File       string `json:"file"` // of the layer that decides; 0 is FILE, 1 its parent
	FileOffset *int64 `json:"file_offset,omitempty"`
}

type extents struct {
	*base
	parents cli.List
}

func newMap(b *base) *Command {
	v := &extents{base: b}
	c := b.command("map", "FILE", "list the data extents of a disk", 1, 1, v.run)
	c.Flags.Var(&v.parents, "parent", "a `file` of the chain, nearest first (default: the name in the child, in its own folder)")
	return c
}

func (v *extents) run(ctx context.Context, args []string) error {
	return v.explain(v.show(ctx, args[0], &vhdx.Parents{Named: v.parents}), cli.NothingChanged)
}

func (v *extents) show(ctx context.Context, path string, parents *vhdx.Parents) error {
	chain, err := openChain(path, parents)
	if err != nil {
		return err
	}
	defer chain.Close()
	NoteChain(v.Streams, chain, parents)
	out := &mapPrinter{w: bufio.NewWriter(v.Out), json: v.json}
	out.begin()
	files := chain.Files()
	for e, err := range chain.Extents(0, chain.Size()) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		if err := out.add(e, files[e.Layer].Path()); err != nil {
			return err
		}
	}
	return out.end()
}

// mapPrinter writes extents as they come: a disk can have millions.
type mapPrinter struct {
	w     *bufio.Writer
	json  bool
	count int
}

func (m *mapPrinter) begin() {
	if m.json {
		m.w.WriteString("[")
		return
	}
	fmt.Fprintf(m.w, "%-14s %-14s %-10s %-5s %-14s %s\n", "offset", "length", "kind", "layer", "file offset", "file")
}

// add writes one extent. The buffered writer keeps the first error.
func (m *mapPrinter) add(e vhdx.Extent, file string) error {
	m.count++
	if m.json {
		return m.addJSON(e, file)
	}
	place := "-"
	if e.Kind == vhdx.Data {
		place = fmt.Sprintf("%#x", e.FileOffset)
	}
	_, err := fmt.Fprintf(m.w, "%#-14x %#-14x %-10v %-5d %-14s %s\n", e.Offset, e.Length, e.Kind, e.Layer, place, cli.Clean(file))
	return err
}

func (m *mapPrinter) addJSON(e vhdx.Extent, file string) error {
	j := Extent{Offset: e.Offset, Length: e.Length, Kind: e.Kind.String(), Layer: e.Layer, File: file}
	if e.Kind == vhdx.Data {
		j.FileOffset = &e.FileOffset
	}
	b, err := json.Marshal(j)
	if err != nil {
		return err
	}
	sep := ",\n  "
	if m.count == 1 {
		sep = "\n  "
	}
	_, err = m.w.WriteString(sep + string(b))
	return err
}

func (m *mapPrinter) end() error {
	if m.json {
		m.w.WriteString("\n]\n")
	}
	return m.w.Flush()
}
