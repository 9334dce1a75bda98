package agent

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// maxMethods is how many methods a type of the agent has at most: what needs more is two things.
const maxMethods = 15

// No type of the agent grows into one that does everything.
func TestTypesStaySmall(t *testing.T) {
	for _, dir := range []string{".", "decide", "coldplug", "hardware"} {
		count := methods(t, dir)
		for name, n := range count {
			if n > maxMethods {
				t.Errorf("%s: %s has %d methods, at most %d are wanted", dir, name, n, maxMethods)
			}
		}
		if len(count) == 0 {
			t.Errorf("%s: no methods were found", dir)
		}
	}
}

// methods counts those of each type in the package of a folder.
func methods(t *testing.T, dir string) map[string]int {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Recv == nil {
				continue
			}
			typ := fn.Recv.List[0].Type
			if star, ok := typ.(*ast.StarExpr); ok {
				typ = star.X
			}
			if id, ok := typ.(*ast.Ident); ok {
				count[id.Name]++
			}
		}
	}
	return count
}
