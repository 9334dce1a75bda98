package format_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// docs/compatibility.md lists every kind of document that is declared in the module, with its
// numbers, and no other one.
func TestDocument(t *testing.T) {
	want, got := declared(t, "../.."), listed(t, "../../docs/compatibility.md")
	if len(want) < 10 {
		t.Fatalf("only %d kinds of documents are declared: %q", len(want), want)
	}
	for _, line := range want {
		if !slices.Contains(got, line) {
			t.Errorf("the page does not have %s", line)
		}
	}
	for _, line := range got {
		if !slices.Contains(want, line) {
			t.Errorf("the page has %s, which is not in the code", line)
		}
	}
}

// listed reads the rows of the table of documents.
func listed(t *testing.T, name string) (lines []string) {
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 6 || !strings.Contains(cells[1], "`") {
			continue
		}
		for i := range cells {
			cells[i] = strings.Trim(cells[i], " `")
		}
		bare := cells[4] == "yes"
		if bare != (cells[5] == "") {
			t.Errorf("%s: a bare document has no word that a reader could lack", cells[1])
		}
		lines = append(lines, fmt.Sprintf("%s, number %s from %s, bare: %t", cells[1], cells[2], cells[3], bare))
	}
	return lines
}

// declared finds the variables that are a format.Kind.
func declared(t *testing.T, root string) (lines []string) {
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".cache" || d.Name() == ".git") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(b), "format.Kind{") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, b, 0)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if v, ok := n.(*ast.ValueSpec); ok && len(v.Values) == 1 && isKind(v.Values[0]) {
				lines = append(lines, f.Name.Name+"."+v.Names[0].Name+describe(v.Values[0].(*ast.CompositeLit)))
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func isKind(e ast.Expr) bool {
	lit, ok := e.(*ast.CompositeLit)
	if !ok {
		return false
	}
	sel, ok := lit.Type.(*ast.SelectorExpr)
	return ok && sel.Sel.Name == "Kind" && fmt.Sprint(sel.X) == "format"
}

// describe tells the numbers of a kind, as they are written in the code.
func describe(lit *ast.CompositeLit) string {
	is := map[string]string{"Bare": "false"}
	for _, e := range lit.Elts {
		if kv, ok := e.(*ast.KeyValueExpr); ok {
			switch v := kv.Value.(type) {
			case *ast.BasicLit:
				is[fmt.Sprint(kv.Key)] = v.Value
			case *ast.Ident:
				is[fmt.Sprint(kv.Key)] = v.Name
			}
		}
	}
	return fmt.Sprintf(", number %s from %s, bare: %s", is["Number"], is["Oldest"], is["Bare"])
}
