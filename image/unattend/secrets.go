package unattend

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"troy/internal/utf16le"
)

// deleted is what Windows writes in the place of a value that it used.
const deleted = "*SENSITIVE*DATA*DELETED*"

// Secrets returns the path of each element that holds a secret, such as
// "UserAccounts/AdministratorPassword".
func Secrets(b []byte) ([]string, error) {
	d := xml.NewDecoder(strings.NewReader(decode(b)))
	// The text was decoded above, whatever the file says of itself.
	d.CharsetReader = passThrough
	var path, found []string
	for elements := 0; ; {
		token, err := d.Token()
		if err != nil {
			return finish(found, elements, err)
		}
		switch x := token.(type) {
		case xml.StartElement:
			elements++
			path = append(path, x.Name.Local)
			for _, attribute := range x.Attr {
				if IsSecret([]string{attribute.Name.Local}) && isFilled(attribute.Value) {
					found = add(found, append(path[:len(path):len(path)], attribute.Name.Local))
				}
			}
		case xml.EndElement:
			path = path[:len(path)-1]
		case xml.CharData:
			if IsSecret(path) && isFilled(string(x)) {
				found = add(found, path)
			}
		}
	}
}

// harmless are the elements beside a value that say how it is written or used.
var harmless = []string{"plaintext", "willshowui", "onerror"}

// IsSecret tells whether text at a path of elements is a secret: the path leads through an element
// that holds one.
func IsSecret(path []string) bool {
	if len(path) > 0 && slices.Contains(harmless, strings.ToLower(path[len(path)-1])) {
		return false
	}
	return slices.ContainsFunc(path, func(name string) bool {
		name = strings.ToLower(name)
		return strings.HasSuffix(name, "password") || name == "productkey" || name == "accountdata"
	})
}

func isFilled(text string) bool {
	text = strings.TrimSpace(strings.Trim(text, "\x00\ufeff"))
	return text != "" && text != deleted
}

// add notes the last two names of a path, once.
func add(found, path []string) []string {
	name := strings.Join(path[max(0, len(path)-2):], "/")
	if slices.Contains(found, name) {
		return found
	}
	return append(found, name)
}

// finish ends the reading of a file: only its end is no error.
func finish(found []string, elements int, err error) ([]string, error) {
	switch {
	case !errors.Is(err, io.EOF):
		return nil, fmt.Errorf("the answer file is no XML: %w", err)
	case elements == 0:
		return nil, errors.New("the answer file is no XML: it has no element")
	}
	return found, nil
}

func passThrough(_ string, r io.Reader) (io.Reader, error) { return r, nil }

// decode gives the text of a file in UTF-8 or UTF-16, as its first bytes say.
func decode(b []byte) string {
	switch {
	case bytes.HasPrefix(b, []byte{0xff, 0xfe}):
		return utf16le.String(b[2:])
	case bytes.HasPrefix(b, []byte{'<', 0}):
		return utf16le.String(b)
	case bytes.HasPrefix(b, []byte{0xfe, 0xff}), bytes.HasPrefix(b, []byte{0, '<'}):
		swapped := make([]byte, len(b)&^1)
		for i := range swapped {
			swapped[i] = b[i^1]
		}
		return strings.TrimPrefix(utf16le.String(swapped), "\ufeff")
	}
	b = bytes.TrimPrefix(b, []byte("\ufeff"))
	if !utf8.Valid(b) {
		// A code page of Windows: the names of elements are the same in all of them.
		b = bytes.ToValidUTF8(b, []byte("?"))
	}
	return string(b)
}
