package source

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"troy/internal/progress"
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
	dir, err := o.room("the archive of the medium", total)
	if err != nil {
		return nil, err
	}
	first := ""
	for _, f := range files {
		defer os.Remove(f.in(dir))
		if inside.FindStringSubmatch(f.name)[2] == "" {
			first = f.in(dir)
		}
	}
	if first == "" {
		return nil, fmt.Errorf("%w: %s holds later parts of a split archive and not the first", ErrNoWindows, i.path)
	}
	stage := o.Progress.Rough("taking out the archive", total)
	err = i.extract(ctx, files, dir, stage)
	stage.End(err)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", i.path, err)
	}
	return wim{first}.open(ctx, o, i.path)
}

// extract takes files out of the medium into a folder.
func (i iso) extract(ctx context.Context, files []member, dir string, stage *progress.Rough) error {
	for _, f := range files {
		if err := i.extractOne(ctx, f, f.in(dir), stage); err != nil {
			return err
		}
	}
	return nil
}

// member is a file of the medium.
type member struct {
	name string
	size int64
}

// in returns where the file lies when it is taken out.
func (m *member) in(dir string) string {
	return filepath.Join(dir, strings.ToLower(filepath.Base(m.name)))
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

// counter tells a stage what is written to it.
type counter struct{ stage *progress.Rough }

// Write implements io.Writer.
func (c counter) Write(p []byte) (int, error) {
	c.stage.Add(int64(len(p)))
	return len(p), nil
}

func (i iso) extractOne(ctx context.Context, m member, path string, stage *progress.Rough) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	err = tool.Run(ctx, &tool.Command{
		Name: "7zz", Args: []string{"e", "-so", "-bd", i.kind, "--", i.path, m.name}, Stdout: io.MultiWriter(f, counter{stage}),
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
