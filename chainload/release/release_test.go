package release

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"troy/internal/digest"
)

func TestCheck(t *testing.T) {
	many := make([]File, MaxFiles+1)
	for i := range many {
		many[i] = File{Name: "f" + strings.Repeat("x", i/20) + string(rune('a'+i%20)), Size: 1}
	}
	for name, c := range map[string]struct {
		files []File
		want  string // in the error; "" = good
	}{
		"signed":            {files: []File{{Name: Shim, Size: 1}, {Name: GRUB, Size: 1}, {Name: Kernel, Size: 1}, {Name: Initrd, Size: MaxFile}}},
		"folders":           {files: []File{{Name: "efi/a.efi", Size: 1}, {Name: "efi/b.efi", Size: 1}}},
		"longest name":      {files: []File{{Name: strings.Repeat("n", maxName), Size: 1}}},
		"most files":        {files: many[:MaxFiles]},
		"none":              {want: "0 files"},
		"too many":          {files: many, want: "257 files"},
		"long name":         {files: []File{{Name: strings.Repeat("n", maxName+1), Size: 1}}, want: "cannot be the name"},
		"document":          {files: []File{{Name: Document, Size: 1}}, want: "cannot be the name"},
		"no name":           {files: []File{{Size: 1}}, want: "cannot be the name"},
		"dot":               {files: []File{{Name: ".", Size: 1}}, want: "begins with a dot"},
		"hidden":            {files: []File{{Name: "a/.b", Size: 1}}, want: "begins with a dot"},
		"out":               {files: []File{{Name: "../a", Size: 1}}, want: "cannot be the name"},
		"absolute":          {files: []File{{Name: "/a", Size: 1}}, want: "cannot be the name"},
		"backslash":         {files: []File{{Name: `a\b`, Size: 1}}, want: "cannot be the name"},
		"line":              {files: []File{{Name: "a\nb", Size: 1}}, want: "cannot be the name"},
		"umlaut":            {files: []File{{Name: "ä", Size: 1}}, want: "cannot be the name"},
		"empty file":        {files: []File{{Name: Kernel}}, want: "of 0 bytes"},
		"negative":          {files: []File{{Name: Kernel, Size: -1}}, want: "of -1 bytes"},
		"too big":           {files: []File{{Name: Kernel, Size: MaxFile + 1}}, want: "of 1073741825 bytes"},
		"twice":             {files: []File{{Name: Kernel, Size: 1}, {Name: Kernel, Size: 1}}, want: "two files"},
		"twice but by case": {files: []File{{Name: "Vmlinuz", Size: 1}, {Name: Kernel, Size: 1}}, want: "two files"},
	} {
		t.Run(name, func(t *testing.T) {
			r := Release{Version: "1", Files: c.files}
			err := r.Check()
			if c.want == "" {
				if err != nil {
					t.Errorf("Check() = %v, want nil", err)
				}
				return
			}
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Check() = %v, want an ErrInvalid with %q", err, c.want)
			}
		})
	}
}

func TestRelease(t *testing.T) {
	r := Release{Version: "7", Files: []File{{Name: Kernel, Size: 5, SHA256: digest.Sum{1}}, {Name: Initrd, Size: 7}}}
	if r.Size() != 12 || r.File(Initrd) != &r.Files[1] || r.File("other") != nil {
		t.Errorf("Size() = %d, File(%q) = %v, File(other) = %v", r.Size(), Initrd, r.File(Initrd), r.File("other"))
	}
	b, err := json.Marshal(&r)
	want := `{"version":"7","files":[{"name":"vmlinuz","size":5,"sha256":"01` + strings.Repeat("0", 62) + `"},{"name":"initramfs.cpio.zst","size":7,"sha256":"` + strings.Repeat("0", 64) + `"}]}`
	if err != nil || string(b) != want {
		t.Errorf("as JSON %s, %v; want %s", b, err, want)
	}
}
