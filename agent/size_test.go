package agent

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"strings"
	"testing"
)

// maxMethods is how many methods a type of the agent has at most: what needs more is two things.
const maxMethods = 15

// No type of the agent grows into one that does everything.
func TestTypesStaySmall(t *testing.T) {
	set := token.NewFileSet()
	for _, dir := range []string{".", "decide", "coldplug"} {
		packages, err := parser.ParseDir(set, dir, func(i fs.FileInfo) bool { return !strings.HasSuffix(i.Name(), "_test.go") }, 0)
		if err != nil {
			t.Fatal(err)
		}
		for name, count := range methods(packages) {
			if count > maxMethods {
				t.Errorf("%s: %s has %d methods, at most %d are wanted", dir, name, count, maxMethods)
			}
		}
		if len(methods(packages)) == 0 {
			t.Errorf("%s: no methods were found", dir)
		}
	}
}

// methods counts those of each type.
func methods(packages map[string]*ast.Package) map[string]int {
	count := map[string]int{}
	for _, p := range packages {
		for _, f := range p.Files {
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
	}
	return count
}
