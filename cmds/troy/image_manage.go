package main

import (
	"context"
	"errors"
	"fmt"

	"troy/image"
	"troy/image/publish"
	"troy/internal/errline"
	"troy/internal/progress"
)

// jsonVerify is what "image verify --json" prints: what was found of each version.
type jsonVerify struct {
	Image   string `json:"image"`
	Version int    `json:"version"`
	OK      bool   `json:"ok"`
	Damage  string `json:"damage,omitempty"`
}

func runVerify(ctx context.Context, c *call) error {
	i := newImageCall(c)
	args, err := i.open(1, 2)
	if err != nil {
		return err
	}
	number, err := versionOrNewest(args, 1)
	if err != nil {
		return err
	}
	index, err := image.LoadIndex(ctx, i.store, args[0])
	if errors.Is(err, image.ErrCorrupt) {
		return fmt.Errorf("%w: %w", errCheck, err)
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
		return errline.Join(err, image.ErrNotFound)
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
	meter := progress.New(i.stderr, fmt.Sprintf("verifying version %d", number), total)
	err := i.store.Verify(ctx, name, number, meter)
	meter.Done()
	switch {
	case err == nil:
		r.OK = true
	case errors.Is(err, image.ErrCorrupt), errors.Is(err, image.ErrNotFound):
		r.Damage = clean(err.Error())
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
			fmt.Fprintf(i.stdout, "%s version %d: every byte is as published\n", r.Image, r.Version)
		default:
			fmt.Fprintf(i.stdout, "%s version %d: DAMAGED: %s\n", r.Image, r.Version, r.Damage)
		}
	}
	if i.json {
		if err := i.printJSON(results); err != nil {
			return err
		}
	}
	if bad > 0 {
		return fmt.Errorf("%w: %d of %d versions are damaged", errCheck, bad, len(results))
	}
	return nil
}

// jsonRemoved is what "image rm --json" prints.
type jsonRemoved struct {
	Image   string `json:"image"`
	Removed int    `json:"removed"`
}

func runRemove(ctx context.Context, c *call) error {
	i := newImageCall(c)
	var keys keyFlags
	keys.add(i.fs)
	args, err := i.open(2, 2)
	if err != nil {
		return err
	}
	number, err := version(args[1], 1)
	if err != nil {
		return err
	}
	signer, err := i.signer(ctx, &keys)
	if err != nil {
		return err
	}
	if err := publish.Remove(ctx, i.store, args[0], number); err != nil {
		return err
	}
	if err := signer.sign(ctx, i); err != nil {
		return &fault{err: err, fate: fmt.Sprintf("%s version %d is removed, but machines still see it", args[0], number), advice: "'troy key sign' ends that"}
	}
	if i.json {
		return i.printJSON(jsonRemoved{args[0], number})
	}
	fmt.Fprintf(i.stdout, "removed %s version %d; 'troy image gc' frees its space\n", args[0], number)
	return nil
}

// jsonGC is what "image gc --json" prints.
type jsonGC struct {
	Removed int64 `json:"removed"` // files
	Bytes   int64 `json:"bytes"`   // of those
	Kept    int64 `json:"kept"`
}

func runGC(ctx context.Context, c *call) error {
	i := newImageCall(c)
	if _, err := i.open(0, 0); err != nil {
		return err
	}
	st, err := publish.GC(ctx, i.store)
	if err != nil {
		return err
	}
	if i.json {
		return i.printJSON(jsonGC{st.Removed, st.Bytes, st.Kept})
	}
	fmt.Fprintf(i.stdout, "removed %d files (%s), kept %d\n", st.Removed, progress.Bytes(st.Bytes), st.Kept)
	return nil
}
