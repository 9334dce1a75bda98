package bootfiles

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"troy/chainload/esp"
	"troy/internal/digest"
)

const (
	// suffixNew is what a file is called until it is whole.
	suffixNew = ".troynew"
	// stash is where a boot manager waits that is newer than that of the version which is being
	// installed: nothing starts it there.
	stash = espBoot + "/" + manager + ".troykept"
)

// Change is what has to be done so that an ESP has what a set needs.
type Change struct {
	root     string
	todo     []job
	kept     int
	leftover []string // of an earlier call, and the stash
	newer    string   // why the boot manager on the ESP stays
	manager  []byte   // that is to be written; nil: the one on the ESP is right, or stays
}

// job is a file that has to be written.
type job struct {
	path string // where it stands or will stand, in the case it has on disk
	data []byte
}

// Compare holds the ESP mounted at root against the set and writes nothing. A boot manager on the
// ESP that is newer than that of the set stays, unless it has the hash back, which belongs to a
// version that was given up. Errors: ErrNotTrusted if neither starts on this machine, and those of
// the file system.
func (s *Set) Compare(ctx context.Context, root string, back digest.Sum) (*Change, error) {
	c := &Change{root: root}
	if err := c.compare(ctx, s, back); err != nil {
		return nil, fmt.Errorf("bootfiles: %w", err)
	}
	return c, nil
}

func (c *Change) compare(ctx context.Context, s *Set, back digest.Sum) error {
	there, err := readFile(c.root, espBoot+"/"+manager)
	if err != nil {
		return err
	}
	waiting, err := readFile(c.root, stash)
	if err != nil {
		return err
	}
	if waiting != nil {
		c.leftover = append(c.leftover, stash)
	}
	if there == nil && waiting != nil {
		s, _ = s.with(waiting)
	}
	stays := s.stays(there, back)
	if s.refused != nil && !(stays && s.firmware.Refuses(parse(there)) == nil) {
		return s.Starts()
	}
	if stays {
		why := fmt.Sprintf("that of the version is older (%s)", s.Manager().Version)
		if s.refused != nil {
			why = fmt.Sprintf("that of the version does not start here: %v", s.refused)
		}
		c.newer = fmt.Sprintf("the boot manager on the ESP (%s) stays; %s", known(parse(there)).Version, why)
		s, _ = s.with(there)
	}
	agent := esp.Dir(c.root).HasAgent()
	for _, f := range s.Files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if agent && f.Path == fallback {
			continue // it is the agent's (package selfboot)
		}
		if err := c.file(s, f, stays, back); err != nil {
			return err
		}
	}
	return nil
}

// file compares one file. Beside a newer boot manager nothing is replaced: what is there may be its
// own.
func (c *Change) file(s *Set, f File, stays bool, back digest.Sum) error {
	at, err := locate(c.root, f.Path)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(at + suffixNew); err == nil {
		c.leftover = append(c.leftover, f.Path+suffixNew)
	}
	have, err := readFile(c.root, f.Path)
	if err != nil {
		return err
	}
	switch {
	case have != nil && (bytes.Equal(have, f.Data) || stays && f.Path != fallback), f.Path == fallback && s.stays(have, back):
		c.kept++
		return nil
	case strings.EqualFold(f.Path, espBoot+"/"+manager):
		c.manager = f.Data
	}
	c.todo = append(c.todo, job{at, f.Data})
	return nil
}

// stays tells whether the boot manager on the ESP is not to be replaced by that of the set.
func (s *Set) stays(there []byte, back digest.Sum) bool {
	if there == nil {
		return false
	}
	p := parse(there)
	ours := s.Manager()
	switch refused := s.firmware.Refuses(p); {
	case (refused == nil) != (s.refused == nil):
		return refused == nil // the firmware's keys decide
	case digest.Sum(sha256.Sum256(there)) == back && s.firmware.Revokes(&ours) == nil:
		return false
	}
	return known(p).Version.Compare(ours.Version) > 0
}

// with returns the set with the boot manager that is there in place of its own, if it is
// newer and starts.
func (s *Set) with(there []byte) (*Set, bool) {
	if !s.stays(there, digest.Sum{}) || s.firmware.Refuses(parse(there)) != nil {
		return s, false
	}
	c := *s
	c.Files, c.manager = slices.Clone(s.Files), parse(there)
	c.refused = s.firmware.Refuses(c.manager)
	for i, f := range c.Files {
		if f.Path == fallback || strings.EqualFold(f.Path, espBoot+"/"+manager) {
			c.Files[i].Data = there
		}
	}
	return &c, true
}

// Carry returns the set with the boot manager of the ESP mounted at root, which is going to be
// erased, in place of its own, if that one is newer, or the only one that the machine starts.
func (s *Set) Carry(root string) (carried *Set, yes bool, err error) {
	there, err := readFile(root, espBoot+"/"+manager)
	if err != nil || there == nil {
		return s, false, err
	}
	carried, yes = s.with(there)
	return carried, yes, nil
}

// Needed tells whether anything has to be written.
func (c *Change) Needed() bool { return len(c.todo)+len(c.leftover) > 0 }

// Newer says why the boot manager on the ESP stays; "" = it does not.
func (c *Change) Newer() string { return c.newer }

// Manager is the hash of the boot manager that is going to be written; ok is false if the one on
// the ESP stays.
func (c *Change) Manager() (sum digest.Sum, ok bool) {
	return digest.Sum(sha256.Sum256(c.manager)), c.manager != nil
}

// locate turns a path of the ESP into one below root, with the names that are there already: FAT
// does not tell case, but the file system that stands at root may.
func locate(root, name string) (string, error) {
	at := root
	for part := range strings.SplitSeq(name, "/") {
		list, err := os.ReadDir(at)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if i := slices.IndexFunc(list, func(e fs.DirEntry) bool { return strings.EqualFold(e.Name(), part) }); i >= 0 {
			part = list[i].Name()
		}
		at = filepath.Join(at, part)
	}
	return at, nil
}

// readFile reads a file of the ESP, nil if it is not there. One that is too large is as good as cut
// off: it differs from all that is sound.
func readFile(root, name string) ([]byte, error) {
	at, err := locate(root, name)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(at)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if b == nil {
		b = []byte{}
	}
	return b, err
}
