package lab

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"troy/internal/utf16le"
	"troy/server/protocol"
)

// ErrSecret is the class of everything that is wrong with the file of a secret. No such error holds
// anything of the content.
var ErrSecret = errors.New("the file of a secret cannot be used")

// SecretError says what is wrong with the file of a secret. It is an ErrSecret.
type SecretError struct{ Path, Reason string }

// Error implements error.
func (e *SecretError) Error() string { return fmt.Sprintf("secret file %s: %s", e.Path, e.Reason) }

// Unwrap makes it an ErrSecret.
func (e *SecretError) Unwrap() error { return ErrSecret }

// Secret is a value in a file of its own.
type Secret struct {
	Key  string
	Path string // of the file
}

// Read returns the value: the text of the file, without the end of its last line. It takes what djoin
// writes: UTF-16 with a byte order mark and a zero at the end. Errors are SecretErrors.
func (s *Secret) Read() (protocol.Value, error) {
	b, err := s.content()
	if err != nil {
		return protocol.Value{}, err
	}
	text := strings.ReplaceAll(strings.TrimRight(string(utf16le.Plain(b)), "\x00"), "\r\n", "\n")
	v := protocol.Value{Key: s.Key, Text: strings.TrimSuffix(text, "\n"), Secret: true}
	switch id := (&protocol.Identity{Values: []protocol.Value{v}}); {
	case v.Text == "":
		return protocol.Value{}, s.wrong("it is empty")
	case len(v.Text) > protocol.MaxValue:
		return protocol.Value{}, s.wrong(fmt.Sprintf("it has %d bytes, at most %d", len(v.Text), protocol.MaxValue))
	case id.Validate() != nil:
		return protocol.Value{}, s.wrong("it is no text: control characters, or neither UTF-8 nor UTF-16 with a byte order mark")
	}
	return v, nil
}

func (s *Secret) wrong(reason string) error { return &SecretError{s.Path, reason} }

// content reads the file.
func (s *Secret) content() ([]byte, error) {
	info, err := os.Stat(s.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, s.wrong("it does not exist")
	case err == nil && !info.Mode().IsRegular():
		return nil, s.wrong("it is no file")
	}
	const most = 2*protocol.MaxValue + 16 // as UTF-16
	f, err := os.Open(s.Path)
	if err != nil {
		return nil, s.wrong(reasonOf(err))
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, s.wrong(reasonOf(err))
	}
	if len(b) > most {
		return nil, s.wrong(fmt.Sprintf("it has more than %d bytes", protocol.MaxValue))
	}
	return b, nil
}

// reasonOf is an error of a file without its path.
func reasonOf(err error) string {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err.Error()
	}
	return err.Error()
}

// Exposed says whether every user of this computer may read the file.
func (s *Secret) Exposed() bool {
	info, err := os.Stat(s.Path)
	return err == nil && info.Mode()&0o004 != 0
}

// CheckSecrets looks at the files of all secrets of hosts, each once. Faults keep a machine without
// a secret; warnings are files that others may read.
func (l *Lab) CheckSecrets() (faults, warnings Errors) {
	seen := map[string]bool{}
	for i := range l.Hosts {
		h := &l.Hosts[i]
		own, err := l.Identity(string(h.Room), string(h.Name))
		if err != nil || own == nil {
			continue
		}
		id := own.Identity
		for _, s := range own.Secrets {
			v, err := s.Read()
			id.Values = append(id.Values, v)
			path := origin(l.places, layersOf(l, i), "secrets."+s.Key)
			if seen[s.Path] {
				continue
			}
			seen[s.Path] = true
			var bad *SecretError
			if errors.As(err, &bad) {
				faults = append(faults, l.secretFault(path, fmt.Sprintf("%s, of %s: %s", s.Path, h.Name, bad.Reason), fmt.Sprintf("a file with a text of 1 to %d bytes", protocol.MaxValue)))
			} else if s.Exposed() {
				warnings = append(warnings, l.secretFault(path, s.Path+", which every user of this computer may read", "a file that only the server's user may read (chmod o-rwx)"))
			}
		}
		if size := contentOf(&id); size > protocol.MaxContent {
			path := origin(l.places, layersOf(l, i), "secrets."+own.Secrets[0].Key)
			faults = append(faults, l.secretFault(path, fmt.Sprintf("%d bytes of values, secrets and keys of %s", size, h.Name), fmt.Sprintf("at most %d", protocol.MaxContent)))
		}
	}
	for _, list := range []Errors{faults, warnings} {
		slices.SortStableFunc(list, inOrder)
	}
	return faults, warnings
}

// contentOf counts what protocol.MaxContent bounds.
func contentOf(id *protocol.Identity) (size int) {
	for _, v := range id.Values {
		size += len(v.Key) + len(v.Text)
	}
	return size
}

func (l *Lab) secretFault(path, found, expected string) *Error {
	e := &Error{File: l.file, Path: path, Found: found, Expected: expected}
	if at := l.places[path]; at != nil {
		e.Line, e.Column = at.Line, at.Column
	}
	return e
}
