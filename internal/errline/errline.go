// Package errline joins errors on one line, as a console and a report show them.
package errline

import "strings"

// Join returns an error that wraps all of errs that are not nil and whose text is theirs, joined by
// "; ". The one error of a list of one is returned as it is; without any the result is nil.
func Join(errs ...error) error {
	var list joined
	for _, err := range errs {
		if err != nil {
			list = append(list, err)
		}
	}
	switch len(list) {
	case 0:
		return nil
	case 1:
		return list[0]
	}
	return list
}

// joined is two errors or more.
type joined []error

// Error implements error.
func (j joined) Error() string {
	texts := make([]string, len(j))
	for i, err := range j {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

// Unwrap is for errors.Is and errors.As, which ask the errors in their order.
func (j joined) Unwrap() []error { return j }
