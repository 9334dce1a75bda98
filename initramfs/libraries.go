package initramfs

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Errors of Options.Programs.
var (
	ErrProgram = errors.New("not a program for Linux on x86-64")
	ErrLibrary = errors.New("shared library not found")
)

// programDirs are looked into beside PATH, which lacks them for users that are not root.
var programDirs = []string{"/usr/local/sbin", "/usr/sbin", "/sbin"}

// libraryDirs is where the dynamic linker looks by itself: on Debian, then elsewhere.
var libraryDirs = []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"}

// tools collects programs of this machine, given by name or path, with the dynamic
// linker and all shared libraries that they name (DT_NEEDED, directly or not), to be
// put into an initramfs: programs into bin/, libraries to where they lie here, which
// is where the linker looks for them. What a program loads later by dlopen is not
// found, and scripts are refused. Errors: [exec.ErrNotFound], [ErrProgram], [ErrLibrary].
func tools(ctx context.Context, programs []string) ([]File, error) {
	c := collector{seen: make(map[string]bool), names: make(map[string]bool)}
	for _, name := range programs {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		source, err := findProgram(name)
		if err != nil {
			return nil, fmt.Errorf("program %s: %w", name, err)
		}
		if err := c.add(source, "bin/"+filepath.Base(source), 0o755); err != nil {
			return nil, fmt.Errorf("program %s: %w", name, err)
		}
	}
	slices.SortFunc(c.files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	return c.files, nil
}

// sourcesOf are the files of this machine that [tools] takes for programs.
func sourcesOf(ctx context.Context, programs []string) (paths []string, err error) {
	files, err := tools(ctx, programs)
	if err != nil {
		return nil, err
	}
	for _, name := range programs {
		path, err := findProgram(name)
		if err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	for _, f := range files {
		if path.Dir(f.Name) != agentDir { // a library, which lies where it does here
			paths = append(paths, "/"+f.Name)
		}
	}
	return paths, nil
}

func findProgram(name string) (string, error) {
	found, err := exec.LookPath(name)
	for _, dir := range programDirs {
		if err == nil || strings.Contains(name, "/") {
			break
		}
		found, err = exec.LookPath(filepath.Join(dir, name))
	}
	if err != nil {
		return "", exec.ErrNotFound
	}
	return found, nil
}

// collector gathers files, each name once.
type collector struct {
	files []File
	seen  map[string]bool // paths in the archive
	names map[string]bool // their last names
}

// add takes the ELF file source as name, and all that it needs.
func (c *collector) add(source, name string, mode uint32) error {
	if c.seen[name] {
		return nil
	}
	c.seen[name], c.names[filepath.Base(name)] = true, true
	data, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	f, err := elf.Open(source)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrProgram, source, err)
	}
	defer f.Close()
	if f.Machine != elf.EM_X86_64 || f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN {
		return fmt.Errorf("%w: %s: %v, %v", ErrProgram, source, f.Machine, f.Type)
	}
	c.files = append(c.files, File{Name: name, Data: data, Mode: mode})
	return c.addNeeded(f, source)
}

func (c *collector) addNeeded(f *elf.File, source string) error {
	linker, err := interpreter(f)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrProgram, source, err)
	}
	if linker != "" {
		if err := c.add(linker, strings.TrimPrefix(path.Clean(linker), "/"), 0o755); err != nil {
			return err
		}
	}
	libraries, err := f.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrProgram, source, err)
	}
	dirs := append(runPath(f, source), libraryDirs...)
	for _, lib := range libraries {
		if c.names[filepath.Base(lib)] { // the dynamic linker also goes by this name and takes the first
			continue
		}
		found, err := findLibrary(lib, dirs)
		if err != nil {
			return fmt.Errorf("%w, needed by %s", err, source)
		}
		if err := c.add(found, strings.TrimPrefix(found, "/"), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// maxInterpreter is PATH_MAX.
const maxInterpreter = 4096

// interpreter is the dynamic linker that the program names; empty = it is static, or a library.
func interpreter(f *elf.File) (string, error) {
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		if p.Filesz == 0 || p.Filesz > maxInterpreter {
			return "", fmt.Errorf("the name of its dynamic linker has %d bytes", p.Filesz)
		}
		b := make([]byte, p.Filesz)
		if _, err := p.ReadAt(b, 0); err != nil {
			return "", err
		}
		return strings.TrimRight(string(b), "\x00"), nil
	}
	return "", nil
}

// runPath is where the file itself says that its libraries are.
func runPath(f *elf.File, source string) []string {
	var dirs []string
	for _, tag := range []elf.DynTag{elf.DT_RPATH, elf.DT_RUNPATH} {
		values, err := f.DynString(tag)
		if err != nil {
			continue // no dynamic section: it needs no libraries either
		}
		for _, v := range values {
			for dir := range strings.SplitSeq(v, ":") {
				dirs = append(dirs, strings.NewReplacer("$ORIGIN", filepath.Dir(source), "${ORIGIN}", filepath.Dir(source)).Replace(dir))
			}
		}
	}
	return slices.DeleteFunc(dirs, func(d string) bool { return !filepath.IsAbs(d) })
}

func findLibrary(name string, dirs []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, dir := range dirs {
		p := filepath.Join(dir, name)
		if _, err := os.Stat(p); err == nil {
			return p, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return "", fmt.Errorf("%w: %s", ErrLibrary, name)
}
