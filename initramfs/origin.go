package initramfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"troy/chainload/release"
	"troy/initramfs/bundle"
)

// controlName is the file at the top of a folder of unpacked Debian packages that says which ones
// they are: what dpkg-deb --field says of each, with an empty line between.
const controlName = "control"

// origin finds the Debian packages of files.
type origin struct {
	packages []bundle.Package
	roots    map[string]string // where each package is installed or unpacked
	unknown  []string
}

// describe fills in which packages the files of a bundle are from, and writes the licences of all
// and where the source is.
func describe(ctx context.Context, o *Options, m *bundle.Manifest, files map[string][]byte) error {
	from := origin{roots: map[string]string{}}
	for _, l := range Loaders() {
		from.add(ctx, o.Loaders, l.Package, filepath.Join(o.Loaders, l.Path), l.Name)
	}
	from.add(ctx, filepath.Dir(o.Kernel), "linux-image-", o.Kernel, release.Kernel, release.Initrd+"/*.ko")
	sources, err := sourcesOf(ctx, o.Programs)
	if err != nil {
		return err
	}
	for _, path := range sources {
		from.add(ctx, "/", "", path, release.Initrd+"/"+filepath.Base(path))
	}
	slices.SortFunc(from.packages, func(a, b bundle.Package) int { return strings.Compare(a.Name, b.Name) })
	m.Packages = from.packages
	modules, err := modulesOf(ctx, o)
	if err != nil {
		return err
	}
	for _, p := range modules {
		if len(p.Files) > 0 {
			m.Modules = append(m.Modules, p.Module)
		}
	}
	notices, err := notices(modules)
	if err != nil {
		return err
	}
	files[bundle.Source] = from.source(m.Version, modules)
	files[bundle.Copyright], err = from.copyright(notices)
	return err
}

// add notes that the bundle has files of a package: of the one in the folder root that begins with
// name, or of the one to which the file of this system belongs.
func (f *origin) add(ctx context.Context, root, name, path string, as ...string) {
	control, err := os.ReadFile(filepath.Join(root, controlName))
	if err != nil {
		root = "/"
		control = installed(ctx, path)
	}
	for stanza := range strings.SplitSeq(string(control), "\n\n") {
		p := parseControl(stanza)
		if p.Name == "" || !strings.HasPrefix(p.Name, name) {
			continue
		}
		f.roots[p.Name] = root
		if i := slices.IndexFunc(f.packages, func(q bundle.Package) bool { return q.Name == p.Name }); i >= 0 {
			f.packages[i].Files = append(f.packages[i].Files, as...)
			return
		}
		p.Files = as
		f.packages = append(f.packages, p)
		return
	}
	f.unknown = append(f.unknown, as...)
}

// installed is what dpkg says of the package that has a file of this system; empty = none has it.
func installed(ctx context.Context, path string) []byte {
	// dpkg knows a file by the name that its package gave it, which may lack the /usr of today.
	for _, p := range []string{path, "/usr" + path, strings.TrimPrefix(path, "/usr")} {
		out, err := exec.CommandContext(ctx, "dpkg-query", "--search", p).Output()
		name, _, ok := strings.Cut(string(out), ": ")
		if err != nil || !ok {
			continue
		}
		status, err := exec.CommandContext(ctx, "dpkg-query", "--status", name).Output()
		if err == nil {
			return status
		}
	}
	return nil
}

// parseControl reads the fields of one package (deb-control(5)).
func parseControl(stanza string) (p bundle.Package) {
	var source string
	for line := range strings.Lines(stanza) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch key {
		case "Package":
			p.Name = value
		case "Version":
			p.Version = value
		case "Source":
			source = value
		case "Built-Using", "Static-Built-Using":
			p.Sources = append(p.Sources, strings.Split(value, ", ")...)
		}
	}
	name, version, ok := strings.Cut(strings.TrimSuffix(source, ")"), " (")
	if name == "" {
		name = p.Name
	}
	if !ok {
		version = p.Version
	}
	p.Sources = append(p.Sources, fmt.Sprintf("%s (= %s)", name, version))
	return p
}

// sourceHead tells who has the source. Debian keeps every version that it ever released.
const sourceHead = `Source of the programs in this folder

Programs of Debian are here as Debian built them. Whoever gave you this folder offers you, for three
years from then, their complete source on a medium for what the copy costs. It is also at
https://snapshot.debian.org/package/NAME/VERSION/, NAME and VERSION being those of a line "source".

`

// source writes which source packages the files are from.
func (f *origin) source(version string, modules []goModule) []byte {
	var b strings.Builder
	b.WriteString(sourceHead)
	for _, p := range f.packages {
		fmt.Fprintf(&b, "%s %s: %s\n", p.Name, p.Version, strings.Join(p.Files, ", "))
		for _, s := range p.Sources {
			fmt.Fprintf(&b, "    source %s\n", s)
		}
	}
	for _, name := range f.unknown {
		fmt.Fprintf(&b, "%s: of no package of Debian; who made this bundle has to name its source\n", name)
	}
	fmt.Fprintf(&b, "\nThe agent in %s, and u-root's commands there and in %s, are of Troy %s and of these\nmodules of Go (std is its own library):\n",
		release.Initrd, bundle.Rescue, version)
	for _, m := range modules {
		fmt.Fprintf(&b, "    %s %s\n", m.Name, m.Version)
	}
	return []byte(b.String())
}

// copyright joins the licences of the packages and of the modules of Go, and the texts to which
// Debian's refer.
func (f *origin) copyright(notices []byte) ([]byte, error) {
	var b bytes.Buffer
	for _, p := range f.packages {
		text, err := os.ReadFile(filepath.Join(f.roots[p.Name], "usr/share/doc", p.Name, "copyright"))
		if err != nil {
			return nil, fmt.Errorf("licence of %s: %w", p.Name, err)
		}
		fmt.Fprintf(&b, "==== %s ====\n\n%s\n", p.Name, text)
	}
	b.Write(notices)
	common := []string{"GPL-2", "GPL-3", "LGPL-2", "LGPL-2.1", "LGPL-3"}
	for _, name := range common {
		text, err := os.ReadFile(filepath.Join("/usr/share/common-licenses", name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // another distribution
		}
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "==== %s ====\n\n%s\n", name, text)
	}
	return b.Bytes(), nil
}

// goModule is a module, and the folder of its source.
type goModule struct {
	bundle.Module
	dir string
}

// modulesOf returns the modules of the programs in a bundle and, in none of its files, of the
// program troy: one copyright serves the package of both.
func modulesOf(ctx context.Context, o *Options) ([]goModule, error) {
	var all []goModule
	for _, p := range []struct {
		file     string
		packages []string
	}{
		{release.Initrd, append(defaultCommands(false), o.agent())}, {bundle.Rescue, defaultCommands(true)}, {"", []string{"troy/cmds/troy"}},
	} {
		linked, err := goModules(ctx, p.packages)
		if err != nil {
			return nil, err
		}
		for _, m := range linked {
			i := slices.IndexFunc(all, func(n goModule) bool { return n.Name == m.Name })
			if i < 0 {
				i, all = len(all), append(all, m)
			}
			if p.file != "" {
				all[i].Files = append(all[i].Files, p.file)
			}
		}
	}
	slices.SortFunc(all, func(a, b goModule) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// goModules returns the modules that Go packages are linked from, Go's own library among them.
func goModules(ctx context.Context, packages []string) ([]goModule, error) {
	const format = "{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}"
	env := []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64"}
	out, err := goCommand(ctx, env, append([]string{"go", "list", "-tags", shellTag, "-deps", "-f", format}, packages...)...)
	if err != nil {
		return nil, fmt.Errorf("modules of Go: %w", err)
	}
	own, err := goCommand(ctx, nil, "go", "env", "GOVERSION", "GOROOT")
	if err != nil {
		return nil, err
	}
	version, root, _ := strings.Cut(strings.TrimSpace(own), "\n")
	modules := []goModule{{bundle.Module{Name: "std", Version: strings.TrimPrefix(version, "go")}, root}}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	slices.Sort(lines)
	for _, line := range slices.Compact(lines) {
		if f := strings.SplitN(line, " ", 3); len(f) == 3 {
			modules = append(modules, goModule{bundle.Module{Name: f[0], Version: f[1]}, f[2]})
		}
	}
	return modules, nil
}

// notices are the licences of modules.
func notices(modules []goModule) ([]byte, error) {
	var b bytes.Buffer
	for _, m := range modules {
		files, _ := filepath.Glob(filepath.Join(m.dir, "[LCN][IO][CPT][EYI]*")) // LICENSE, COPYING, NOTICE; the pattern is good
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			fmt.Fprintf(&b, "==== %s %s: %s ====\n\n%s\n", m.Name, m.Version, filepath.Base(file), text)
		}
	}
	return b.Bytes(), nil
}
