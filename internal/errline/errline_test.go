package errline

import (
	"errors"
	"io"
	"io/fs"
	"testing"
)

func TestJoin(t *testing.T) {
	if Join() != nil || Join(nil, nil) != nil {
		t.Error("nothing joined is an error")
	}
	if err := Join(nil, io.EOF); err != io.EOF {
		t.Errorf("one error joined is %v", err)
	}
	err := Join(&fs.PathError{Op: "open", Path: "x", Err: fs.ErrNotExist}, nil, io.EOF)
	var path *fs.PathError
	if err.Error() != "open x: file does not exist; EOF" || !errors.Is(err, io.EOF) || !errors.As(err, &path) {
		t.Errorf("two errors joined are %q", err)
	}
}
