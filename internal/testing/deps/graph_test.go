package deps

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// module is the path of this module.
const module = "troy"

// pkg is one package of the graph. Packages of this module are named without the module's path.
type pkg struct {
	Name     string   // as in its package clause
	Imports  []string // what its product code imports
	Tests    []string // what its tests import besides
	Comments int      // files that carry a package comment
	Product  bool     // has files other than tests
	Ours     bool     // belongs to this module
	Standard bool     // belongs to the standard library
}

// graph is all packages of the module and all that they link, by name.
type graph map[string]*pkg

// ours returns the names of this module's packages, sorted.
func (g graph) ours() []string {
	var names []string
	for name, p := range g {
		if p.Ours {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// links returns all packages that a program of root contains, each with the shortest way to it:
// the packages from root to itself.
func (g graph) links(root string) map[string][]string {
	ways := map[string][]string{root: {root}}
	for queue := []string{root}; len(queue) > 0; queue = queue[1:] {
		p := g[queue[0]]
		if p == nil {
			continue
		}
		for _, next := range p.Imports {
			if ways[next] == nil {
				ways[next] = append(slices.Clone(ways[queue[0]]), next)
				queue = append(queue, next)
			}
		}
	}
	return ways
}

// linked returns the ways from root to the packages that bad accepts, in words and sorted.
func (g graph) linked(root string, bad func(name string) bool) []string {
	var faults []string
	ways := g.links(root)
	for _, name := range slices.Sorted(maps.Keys(ways)) {
		if name != root && bad(name) {
			faults = append(faults, strings.Join(ways[name], " → "))
		}
	}
	return faults
}

// listed is what go list tells about a package.
type listed struct {
	ImportPath, Dir, Name              string
	Standard                           bool
	GoFiles, CgoFiles, IgnoredGoFiles  []string
	TestGoFiles, XTestGoFiles          []string
	Imports, TestImports, XTestImports []string
	Incomplete                         bool
	Module                             *struct{ Main bool }
}

// load reads the graph of the module that holds the working directory.
func load(t *testing.T) graph {
	t.Helper()
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		t.Fatalf("go list -m: %v", err)
	}
	list := exec.Command("go", "list", "-deps", "-json=ImportPath,Dir,Name,Standard,GoFiles,CgoFiles,"+
		"IgnoredGoFiles,TestGoFiles,XTestGoFiles,Imports,TestImports,XTestImports,Incomplete,Module", "./...")
	list.Dir = strings.TrimSpace(string(root))
	var stderr strings.Builder
	list.Stderr = &stderr
	out, err := list.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", list, err, stderr.String())
	}
	g := graph{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var l listed
		if err := d.Decode(&l); errors.Is(err, io.EOF) {
			return g
		} else if err != nil {
			t.Fatal(err)
		}
		if l.Incomplete {
			t.Fatalf("%s does not load; go build tells more", l.ImportPath)
		}
		g[short(l.ImportPath)] = l.pkg(t)
	}
}

func (l *listed) pkg(t *testing.T) *pkg {
	p := &pkg{
		Name:     l.Name,
		Imports:  shorten(l.Imports),
		Tests:    shorten(slices.Concat(l.TestImports, l.XTestImports)),
		Product:  len(l.GoFiles)+len(l.CgoFiles) > 0,
		Ours:     l.Module != nil && l.Module.Main,
		Standard: l.Standard,
	}
	if p.Ours {
		for _, name := range slices.Concat(l.GoFiles, l.CgoFiles, l.IgnoredGoFiles, l.TestGoFiles, l.XTestGoFiles) {
			if hasComment(t, filepath.Join(l.Dir, name), l.Name) {
				p.Comments++
			}
		}
	}
	return p
}

// hasComment reports whether a file of package name carries a package comment.
func hasComment(t *testing.T, path, name string) bool {
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.PackageClauseOnly|parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	return f.Name.Name == name && f.Doc.Text() != ""
}

// short is the name of a package without the module's path.
func short(path string) string { return strings.TrimPrefix(path, module+"/") }

func shorten(paths []string) []string {
	var names []string
	for _, p := range paths {
		names = append(names, short(p))
	}
	slices.Sort(names)
	return slices.Compact(names)
}
