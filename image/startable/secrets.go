package startable

import (
	"errors"
	"io"
	"strings"

	"troy/diskwriter/ntfs"
	"troy/image/unattend"
)

// answerFolders are those where setup looks for answers, and leaves what it used.
var answerFolders = append([]string{`\`}, unattend.Folders...)

// answerMost bounds an answer file, in bytes.
const answerMost = 16 << 20

// secrets looks into all answer files of a volume.
func (v *Verdict) secrets(volume *ntfs.Volume, where string) {
	for _, folder := range answerFolders {
		list, err := volume.List(folder)
		switch {
		case errors.Is(err, ntfs.ErrNotExist):
			continue
		case err != nil:
			v.add(Unread, where, "%s: %v", folder, err)
			continue
		}
		for _, e := range list {
			name := strings.ToLower(e.Name)
			if strings.Contains(name, "unattend") && strings.HasSuffix(name, ".xml") {
				v.answerFile(volume, strings.TrimSuffix(folder, `\`)+`\`+e.Name, where)
			}
		}
	}
}

func (v *Verdict) answerFile(volume *ntfs.Volume, path, where string) {
	f, err := volume.OpenFile(path)
	if err == nil && f.Size() > answerMost {
		err = ntfs.ErrUnsupported
	}
	if err != nil {
		v.add(Unread, where, "%s: %v", path, err)
		return
	}
	b, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
	if err != nil {
		v.add(Unread, where, "%s: %v", path, err)
		return
	}
	found, err := unattend.Secrets(b)
	switch {
	case err != nil:
		v.add(Unread, where, "%s: %v", path, err)
	case len(found) > 0:
		v.add(Secrets, where, "%s: %s", path, strings.Join(found, ", "))
	}
}
