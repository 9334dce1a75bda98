package source

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"troy/internal/progress"
	"troy/internal/tool"
	"troy/internal/utf16le"
)

// Edition is one Windows of an installation medium.
type Edition struct {
	Index        int
	Name         string
	ID           string // as Windows calls it: Professional
	Bytes        int64  // of its files, each counted once
	Architecture string // x64, x86, ARM64
	Build        string
	Languages    []string
	Language     string // the default one
}

// String is one line for a list.
func (e *Edition) String() string {
	return fmt.Sprintf("%3d  %s  %s  %s", e.Index, e.Name, progress.Bytes(e.Bytes), e.Architecture)
}

// EditionError says that an edition has to be named, and which there are.
type EditionError struct {
	File     string
	Want     string // "": none was named
	Editions []Edition
}

// Error says what was asked for; the editions are for the caller to show.
func (e *EditionError) Error() string {
	if e.Want == "" {
		return fmt.Sprintf("%s holds %d editions of Windows: name one by --edition, by its number or name", e.File, len(e.Editions))
	}
	return fmt.Sprintf("%s holds no edition %q, or several of that name: name one by its number", e.File, e.Want)
}

// wimXML is what the XML of a WIM says.
type wimXML struct {
	Images []struct {
		Index    int    `xml:"INDEX,attr"`
		Name     string `xml:"NAME"`
		Display  string `xml:"DISPLAYNAME"`
		Bytes    int64  `xml:"TOTALBYTES"`
		Repeated int64  `xml:"HARDLINKBYTES"`
		Windows  struct {
			Architecture *int     `xml:"ARCH"`
			Edition      string   `xml:"EDITIONID"`
			Build        string   `xml:"VERSION>BUILD"`
			Languages    []string `xml:"LANGUAGES>LANGUAGE"`
			Language     string   `xml:"LANGUAGES>DEFAULT"`
		} `xml:"WINDOWS"`
	} `xml:"IMAGE"`
}

// editions asks wimlib what is in an archive.
func editions(ctx context.Context, path string) ([]Edition, error) {
	b, err := tool.Output(ctx, "wimlib-imagex", "info", path, "--xml")
	if err != nil {
		return nil, err
	}
	return parseEditions(b)
}

func parseEditions(b []byte) ([]Edition, error) {
	text := utf16le.String(bytes.TrimPrefix(b, []byte{0xff, 0xfe}))
	d := xml.NewDecoder(strings.NewReader(text))
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil } // decoded above
	var x wimXML
	if err := d.Decode(&x); err != nil {
		return nil, fmt.Errorf("its list of editions cannot be read: %w", err)
	}
	var list []Edition
	for _, i := range x.Images {
		e := Edition{Index: i.Index, Name: i.Name, ID: i.Windows.Edition, Bytes: max(0, i.Bytes-i.Repeated), Architecture: "no Windows",
			Build: i.Windows.Build, Languages: i.Windows.Languages, Language: i.Windows.Language}
		if i.Display != "" {
			e.Name = i.Display
		}
		if a := i.Windows.Architecture; a != nil {
			e.Architecture = architecture(*a)
		}
		list = append(list, e)
	}
	return list, nil
}

// architecture names a processor as winnt.h counts them.
func architecture(n int) string {
	switch n {
	case 0:
		return "x86"
	case 9:
		return "x64"
	case 12:
		return "ARM64"
	}
	return "processor " + strconv.Itoa(n)
}

// Choose finds the edition of that name or number among those of a file; "" is the only one. Errors:
// *EditionError, ErrNoWindows.
func Choose(list []Edition, want, file string) (*Edition, error) {
	if len(list) == 0 {
		return nil, fmt.Errorf("%w: %s holds no editions", ErrNoWindows, file)
	}
	if want == "" && len(list) == 1 {
		return x64(&list[0], file)
	}
	for _, same := range []func(*Edition) bool{
		func(e *Edition) bool { return strconv.Itoa(e.Index) == want },
		func(e *Edition) bool { return want != "" && strings.EqualFold(e.Name, want) },
		func(e *Edition) bool { return want != "" && strings.EqualFold(e.ID, want) },
	} {
		if found := matching(list, same); len(found) == 1 {
			return x64(found[0], file)
		}
	}
	return nil, &EditionError{File: file, Want: want, Editions: slices.Clone(list)}
}

// x64 refuses an edition for other processors.
func x64(e *Edition, file string) (*Edition, error) {
	if e.Architecture != "x64" {
		return nil, fmt.Errorf("%w: edition %d of %s is for %s, and Troy starts x64 only", ErrNoWindows, e.Index, file, e.Architecture)
	}
	return e, nil
}

func matching(list []Edition, same func(*Edition) bool) (found []*Edition) {
	for i := range list {
		if same(&list[i]) {
			found = append(found, &list[i])
		}
	}
	return found
}
