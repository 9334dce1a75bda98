package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"troy/image"
	"troy/image/publish"
	"troy/image/trust/sign"
	"troy/internal/cli"
	"troy/internal/progress"
)

// jsonVerify is what "image verify --json" prints: what was found of each version.
type jsonVerify struct {
	Image   string `json:"image"`
	Version int    `json:"version"`
	OK      bool   `json:"ok"`
	Damage  string `json:"damage,omitempty"`
}

func newVerify(s *cli.Streams) *cobra.Command {
	i := newImageCall(s)
	return i.withStoreJSON(leaf("verify NAME [VERSION]", "hash all files of a version (default: of each version)", i.runVerify))
}

func (i *imageCall) runVerify(ctx context.Context, args []string) error {
	number, err := versionOrNewest(args, 1)
	if err != nil {
		return err
	}
	if err := i.open(); err != nil {
		return err
	}
	index, err := image.LoadIndex(ctx, i.store, args[0])
	if errors.Is(err, image.ErrCorrupt) {
		return fmt.Errorf("%w: %w", cli.ErrCheck, err)
	}
	if err != nil {
		return err
	}
	var results []jsonVerify
	for _, e := range index.Versions {
		if number == 0 || number == e.Version {
			r, err := i.verify(ctx, args[0], e.Version)
			if err != nil {
				return err
			}
			results = append(results, r)
		}
	}
	if len(results) == 0 {
		_, err := i.store.Show(ctx, args[0], number) // says which version there is instead
		if err == nil {
			err = image.ErrNotFound // when the list was read
		}
		return err
	}
	return i.showVerified(results)
}

// verify reads one version. Damage is a result, no error.
func (i *imageCall) verify(ctx context.Context, name string, number int) (jsonVerify, error) {
	r := jsonVerify{Image: name, Version: number}
	total := int64(0)
	if m, err := i.store.Show(ctx, name, number); err == nil {
		total = m.VirtualSize
	}
	meter := progress.New(i.Err, fmt.Sprintf("verifying version %d", number), total)
	err := i.store.Verify(ctx, name, number, meter)
	meter.Done()
	switch {
	case err == nil:
		r.OK = true
	case errors.Is(err, image.ErrCorrupt), errors.Is(err, image.ErrNotFound):
		r.Damage = cli.Clean(err.Error())
	default:
		return r, err
	}
	return r, nil
}

func (i *imageCall) showVerified(results []jsonVerify) error {
	bad := 0
	for _, r := range results {
		if !r.OK {
			bad++
		}
		switch {
		case i.json:
		case r.OK:
			fmt.Fprintf(i.Out, "%s version %d: every byte is as published\n", r.Image, r.Version)
		default:
			fmt.Fprintf(i.Out, "%s version %d: DAMAGED: %s\n", r.Image, r.Version, r.Damage)
		}
	}
	if i.json {
		if err := i.JSON(results); err != nil {
			return err
		}
	}
	if bad > 0 {
		return fmt.Errorf("%w: %d of %d versions are damaged", cli.ErrCheck, bad, len(results))
	}
	return nil
}

// jsonRemoved is what "image rm --json" prints.
type jsonRemoved struct {
	Image   string `json:"image"`
	Removed int    `json:"removed"`
}

// removing is one "image rm".
type removing struct {
	*imageCall
	keys keyFlags
}

func newRemove(s *cli.Streams) *cobra.Command {
	i := &removing{imageCall: newImageCall(s)}
	cmd := leaf("rm NAME VERSION", "remove the newest version", i.run)
	i.keys.define(cmd.Flags())
	return i.withStoreJSON(cmd)
}

func (i *removing) run(ctx context.Context, args []string) error {
	number, err := versionNumber(args[1], 1)
	if err != nil {
		return err
	}
	if err := i.open(); err != nil {
		return err
	}
	repo, err := i.signer(ctx, &i.keys)
	if err != nil {
		return err
	}
	if err := i.keys.ask(i.call, fmt.Sprintf("remove %s version %d and sign that? yes or no: ", cli.Clean(args[0]), number)); err != nil {
		return &cli.Fault{Err: err, Fate: "nothing was removed"}
	}
	i.keys.approved = true
	if err := publish.Remove(ctx, i.store, args[0], number); err != nil {
		return err
	}
	if _, err := repo.Sign(ctx, i.store, time.Now(), sign.NoVersion(args[0], number)); err != nil {
		return &cli.Fault{Err: err, Fate: fmt.Sprintf("%s version %d is removed, but not signed; machines still see it", args[0], number), Advice: keyAdvice(err)}
	}
	if i.json {
		return i.JSON(jsonRemoved{args[0], number})
	}
	fmt.Fprintf(i.Out, "removed %s version %d; 'troy image gc' frees its space\n", args[0], number)
	return nil
}

// jsonGC is what "image gc --json" prints.
type jsonGC struct {
	Removed int64 `json:"removed"` // files
	Bytes   int64 `json:"bytes"`   // of those
	Kept    int64 `json:"kept"`
}

func newGC(s *cli.Streams) *cobra.Command {
	i := newImageCall(s)
	return i.withStoreJSON(leaf("gc", "delete files that no version needs", i.runGC))
}

// signedImages are those that machines see.
func (i *imageCall) signedImages() ([]string, error) {
	repo, err := sign.Open(i.store.String(), nil)
	if errors.Is(err, sign.ErrUnsigned) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	served, err := repo.Served()
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(served.Images)), nil
}

func (i *imageCall) runGC(ctx context.Context, _ []string) error {
	if err := i.open(); err != nil {
		return err
	}
	signed, err := i.signedImages()
	if err != nil {
		return &cli.Fault{Err: err, Fate: "nothing was removed"}
	}
	st, err := publish.GC(ctx, i.store, signed...)
	if errors.Is(err, publish.ErrMissing) {
		return &cli.Fault{Err: err, Fate: "nothing was removed", Advice: withoutAdvice}
	}
	if err != nil {
		return err
	}
	if i.json {
		return i.JSON(jsonGC{st.Removed, st.Bytes, st.Kept})
	}
	fmt.Fprintf(i.Out, "removed %d files (%s), kept %d\n", st.Removed, progress.Bytes(st.Bytes), st.Kept)
	return nil
}
