package lab

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"troy/internal/utf16le"
)

// maxSize is the most bytes that a lab.yaml may have.
const maxSize = 4 << 20

// ErrInvalid is the class of everything that Parse finds.
var ErrInvalid = errors.New("lab.yaml is not valid")

// Error is one fault in a file. It is an ErrInvalid.
type Error struct {
	File         string
	Line, Column int    // from 1; 0 = the file as a whole
	Path         string // the member, as rooms.B204.wave
	Found        string // what is there
	Expected     string // what should
}

// Error implements error: one line, in the form that editors follow.
func (e *Error) Error() string {
	where := fmt.Sprintf("%s:%d:%d", e.File, e.Line, e.Column)
	if e.Line == 0 {
		where = e.File
	}
	if e.Path != "" {
		where += ": " + e.Path
	}
	return fmt.Sprintf("%s: found %s, expected %s", where, e.Found, e.Expected)
}

// Unwrap makes it an ErrInvalid.
func (e *Error) Unwrap() error { return ErrInvalid }

// Errors are all faults of a file, in the order of the file.
type Errors []*Error

// Error implements error, a line for each.
func (l Errors) Error() string {
	var lines []string
	for _, e := range l {
		lines = append(lines, e.Error())
	}
	return strings.Join(lines, "\n")
}

// Unwrap serves errors.Is and errors.As.
func (l Errors) Unwrap() []error {
	var all []error
	for _, e := range l {
		all = append(all, e)
	}
	return all
}

// inOrder compares faults by their places.
func inOrder(a, b *Error) int { return (a.Line-b.Line)*10000 + a.Column - b.Column }

// Load reads a file.
func Load(path string) (*Lab, error) {
	b, _, err := read(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, b)
}

// read returns the content of a file, and when it was written.
func read(path string) (b []byte, written time.Time, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, written, err
	}
	if info.Size() > maxSize {
		return nil, written, Errors{{File: path, Found: fmt.Sprintf("%d bytes", info.Size()), Expected: fmt.Sprintf("at most %d", maxSize)}}
	}
	b, err = os.ReadFile(path)
	return b, info.ModTime(), err
}

// Parse reads a lab.yaml; file names it in errors, which are Errors with all that is wrong.
func Parse(file string, b []byte) (l *Lab, err error) {
	d := &decoder{file: file, where: map[string]*token.Position{}}
	root, fault := d.document(b)
	if fault != nil {
		return nil, Errors{fault}
	}
	l = &Lab{file: file}
	d.value(root, reflect.ValueOf(l).Elem(), "")
	if len(d.faults) == 0 {
		d.check(l)
	}
	if len(d.faults) > 0 {
		slices.SortStableFunc(d.faults, inOrder)
		return nil, d.faults
	}
	return l, nil
}

// decoder turns a syntax tree into Go values, and remembers where each member is.
type decoder struct {
	file   string
	where  map[string]*token.Position
	faults Errors
}

// document parses YAML to the one mapping that it should be.
func (d *decoder) document(b []byte) (ast.Node, *Error) {
	if len(b) > maxSize {
		return nil, &Error{File: d.file, Found: fmt.Sprintf("%d bytes", len(b)), Expected: fmt.Sprintf("at most %d", maxSize)}
	}
	b = utf16le.Plain(b)
	if e := d.encoding(b); e != nil {
		return nil, e
	}
	f, err := parser.ParseBytes(b, 0)
	if err != nil {
		e := &Error{File: d.file, Line: 1, Column: 1, Found: faulty(err.Error()), Expected: "YAML"}
		var at yaml.Error
		if errors.As(err, &at) && at.GetToken() != nil && at.GetToken().Position != nil {
			e.Line, e.Column, e.Found = at.GetToken().Position.Line, at.GetToken().Position.Column, faulty(at.GetMessage())
		}
		if tab := d.tab(b); tab != nil && tab.Line <= e.Line { // one that is legal lies in a flow mapping
			return nil, tab
		}
		return nil, e
	}
	if len(f.Docs) != 1 || f.Docs[0].Body == nil {
		return nil, &Error{File: d.file, Line: 1, Column: 1, Found: fmt.Sprintf("%d documents", len(f.Docs)), Expected: "one that is not empty"}
	}
	return f.Docs[0].Body, nil
}

// faulty is the first line of what the parser says, which begins with "found" now and then.
func faulty(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return strings.TrimPrefix(s, "found ")
}

func (d *decoder) add(n ast.Node, path, found, expected string) {
	d.addAt(position(n), path, found, expected)
}

func (d *decoder) addAt(p *token.Position, path, found, expected string) {
	e := &Error{File: d.file, Path: path, Found: found, Expected: expected}
	if p != nil {
		e.Line, e.Column = p.Line, p.Column
	}
	d.faults = append(d.faults, e)
}

func position(n ast.Node) *token.Position {
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		n = m.Values[0].Key
	}
	if m, ok := n.(*ast.MappingValueNode); ok {
		n = m.Key
	}
	if n == nil || n.GetToken() == nil {
		return nil
	}
	return n.GetToken().Position
}

// value decodes one node.
func (d *decoder) value(n ast.Node, v reflect.Value, path string) {
	d.where[path] = position(n)
	if s, ok := v.Addr().Interface().(scalar); ok {
		d.scalar(n, s, path)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(n, v.Elem(), path)
	case reflect.Struct:
		d.object(n, v, path)
	case reflect.Map:
		d.table(n, v, path)
	case reflect.Slice:
		d.list(n, v, path)
	case reflect.Bool:
		d.boolean(n, v, path)
	case reflect.Int:
		var c Count
		d.scalar(n, &c, path)
		v.SetInt(int64(c))
	default:
		d.text(n, v, path)
	}
}

// plain returns what a scalar node spells.
func plain(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, true
	}
	return "", false
}

func (d *decoder) scalar(n ast.Node, s scalar, path string) {
	text, ok := plain(n)
	if !ok {
		switch s.(type) {
		case *UUID, *Pattern:
			text, ok = braced(n)
		}
	}
	if !ok || !fits(n, s) || s.parse(text) != nil {
		d.add(n, path, describe(n), s.want())
	}
}

// braced reads a UUID in braces, or {host}, without quotes, which YAML takes for a mapping.
func braced(n ast.Node) (string, bool) {
	m, ok := n.(*ast.MappingNode)
	if !ok || !m.IsFlowStyle || len(m.Values) != 1 {
		return "", false
	}
	if _, alone := m.Values[0].Value.(*ast.NullNode); !alone {
		return "", false
	}
	text, ok := plain(m.Values[0].Key)
	return "{" + text + "}", ok
}

// fits keeps numbers and texts apart: what a schema says is a number is not written in quotes, and
// the other way round. An address of digits alone looks like a number.
func fits(n ast.Node, s scalar) bool {
	switch s.(type) {
	case *MAC, *UUID:
		return true
	case *Pattern:
		if _, ok := braced(n); ok {
			return true
		}
	}
	_, quoted := n.(*ast.StringNode)
	kind := s.schema()["type"]
	return (kind == "string") == quoted
}

func (d *decoder) boolean(n ast.Node, v reflect.Value, path string) {
	b, ok := n.(*ast.BoolNode)
	if !ok {
		d.add(n, path, describe(n), "true or false")
		return
	}
	v.SetBool(b.Value)
}

func (d *decoder) text(n ast.Node, v reflect.Value, path string) {
	s, ok := n.(*ast.StringNode)
	if !ok || len(s.Value) > 256 {
		d.add(n, path, describe(n), "a text of at most 256 bytes; in quotes if it looks like a number")
		return
	}
	v.SetString(s.Value)
}

// pairs returns the members of a mapping.
func (d *decoder) pairs(n ast.Node, path, expected string) ([]*ast.MappingValueNode, bool) {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	}
	d.add(n, path, describe(n), expected)
	return nil, false
}

// gone says what replaces a member that was removed.
var gone = map[string]string{
	"agent": "nothing: machines get the store's current release of the agent ('troy agent publish')",
}

func (d *decoder) object(n ast.Node, v reflect.Value, path string) {
	names := members(v.Type())
	expected := "a mapping with " + strings.Join(names, ", ")
	pairs, ok := d.pairs(n, path, expected)
	if !ok {
		return
	}
	seen := map[string]bool{}
	for _, p := range pairs {
		name, ok := plain(p.Key)
		i := field(v.Type(), name)
		if !ok || i < 0 {
			expected := "one of " + strings.Join(names, ", ")
			if now, ok := gone[join(path, name)]; ok {
				expected = now
			}
			d.add(p.Key, path, fmt.Sprintf("the member %q", p.Key.String()), expected)
			continue
		}
		seen[name] = true
		d.value(p.Value, v.Field(i), join(path, name))
	}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if name := f.Tag.Get("yaml"); f.Tag.Get("need") == "true" && !seen[name] {
			d.add(n, join(path, name), "nothing", f.Tag.Get("about"))
		}
	}
}

func (d *decoder) table(n ast.Node, v reflect.Value, path string) {
	pairs, ok := d.pairs(n, path, "a mapping of names")
	if !ok {
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for _, p := range pairs {
		key := reflect.New(v.Type().Key())
		text, _ := plain(p.Key)
		if key.Interface().(scalar).parse(text) != nil {
			d.add(p.Key, path, describe(p.Key), key.Interface().(scalar).want())
			continue
		}
		elem := reflect.New(v.Type().Elem()).Elem()
		if _, null := p.Value.(*ast.NullNode); null && elem.Kind() == reflect.Pointer {
			// "B204:" alone is a room with nothing of its own.
			elem.Set(reflect.New(elem.Type().Elem()))
			d.where[join(path, text)] = position(p.Key)
		} else {
			d.value(p.Value, elem, join(path, text))
		}
		v.SetMapIndex(key.Elem(), elem)
	}
}

func (d *decoder) list(n ast.Node, v reflect.Value, path string) {
	s, ok := n.(*ast.SequenceNode)
	if !ok {
		d.add(n, path, describe(n), "a list")
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(s.Values), len(s.Values)))
	for i, e := range s.Values {
		d.value(e, v.Index(i), fmt.Sprintf("%s[%d]", path, i))
	}
}

// describe says what a node is, for people.
func describe(n ast.Node) string {
	switch n := n.(type) {
	case *ast.NullNode:
		return "nothing"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode, *ast.MergeKeyNode:
		return "a YAML " + strings.ToLower(n.Type().String())
	}
	if text, ok := plain(n); ok {
		if len(text) > 64 {
			text = text[:64] + "…"
		}
		return fmt.Sprintf("%q", text)
	}
	return "a YAML " + strings.ToLower(n.Type().String())
}

func join(path, name string) string { return strings.TrimPrefix(path+"."+name, ".") }

// members lists the names that a struct has in YAML.
func members(t reflect.Type) (names []string) {
	for i := range t.NumField() {
		if name := t.Field(i).Tag.Get("yaml"); name != "" {
			names = append(names, name)
		}
	}
	return names
}

func field(t reflect.Type, name string) int {
	for i := range t.NumField() {
		if name != "" && t.Field(i).Tag.Get("yaml") == name {
			return i
		}
	}
	return -1
}
