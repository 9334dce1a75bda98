package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"troy/diskwriter/ntfs"
	"troy/image/unattend"
	"troy/internal/acl"
	"troy/internal/errline"
	"troy/internal/tool"
	"troy/vhdx"
)

func (w *Windows) size() int64 {
	if w.Size == 0 {
		return DefaultSize
	}
	return w.Size
}

// answerFile returns the file that was given, or makes one for an edition. Both get spaces behind
// their end.
func (w *Windows) answerFile(e *Edition) ([]byte, error) {
	if w.AnswerFile != nil {
		return unattend.Padded(w.AnswerFile), nil
	}
	a := w.Answers
	if w.Ask != nil {
		var err error
		if a, err = w.Ask(e, e.Check); err != nil {
			return nil, err
		}
	}
	b, err := makeAnswers(e, &a)
	return unattend.Padded(b), err
}

// Check tells whether the setup of an edition can be given such answers.
func (e *Edition) Check(a unattend.Answers) error {
	_, err := makeAnswers(e, &a)
	return err
}

// makeAnswers makes an answer file for an edition.
func makeAnswers(e *Edition, a *unattend.Answers) ([]byte, error) {
	has := func(language string) bool {
		return slices.ContainsFunc(e.Languages, func(l string) bool { return strings.EqualFold(l, language) })
	}
	if a.Language != "" && len(e.Languages) > 0 && !has(a.Language) {
		return nil, fmt.Errorf("%w: edition %d has no language %s, only %s", unattend.ErrAnswer, e.Index, a.Language, strings.Join(e.Languages, ", "))
	}
	return unattend.Make(a)
}

// placeAnswers writes the answer file to the volume, so that users of the PC cannot read what it
// gets there. One that the edition brings along is replaced, and can be read by those who could.
func placeAnswers(ctx context.Context, volume, dir string, answers []byte) error {
	target, err := answerTarget(volume)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, unattend.Name)
	defer os.Remove(path)
	if err := os.WriteFile(path, answers, 0o600); err != nil {
		return err
	}
	if err := tool.Run(ctx, &tool.Command{Name: "ntfscp", Args: []string{"-q", volume, path, target}}); err != nil {
		return err
	}
	return hideAnswers(volume, target)
}

// hideAnswers lets SYSTEM alone read a new file: ntfscp lets everyone.
func hideAnswers(volume, path string) (err error) {
	f, err := os.OpenFile(volume, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errline.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	v, err := ntfs.Open(f, info.Size())
	if err != nil {
		return err
	}
	patches, err := v.SecurityPatches(path, acl.System())
	if errors.Is(err, ntfs.ErrUnsupported) {
		return nil // it is not new
	}
	for _, p := range patches {
		_, werr := f.WriteAt(p.Data, p.Offset)
		err = errline.Join(err, werr)
	}
	return err
}

// answerTarget returns the path of the answer file as ntfscp wants it: spelled as on the volume,
// for it tells case.
func answerTarget(volume string) (target string, err error) {
	f, err := vhdx.OpenRaw(volume)
	if err != nil {
		return "", err
	}
	defer func() { err = errline.Join(err, f.Close()) }()
	v, err := ntfs.Open(f, f.Size())
	if err != nil {
		return "", err
	}
	for _, folder := range unattend.Folders {
		switch path, err := spelled(v, folder+`\`+unattend.Name); {
		case err == nil:
			return path, nil
		case !errors.Is(err, ntfs.ErrNotExist):
			return "", err
		}
	}
	return "", fmt.Errorf("%w: it has none of the folders %s, so setup would find no answers", ErrNoWindows, strings.Join(unattend.Folders, ", "))
}

// spelled returns a path with slashes and the case of the volume. Its folders have to be there.
func spelled(v *ntfs.Volume, path string) (string, error) {
	out, at := "", ""
	names := strings.Split(path[1:], `\`)
	for i, name := range names {
		list, err := v.List(cmp.Or(at, `\`))
		if err != nil {
			return "", err
		}
		for _, e := range list {
			if strings.EqualFold(e.Name, name) {
				name = e.Name
			}
		}
		at, out = at+`\`+name, out+"/"+name
		if _, err := v.Lookup(at); err != nil && i < len(names)-1 {
			return "", err
		}
	}
	return out, nil
}
