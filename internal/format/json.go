package format

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
)

// ErrMalformed is returned for what is not one JSON document with members of the right types.
var ErrMalformed = errors.New("malformed JSON")

// Unknown keeps the members of a document that this program does not know, so that they are still
// there when it rewrites the document. A field of this type needs the tag `json:",embed"`.
type Unknown = jsontext.Value

// Marshal returns a document in one line. Texts that are not UTF-8 are written as far as they are.
func Marshal(v any) ([]byte, error) { return json.Marshal(v, writing()) }

// Indent returns a document in several lines, for people, with a newline at its end.
func Indent(v any) ([]byte, error) {
	b, err := json.Marshal(v, writing(), jsontext.WithIndent("  "))
	return append(b, '\n'), err
}

func writing() json.Options {
	return json.JoinOptions(json.Deterministic(true), jsontext.AllowInvalidUTF8(true), jsonv1.OmitEmptyWithLegacySemantics(true))
}

// Exact reads one document as Unmarshal does, and refuses unknown members as well: for what a person
// asks for, where half of it would be something else.
func Exact(b []byte, v any) error { return unmarshal(b, v, json.RejectUnknownMembers(true)) }

// Unmarshal reads one document strictly, see Reading above. Its errors are ErrMalformed.
func Unmarshal(b []byte, v any) error { return unmarshal(b, v) }

func unmarshal(b []byte, v any, how ...json.Options) error {
	err := json.Unmarshal(b, v, how...)
	if err == nil {
		s := speller{jsontext.NewDecoder(bytes.NewReader(b))}
		err = s.check(reflect.TypeOf(v))
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return nil
}

// member is a member of an object that this program knows.
type member struct {
	name string
	of   reflect.Type
}

// speller finds members that are spelled like a known one but for their case. Readers that do not
// mind the case take them for it.
type speller struct{ d *jsontext.Decoder }

// check reads one value that was decoded into a type; nil = one that is not known.
func (s *speller) check(t reflect.Type) error {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil {
		return s.d.SkipValue()
	}
	next, kind := s.d.PeekKind(), t.Kind()
	switch {
	case next == '{' && kind == reflect.Struct:
		return s.each(func() (reflect.Type, error) { return s.named(t) })
	case next == '{' && kind == reflect.Map:
		return s.each(func() (reflect.Type, error) {
			_, err := s.d.ReadToken()
			return t.Elem(), err
		})
	case next == '[' && (kind == reflect.Slice || kind == reflect.Array):
		return s.each(func() (reflect.Type, error) { return t.Elem(), nil })
	}
	return s.d.SkipValue()
}

// each reads an object or a list. begin reads what stands before a value and returns its type.
func (s *speller) each(begin func() (reflect.Type, error)) error {
	if _, err := s.d.ReadToken(); err != nil {
		return err
	}
	for next := s.d.PeekKind(); next != '}' && next != ']'; next = s.d.PeekKind() {
		t, err := begin()
		if err == nil {
			err = s.check(t)
		}
		if err != nil {
			return err
		}
	}
	_, err := s.d.ReadToken()
	return err
}

// named reads the name of a member and returns its type.
func (s *speller) named(t reflect.Type) (reflect.Type, error) {
	token, err := s.d.ReadToken()
	if err != nil {
		return nil, err
	}
	is := token.String()
	known, ok := members(t)[fold(is)]
	if ok && known.name != is {
		return nil, fmt.Errorf("member %q is spelled %q", is, known.name)
	}
	return known.of, nil
}

// structs has the members of each type that was read so far, by their folded names. A type never
// changes.
var structs sync.Map // reflect.Type → map[string]member

// members returns the members of an object.
func members(t reflect.Type) map[string]member {
	if all, ok := structs.Load(t); ok {
		return all.(map[string]member)
	}
	all := map[string]member{}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.IsExported() && name != "-" && !f.Anonymous {
			name = cmp.Or(name, f.Name)
			all[fold(name)] = member{name, f.Type}
		}
	}
	structs.Store(t, all)
	return all
}

// fold makes names alike that differ only in case.
func fold(name string) string { return strings.ToLower(strings.ToUpper(name)) }
