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

// answerFile returns the file that was given, or makes one for an edition.
func (w *Windows) answerFile(e *Edition) ([]byte, error) {
	if w.AnswerFile != nil {
		return w.AnswerFile, nil
	}
	a := w.Answers
	if w.Ask != nil {
		var err error
		if a, err = w.Ask(e, e.Check); err != nil {
			return nil, err
		}
	}
	return makeAnswers(e, &a)
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

// Places where setup looks for an answer file; the first that exists counts (Microsoft, Windows
// Setup Automation Overview). An image need not have the others, but always has the last.
var answerFolders = []string{`\Windows\Panther\Unattend`, `\Windows\Panther`, `\Windows\System32\Sysprep`}

const answerName = "unattend.xml"

// placeAnswers writes the answer file to the volume. One that the edition brings along is replaced.
func placeAnswers(ctx context.Context, volume, dir string, answers []byte) error {
	target, err := answerTarget(volume)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, answerName)
	defer os.Remove(path)
	if err := os.WriteFile(path, answers, 0o600); err != nil {
		return err
	}
	return tool.Run(ctx, &tool.Command{Name: "ntfscp", Args: []string{"-q", volume, path, target}})
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
	for _, folder := range answerFolders {
		switch path, err := spelled(v, folder+`\`+answerName); {
		case err == nil:
			return path, nil
		case !errors.Is(err, ntfs.ErrNotExist):
			return "", err
		}
	}
	return "", fmt.Errorf("%w: it has none of the folders %s, so setup would find no answers", ErrNoWindows, strings.Join(answerFolders, ", "))
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
