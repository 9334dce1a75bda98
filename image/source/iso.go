package source

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"troy/internal/tool"
)

// iso is an installation medium in an image of a disc: UDF, as Microsoft's, or ISO 9660.
type iso struct {
	path string
	kind string // what 7zz calls it
}

// Kind implements Source.
func (iso) Kind() string { return "installation medium" }

func (iso) installs() {}

// inside are the archives of an installation medium. Media for two architectures have folders for
// them; that of x64 is taken.
var inside = regexp.MustCompile(`(?i)^(x64/)?sources/install([0-9]*)\.(wim|esd|swm)$`)

// Open implements Source: it takes the archive out, and applies an edition of it.
func (i iso) Open(ctx context.Context, o *Options) (*Disk, error) {
	files, err := i.list(ctx)
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%w: %s has no sources/install.wim, .esd or .swm: it is no installation medium of Windows", ErrNoWindows, i.path)
	}
	var total int64
	for _, f := range files {
		total += f.size
	}
	dir, err := o.room(total)
	if err != nil {
		return nil, err
	}
	first := ""
	for _, f := range files {
		path := filepath.Join(dir, strings.ToLower(filepath.Base(f.name)))
		defer os.Remove(path)
		if err := i.extract(ctx, f, path, o); err != nil {
			return nil, fmt.Errorf("%s: %w", i.path, err)
		}
		if inside.FindStringSubmatch(f.name)[2] == "" {
			first = path
		}
	}
	if first == "" {
		return nil, fmt.Errorf("%w: %s holds later parts of a split archive and not the first", ErrNoWindows, i.path)
	}
	return wim{first}.open(ctx, o, i.path)
}

// member is a file of the medium.
type member struct {
	name string
	size int64
}

// list asks 7zz for the archives on the medium.
func (i iso) list(ctx context.Context) (files []member, err error) {
	b, err := tool.Output(ctx, "7zz", "l", "-slt", "-ba", i.kind, "--", i.path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", i.path, err)
	}
	name := ""
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " = ")
		switch {
		case key == "Path":
			name = value
		case key == "Size" && inside.MatchString(name):
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("%s: %s has the size %q", i.path, name, value)
			}
			files = append(files, member{name, n})
			name = ""
		}
	}
	return files, nil
}

func (i iso) extract(ctx context.Context, m member, path string, o *Options) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	err = o.run(ctx, "taking out "+m.name, m.size, &tool.Command{
		Name: "7zz", Args: []string{"e", "-so", "-bd", i.kind, "--", i.path, m.name}, Stdout: f, Output: path,
	})
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err == nil && st.Size() != m.size {
		err = fmt.Errorf("%w: %s came out as %d bytes instead of %d", ErrCut, m.name, st.Size(), m.size)
	}
	return err
}
