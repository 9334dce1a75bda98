package lab

import (
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/lab.md")

// values says in words what a member takes.
func values(t reflect.Type) string {
	if link := links[t]; link != "" {
		return link
	}
	if s, ok := reflect.New(t).Interface().(scalar); ok {
		return s.want()
	}
	switch t.Kind() {
	case reflect.Pointer:
		return values(t.Elem())
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Struct && t.Elem() != reflect.TypeFor[Dates]() && t.Elem() != reflect.TypeFor[IP]() {
			return "a list of " + tables[t.Elem()]
		}
		return "a list; each is " + values(t.Elem())
	case reflect.Map:
		if s, ok := reflect.New(t.Elem()).Interface().(scalar); ok {
			what := s.want()
			if link := links[t.Elem()]; link != "" {
				what = link
			}
			return "pairs of " + values(t.Key()) + " and " + what
		}
		return "names with " + tables[t.Elem().Elem()]
	case reflect.Struct:
		return tables[t]
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "a whole number from 1"
	}
	return "a text of at most 256 bytes"
}

// links are what takes more words than a table has room for.
var links = map[reflect.Type]string{
	reflect.TypeFor[Name](): "a [name](#names)", reflect.TypeFor[Pattern](): "a [pattern](#what-is-a-pcs-own-in-windows)",
	reflect.TypeFor[Setting](): "a [setting](#what-is-a-pcs-own-in-windows)", reflect.TypeFor[Key](): "a [key](#what-is-a-pcs-own-in-windows)",
	reflect.TypeFor[Path](): "a [path](#what-is-a-pcs-own-in-windows)",
}

// tables are the mappings, by what the page calls their keys.
var tables = map[reflect.Type]string{
	reflect.TypeFor[Policy](): "the [keys of a room](#a-room)", reflect.TypeFor[Provision](): "the [keys of provision](#provision)",
	reflect.TypeFor[Window](): "the [keys of a window](#a-window)", reflect.TypeFor[Host](): "the [keys of a host](#a-host)",
}

// keyTable writes the keys of a mapping for docs/lab.md.
func keyTable(t reflect.Type) string {
	var b strings.Builder
	fmt.Fprint(&b, "| key | value | meaning |\n|---|---|---|\n")
	for i := range t.NumField() {
		f := t.Field(i)
		name := f.Tag.Get("yaml")
		if name == "" {
			continue
		}
		need := ""
		if f.Tag.Get("need") == "true" {
			need = " (needed)"
		}
		what := f.Tag.Get("about")
		if name == "format" {
			what = "the number of the format"
		}
		fmt.Fprintf(&b, "| `%s`%s | %s | %s |\n", name, need, strings.ReplaceAll(values(f.Type), "|", `\|`), what)
	}
	return b.String()
}

// TestPage: docs/lab.md has every key with what it takes and what it means, as the program says it.
func TestPage(t *testing.T) {
	const name = "../../docs/lab.md"
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	for _, x := range []struct {
		title string
		t     reflect.Type
	}{
		{"The whole file", reflect.TypeFor[Lab]()}, {"A room", reflect.TypeFor[Policy]()}, {"Provision", reflect.TypeFor[Provision]()},
		{"A window", reflect.TypeFor[Window]()}, {"A host", reflect.TypeFor[Host]()},
	} {
		before, rest, found := strings.Cut(page, "\n## "+x.title+"\n")
		at := strings.Index(rest, "\n| key |")
		if !found || at < 0 {
			t.Fatalf("%s has no table under %q", name, x.title)
		}
		intro, rows := rest[:at+1], rest[at+1:]
		end := strings.Index(rows+"\n", "\n\n")
		want := keyTable(x.t)
		if rows[:min(end+1, len(rows))] != want {
			t.Logf("%s: want\n%s", x.title, want)
			if !*update {
				t.Errorf("%s is not current: run make docs", name)
			}
			rows = want + rows[min(end+1, len(rows)):]
		}
		page = before + "\n## " + x.title + "\n" + intro + rows
	}
	for what, s := range map[string]scalar{"A name is ": (*Name)(nil), "A pattern is ": (*Pattern)(nil), "A setting is ": (*Setting)(nil), "A key is ": (*Key)(nil), "A path is ": (*Path)(nil)} {
		if want := what + strings.TrimPrefix(s.want(), "a name: "); !strings.Contains(strings.Join(strings.Fields(page), " "), want) {
			t.Errorf("%s lacks: %s", name, want)
		}
	}
	if *update {
		if err := os.WriteFile(name, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
