package coldplug

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// database is what modules.dep, modules.alias and modules.softdep say.
type database struct {
	paths   map[string]string   // module → path relative to the folder
	deps    map[string][]string // module → modules, nearest first
	soft    map[string][]string // module → modules wanted before it
	aliases map[string][]alias  // bus ("pci:") → patterns
}

// alias is one line of modules.alias.
type alias struct {
	prefix  string // what the pattern begins with before any wildcard
	pattern string
	module  string
}

// readDatabase reads the three files of a lib/modules/VERSION folder.
// Only modules.dep must exist.
func readDatabase(dir string) (*database, error) {
	db := &database{paths: map[string]string{}, deps: map[string][]string{}, soft: map[string][]string{}, aliases: map[string][]alias{}}
	if err := eachLine(filepath.Join(dir, "modules.dep"), db.addDep); err != nil {
		return nil, fmt.Errorf("coldplug: %w", err)
	}
	for name, add := range map[string]func(string){"modules.alias": db.addAlias, "modules.softdep": db.addSoftdep} {
		if err := eachLine(filepath.Join(dir, name), add); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("coldplug: %w", err)
		}
	}
	return db, nil
}

func eachLine(path string, line func(string)) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for s.Scan() {
		line(s.Text())
	}
	return s.Err()
}

func (db *database) addDep(line string) {
	p, deps, ok := strings.Cut(line, ":")
	if !ok {
		return
	}
	name := moduleName(p)
	db.paths[name] = p
	for d := range strings.FieldsSeq(deps) {
		db.deps[name] = append(db.deps[name], moduleName(d))
	}
}

func (db *database) addAlias(line string) {
	f := strings.Fields(line)
	if len(f) != 3 || f[0] != "alias" {
		return
	}
	a := alias{prefix: literalPrefix(f[1]), pattern: f[1], module: canonical(f[2])}
	bus := busOf(a.prefix)
	db.aliases[bus] = append(db.aliases[bus], a)
}

func (db *database) addSoftdep(line string) {
	f := strings.Fields(line)
	if len(f) < 4 || f[0] != "softdep" || f[2] != "pre:" {
		return
	}
	for _, s := range f[3:] {
		db.soft[canonical(f[1])] = append(db.soft[canonical(f[1])], canonical(s))
	}
}

// match returns the modules that serve the device of that modalias, sorted.
func (db *database) match(modalias string) []string {
	var names []string
	buses := []string{busOf(modalias)}
	if buses[0] != "" {
		buses = append(buses, "") // patterns that begin with a wildcard
	}
	for _, bus := range buses {
		for _, a := range db.aliases[bus] {
			if strings.HasPrefix(modalias, a.prefix) && match(a.pattern, modalias) {
				names = append(names, a.module)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// order returns the named modules and what they depend on in an order in which
// they can be loaded. Names that the folder does not have are passed over.
func (db *database) order(names ...string) []string {
	var order []string
	seen := map[string]bool{}
	var visit func(string)
	visit = func(name string) {
		if seen[name] || db.paths[name] == "" {
			return
		}
		seen[name] = true
		for _, d := range db.before(name) {
			visit(d)
		}
		order = append(order, name)
	}
	for _, n := range names {
		visit(canonical(n))
	}
	return order
}

// before returns what is to be loaded before a module, farthest first.
func (db *database) before(name string) []string {
	before := slices.Clone(db.soft[name])
	for _, d := range slices.Backward(db.deps[name]) {
		before = append(before, d)
	}
	return before
}

// path is the path of a module relative to the folder, empty if it has none.
func (db *database) path(name string) string { return db.paths[canonical(name)] }

func canonical(name string) string { return strings.ReplaceAll(name, "-", "_") }

func moduleName(p string) string {
	name, _, _ := strings.Cut(path.Base(p), ".ko")
	return canonical(name)
}

// busOf is the part of a modalias or a literal prefix up to and including the
// first colon; empty if there is none.
func busOf(s string) string { return s[:strings.IndexByte(s, ':')+1] }
