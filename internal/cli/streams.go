package cli

import (
	"encoding/json"
	"fmt"
	"io"
)

// Streams are where a program writes. Errors and notes begin with Name, the program's name.
type Streams struct {
	Name     string
	Out, Err io.Writer
	sink     *sink
}

// New makes the streams of one run of a program.
func New(name string, out, errOut io.Writer) *Streams {
	s := &sink{w: out}
	return &Streams{Name: name, Out: s, Err: errOut, sink: s}
}

// sink keeps the first error of a writer, so that no command has to look at each line it prints.
type sink struct {
	w   io.Writer
	err error
}

// Write implements io.Writer.
func (s *sink) Write(b []byte) (int, error) {
	n, err := s.w.Write(b)
	if err != nil && s.err == nil {
		s.err = err
	}
	return n, err
}

// JSON prints one document.
func (s *Streams) JSON(doc any) error {
	e := json.NewEncoder(s.Out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(doc)
}

// Note tells on the standard error what is worth knowing but no error.
func (s *Streams) Note(format string, args ...any) {
	fmt.Fprintf(s.Err, "%s: note: %s\n", s.Name, Clean(fmt.Sprintf(format, args...)))
}
