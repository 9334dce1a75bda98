package protocol

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"troy/internal/format"
)

// documentPath is the page for those who write another agent.
const documentPath = "../../docs/check-in.md"

// messages are the types whose members the page lists.
var messages = []any{CheckIn{}, Machine{}, Port{}, Keys{}, CA{}, Trusted{}, Held{}, Disk{}, Device{}, Order{}, Want{}, Verify{}, EndSetup{}, Rules{}, Weekly{}, Permits{}, Provision{}, Progress{}, Report{}, Named{}, Identity{}, Setting{}, Value{}, Verified{}, Step{}, Ack{}, Failure{}}

// page is docs/check-in.md, taken apart.
type page struct {
	tables   map[string][][]string // by heading without backticks; the cells of each row, without head
	rows     [][]string            // of all tables
	examples []example
}

// example is a fenced block that names a type after its language.
type example struct {
	kind, text string
}

// readPage fails where it finds less than any version of the page has: a pattern that no longer
// fits must not pass.
func readPage(t *testing.T) *page {
	t.Helper()
	b, err := os.ReadFile(documentPath)
	if err != nil {
		t.Fatal(err)
	}
	p := &page{tables: map[string][][]string{}}
	heading, fence := "", (*example)(nil)
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "```") && fence != nil:
			if fence.kind != "" {
				p.examples = append(p.examples, *fence)
			}
			fence = nil
		case strings.HasPrefix(line, "```"):
			_, kind, _ := strings.Cut(line, " ")
			fence = &example{kind: kind}
		case fence != nil:
			fence.text += line + "\n"
		case strings.HasPrefix(line, "#"):
			heading = strings.Trim(line, "# `")
		case strings.HasPrefix(line, "| ") && !strings.HasPrefix(line, "| member ") && !strings.HasPrefix(line, "| constant "):
			cells := cellsOf(line)
			p.tables[heading], p.rows = append(p.tables[heading], cells), append(p.rows, cells)
		}
	}
	if fence != nil || len(p.examples) < 20 || len(p.rows) < 50 {
		t.Fatalf("%s: %d rows, %d examples, a fence is open: %v", documentPath, len(p.rows), len(p.examples), fence != nil)
	}
	return p
}

// link is a link of Markdown.
var link = regexp.MustCompile(`\[([^]]*)\]\([^)]*\)`)

// cellsOf splits a row of a table, without its backticks and links.
func cellsOf(line string) []string {
	cells := strings.Split(strings.Trim(line, "|"), "|")
	for i, c := range cells {
		cells[i] = strings.TrimSpace(strings.ReplaceAll(link.ReplaceAllString(c, "$1"), "`", ""))
	}
	return cells
}

// typeName is how the page calls a type.
func typeName(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return "time"
	case t.Kind() == reflect.Pointer:
		return typeName(t.Elem())
	case t.Kind() == reflect.Slice:
		return "list of " + typeName(t.Elem())
	case t.PkgPath() != "":
		return t.Name()
	}
	return map[reflect.Kind]string{reflect.String: "text", reflect.Bool: "bool", reflect.Int: "whole", reflect.Int64: "whole", reflect.Uint32: "whole", reflect.Float64: "number"}[t.Kind()]
}

// TestDocumentMembers: the page lists the members of each type, in their order, with their types
// and a meaning.
func TestDocumentMembers(t *testing.T) {
	p := readPage(t)
	for _, m := range messages {
		typ := reflect.TypeOf(m)
		var want, got []string
		for i := range typ.NumField() {
			name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			if typ.Field(i).Anonymous || name == "-" {
				continue
			}
			want = append(want, name+" "+typeName(typ.Field(i).Type))
		}
		for _, row := range p.tables[typ.Name()] {
			if len(row) != 5 || row[4] == "" || row[2] == "" {
				t.Errorf("%s: %q: want member, type, needed, bound, meaning", typ.Name(), row)
				continue
			}
			got = append(got, row[0]+" "+row[1])
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: the page has\n%q, the type\n%q", typ.Name(), got, want)
		}
	}
}

// TestDocumentTypes: no type with members is left out.
func TestDocumentTypes(t *testing.T) {
	var want, got []string
	for _, d := range source(t) {
		ast.Inspect(d, func(n ast.Node) bool {
			if s, ok := n.(*ast.TypeSpec); ok {
				if _, ok := s.Type.(*ast.StructType); ok {
					want = append(want, s.Name.Name)
				}
			}
			return true
		})
	}
	for _, m := range messages {
		got = append(got, reflect.TypeOf(m).Name())
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the page is held against %q, the types are %q", got, want)
	}
}

// source is all that the files with messages declare.
func source(t *testing.T) (all []ast.Decl) {
	t.Helper()
	for _, name := range []string{"protocol.go", "identity.go"} {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, f.Decls...)
	}
	return all
}

// constants reads the constants of those files: name to value, as Go writes it.
func constants(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{"Version": strconv.Itoa(Version), "Oldest": strconv.Itoa(Oldest)}
	for _, d := range source(t) {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, spec := range g.Specs {
			v := spec.(*ast.ValueSpec)
			for i, name := range v.Names {
				all[name.Name] = valueOf(t, v.Values[i])
			}
		}
	}
	return all
}

// valueOf computes a constant: a literal, or one shifted by another.
func valueOf(t *testing.T, e ast.Expr) string {
	t.Helper()
	switch e := e.(type) {
	case *ast.BasicLit:
		return e.Value
	case *ast.BinaryExpr:
		x, err1 := strconv.Atoi(valueOf(t, e.X))
		y, err2 := strconv.Atoi(valueOf(t, e.Y))
		if e.Op == token.SHL && err1 == nil && err2 == nil {
			return strconv.Itoa(x << y)
		}
	}
	t.Fatalf("a constant that this test cannot compute: %v", e)
	return ""
}

// TestDocumentConstants: the page has every constant of the protocol (paths, limits, resets,
// outcomes, …) with its value, once, and no other.
func TestDocumentConstants(t *testing.T) {
	p := readPage(t)
	want := constants(t)
	if len(want) < 25 {
		t.Fatalf("only %d constants: %v", len(want), want)
	}
	name := regexp.MustCompile(`^(Version|Oldest|(Path|Max|Min|Hash|Health|Setup|Reset|Starts|Merge|Outcome)[A-Z]\w*)$`)
	got := map[string]string{}
	for _, row := range p.rows {
		if !name.MatchString(row[0]) {
			continue
		}
		if _, twice := got[row[0]]; twice {
			t.Errorf("%s is there twice", row[0])
		}
		got[row[0]] = row[1]
		if strings.HasPrefix(row[0], "Path") {
			got[row[0]] = strconv.Quote(row[1])
		}
	}
	for n, v := range want {
		if got[n] != v {
			t.Errorf("%s is %s, the page says %q", n, v, got[n])
		}
	}
	for n := range got {
		if want[n] == "" {
			t.Errorf("the page has %s, which is no constant", n)
		}
	}
}

// TestDocumentBase: the page lists the members that the messages of every protocol have.
func TestDocumentBase(t *testing.T) {
	rows := readPage(t).tables["Versions"]
	for kind, names := range map[string][]string{"CheckIn": baseCheckIn, "Order": baseOrder, "Progress": baseProgress, "Report": baseReport} {
		if !slices.ContainsFunc(rows, func(row []string) bool { return row[0] == kind && row[1] == strings.Join(names, ", ") }) {
			t.Errorf("the page does not say that every %s has %q: %q", kind, names, rows)
		}
	}
}

// message decodes and checks as the programs do.
func message(kind string, b []byte) error {
	i := slices.IndexFunc(messages, func(m any) bool { return reflect.TypeOf(m).Name() == kind })
	if i < 0 {
		return fmt.Errorf("no message %q", kind)
	}
	v := reflect.New(reflect.TypeOf(messages[i])).Interface()
	if err := format.Exact(b, v); err != nil {
		return err
	}
	if c, ok := v.(interface{ Validate() error }); ok {
		return c.Validate()
	}
	return nil
}

// data is the body in a call of curl.
var data = regexp.MustCompile(`(?s)--data \\\n\s*'([^']*)'`)

// json is the message of an example.
func (e *example) json(t *testing.T) []byte {
	t.Helper()
	if !strings.HasPrefix(e.text, "curl ") {
		return []byte(e.text)
	}
	m := data.FindStringSubmatch(e.text)
	if m == nil || !strings.Contains(e.text, "/"+map[string]string{"CheckIn": PathCheckIn, "Report": PathReport}[e.kind]+" ") {
		t.Fatalf("no message, or another path: %s", e.text)
	}
	return []byte(m[1])
}

// TestDocumentExamples: each example is taken, and together they show every member of every type.
func TestDocumentExamples(t *testing.T) {
	p := readPage(t)
	shown := map[string]bool{}
	for _, e := range p.examples {
		b := e.json(t)
		if err := message(e.kind, b); err != nil {
			t.Errorf("%s %s: %v", e.kind, b, err)
		}
		show(e.kind, decoded(t, b), p, shown)
	}
	for _, m := range messages {
		name := reflect.TypeOf(m).Name()
		for _, row := range p.tables[name] {
			if !shown[name+"."+row[0]] {
				t.Errorf("no example shows %s.%s", name, row[0])
			}
		}
	}
}

func decoded(t *testing.T, b []byte) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	return v
}

// show notes the members of a value and of what is in it.
func show(kind string, v map[string]any, p *page, shown map[string]bool) {
	for _, row := range p.tables[kind] {
		inner, here := v[row[0]]
		if !here {
			continue
		}
		shown[kind+"."+row[0]] = true
		list, _ := inner.([]any)
		for _, x := range append(list, inner) {
			if o, ok := x.(map[string]any); ok {
				show(strings.TrimPrefix(row[1], "list of "), o, p, shown)
			}
		}
	}
}
