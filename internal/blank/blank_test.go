package blank

import "testing"

func TestTrim(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"nothing":         {"", ""},
		"only blanks":     {" \t\r\n\x00", ""},
		"plain":           {"troy.efi", "troy.efi"},
		"blanks":          {"  a\t", "a"},
		"line ends":       {"\r\na\r\n", "a"},
		"NULs":            {"a\x00\x00", "a"},
		"other controls":  {"\x01a\x7f\u0085", "a"},
		"no-break space":  {"\u00a0a\u00a0", "a"},
		"byte order mark": {"\ufeffa", "a"},
		"inside":          {" a \n b ", "a \n b"},
		"no UTF-8":        {"a\xff ", "a\xff"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Trim(c.in); got != c.want {
				t.Errorf("Trim(%q) = %q, want %q", c.in, got, c.want)
			}
		})
	}
}
