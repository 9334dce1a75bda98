package vhdx

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Severity grades a finding of Check.
type Severity uint8

// Severities, in rising order.
const (
	Note    Severity = iota // odd but harmless: programs in the field write such files
	Warning                 // readable, but something is damaged or unfinished
	Error                   // breaks the format: data is lost or at risk
)

// String returns the name of the severity in lower case.
func (s Severity) String() string {
	switch s {
	case Note:
		return "note"
	case Warning:
		return "warning"
	}
	return "error"
}

// Finding is one thing that Check has to say.
type Finding struct {
	Structure string // in the words of MS-VHDX, as in FormatError
	Offset    int64  // bytes from the start of the file
	Severity  Severity
	Text      string // what is wrong, as a plain sentence
}

// String returns the finding in one line.
func (f Finding) String() string {
	return fmt.Sprintf("%v: %s at offset %#x: %s", f.Severity, f.Structure, f.Offset, f.Text)
}

// Report is what Check found, in file order of the structures.
type Report struct {
	Findings []Finding
	More     int   // findings left out: the first 1000 are kept
	Blocks   int64 // payload blocks that were looked at
	InFile   int64 // those that have content in the file
}

// OK reports whether nothing is wrong: there may be notes.
func (r *Report) OK() bool {
	for _, f := range r.Findings {
		if f.Severity > Note {
			return false
		}
	}
	return r.More == 0
}

// maxFindings bounds a report: a file can have a fault in each of millions of entries.
const maxFindings = 1000

// CheckOptions tells what to check. The zero value checks one file.
type CheckOptions struct {
	Parent *File // of a differencing disk: the link to it is also checked
}

// checker collects findings.
type checker struct {
	r    io.ReaderAt
	size int64
	o    CheckOptions
	rep  *Report
	f    *File
	used *space
	hits int // overlaps explained so far
}

// Check examines a VHDX of size bytes, changing nothing: both copies of
// headers and region table, the log, the metadata, every entry of the BAT, the
// locator, and whether any two structures share a place. It goes on as far as
// the damage allows. The error is one of reading; what is wrong with the file
// is in the report.
func Check(r io.ReaderAt, size int64, o *CheckOptions) (*Report, error) {
	c := &checker{r: r, size: size, rep: &Report{}}
	if o != nil {
		c.o = *o
	}
	err := c.run()
	var fe *FormatError
	var ue *UnsupportedError
	switch {
	case errors.As(err, &fe):
		c.add(fe.Structure, fe.Offset, Error, "%s", fe.Reason)
	case errors.As(err, &ue):
		c.add(ue.Structure, ue.Offset, Error, "not supported: %s", ue.Reason)
	case err != nil:
		return nil, err
	}
	return c.rep, nil
}

func (c *checker) add(structure string, off int64, s Severity, format string, args ...any) {
	if len(c.rep.Findings) == maxFindings {
		c.rep.More++
		return
	}
	c.rep.Findings = append(c.rep.Findings, Finding{structure, off, s, fmt.Sprintf(format, args...)})
}

// run checks what can go on after damage itself, then opens the file.
func (c *checker) run() error {
	if _, err := readFileIdentifier(c.r); err != nil {
		return err
	}
	c.headers()
	f, _, err := openFile(c.r, c.size)
	if err != nil {
		c.regionCopies(c.r)
		return err
	}
	c.f = f
	if f.replayed {
		c.add("log", int64(f.hdr.LogOffset), Warning, "the file was not closed cleanly: the log has to be replayed (what follows is after replay)")
	}
	if c.size%mib != 0 {
		c.add("file", c.size, Note, "its length is not a multiple of 1 MiB")
	}
	c.regionCopies(f.r)
	if err := c.blocks(); err != nil {
		return err
	}
	return c.parent()
}

// headers looks at both copies; ReadHeaders, later, at what is current.
func (c *checker) headers() {
	var raw [2][]byte
	valid := 0
	for i, off := range headerOffsets {
		b, _, bad := readHeaderCopy(c.r, off)
		if bad != nil {
			c.add("header", off, Warning, "this copy is damaged (%s)", reasonOf(bad))
			continue
		}
		raw[i] = b
		valid++
	}
	if valid == 2 && bytes.Equal(raw[0], raw[1]) {
		c.add("header", Header1Offset, Note, "both copies are the same, sequence number included")
	}
}

// regionCopies looks at both region tables. Only damage of one is reported:
// when both are bad, opening fails with the reason.
func (c *checker) regionCopies(r io.ReaderAt) {
	var raw [2][]byte
	for i, off := range regionTableOffsets {
		var bad error
		if _, raw[i], bad = readRegionTable(r, off); bad != nil {
			c.add("region table", off, Warning, "this copy is damaged (%s)", reasonOf(bad))
		}
	}
	if raw[0] != nil && raw[1] != nil && !bytes.Equal(raw[0], raw[1]) {
		c.add("region table", RegionTable2Offset, Warning, "the copies differ; the first one counts")
	}
}

// parent checks the locator and, if the parent is at hand, the link.
func (c *checker) parent() error {
	l := c.f.meta.ParentLocator
	if l == nil {
		return nil
	}
	r, _ := c.f.regions.Find(RegionMetadata)
	if _, err := l.Linkage(); err != nil {
		c.add("parent locator", r.Offset, Error, "%s", reasonOf(err))
		return nil
	}
	if _, err := l.Linkage2(); err != nil {
		c.add("parent locator", r.Offset, Error, "%s", reasonOf(err))
	}
	if c.f.ParentName() == "" {
		c.add("parent locator", r.Offset, Warning, "no entry names the parent's file")
	}
	if c.o.Parent == nil {
		return nil
	}
	if err := CheckLink(c.f, c.o.Parent); errors.Is(err, ErrChainMismatch) {
		c.add("parent locator", r.Offset, Error, "%s", err)
	}
	return nil
}
