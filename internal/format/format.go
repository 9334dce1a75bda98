package format

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Limits on the needs of a document.
const (
	MaxWords = 32 // of a document
	MaxWord  = 32 // bytes of a word
)

// Head is what a document begins with. Its types embed it.
type Head struct {
	// Format is the number of the format that the program had which wrote the document.
	Format int `json:"format"`
	// Needs are words that a reader has to understand.
	Needs []string `json:"needs,omitempty"`
	Next
}

// Kind is one kind of document, as this program reads and writes it.
type Kind struct {
	// Name names it in errors.
	Name string
	// Number is what this release writes, Oldest the oldest number that it still reads.
	Number, Oldest int
	// Words are what it understands.
	Words []string
	// Bare: an older program reads it on its way to a newer release, so it never needs a word.
	Bare bool
}

// Current is the number that this program writes.
func (k *Kind) Current() int { return k.Number + Raised }

// Stamp makes h the head of a document that this program writes. What the document needed before it
// still needs.
func (k *Kind) Stamp(h *Head) {
	h.Format = k.Current()
	if k.Bare {
		return
	}
	for _, w := range extra() {
		if !slices.Contains(h.Needs, w) {
			h.Needs = append(slices.Clip(h.Needs), w)
		}
	}
}

// Read reads a document into v if this program understands it. The errors are ErrMalformed, a
// *NeedsError or an *OldError. Nothing but the head is looked at where that is refused: the other
// members may have changed their types.
func (k *Kind) Read(b []byte, v any) error {
	var h Head
	err := Unmarshal(b, &h)
	if err == nil {
		err = k.Check(h)
	}
	if err == nil {
		err = Unmarshal(b, v)
	}
	if errors.Is(err, ErrMalformed) {
		return fmt.Errorf("%s: %w", k.Name, err)
	}
	return err
}

// Check returns a *NeedsError or an *OldError for a document that this program does not understand,
// and ErrMalformed for a head that no program writes.
func (k *Kind) Check(h Head) error {
	if err := CheckNeeds(h.Needs); err != nil {
		return err
	}
	if lacks := Lacks(h.Needs, k.Words); len(lacks) > 0 {
		return &NeedsError{k.Name, lacks}
	}
	if h.Format < k.Oldest {
		return &OldError{k.Name, h.Format, k.Oldest}
	}
	return nil
}

// CheckNeeds returns ErrMalformed for a list of words that no program writes.
func CheckNeeds(needs []string) error {
	if len(needs) > MaxWords {
		return fmt.Errorf("%w: needs has %d words, at most %d", ErrMalformed, len(needs), MaxWords)
	}
	for _, w := range needs {
		if w == "" || len(w) > MaxWord || strings.Trim(w, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return fmt.Errorf("%w: needs has %.*q; want words of a-z, 0-9 and -, at most %d bytes", ErrMalformed, MaxWord, w, MaxWord)
		}
	}
	return nil
}

// Lacks returns the words of needs that a program with these words does not understand.
func Lacks(needs, words []string) []string {
	known := slices.Concat(words, extra())
	return slices.DeleteFunc(slices.Clone(needs), func(w string) bool { return slices.Contains(known, w) })
}

// NeedsError says that a document is meant for a newer program.
type NeedsError struct {
	Document string
	Words    []string // that this program does not understand
}

// Error names the document and the words.
func (e *NeedsError) Error() string {
	return fmt.Sprintf(`%s needs "%s", which this program (%s) does not understand: install a newer Troy`,
		e.Document, strings.Join(e.Words, `", "`), Release)
}

// OldError says that a document is of a format that is no longer read.
type OldError struct {
	Document       string
	Format, Oldest int
}

// Error names the document and the numbers.
func (e *OldError) Error() string {
	return fmt.Sprintf("%s has format %d, and this program (%s) reads formats from %d on: make it again with a newer Troy",
		e.Document, e.Format, Release, e.Oldest)
}
