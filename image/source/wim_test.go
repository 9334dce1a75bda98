package source_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"troy/image/source"
	"troy/image/unattend"
	"troy/internal/testing/needs"
	"troy/internal/tool"
)

const wimSize = 256 * mib

// archive captures a volume, as its two editions.
func archive(t *testing.T, volume string, flags ...string) string {
	t.Helper()
	wim := filepath.Join(t.TempDir(), "install.wim")
	windows := []string{"--image-property", "WINDOWS/ARCH=9", "--image-property", "WINDOWS/VERSION/BUILD=26100",
		"--image-property", "WINDOWS/LANGUAGES/LANGUAGE=de-DE", "--image-property", "WINDOWS/LANGUAGES/DEFAULT=de-DE"}
	later := slices.DeleteFunc(slices.Clone(flags), func(f string) bool { return strings.HasPrefix(f, "--compress") })
	program(t, "wimlib-imagex", slices.Concat([]string{"capture", volume, wim, "Windows 11 Education", "--image-property", "WINDOWS/EDITIONID=Education"}, windows, flags)...)
	program(t, "wimlib-imagex", slices.Concat([]string{"append", volume, wim, "Windows 11 Pro", "--image-property", "WINDOWS/EDITIONID=Professional"}, windows, later)...)
	return wim
}

// TestInstall makes disks of installation media of all kinds. wimlib captures each volume again: in
// name, attributes, descriptor, stream, link and byte every file is what the medium held, and one
// file is new, the answers.
func TestInstall(t *testing.T) {
	t.Parallel()
	volume := windowsVolume(t, filepath.Join(t.TempDir(), "windows"))
	solid, plain := archive(t, volume, "--solid", "--compress=LZMS"), archive(t, volume, "--compress=LZX")
	split := filepath.Join(t.TempDir(), "install.swm")
	program(t, "wimlib-imagex", "split", plain, split, "1")
	if _, err := os.Stat(strings.TrimSuffix(split, ".swm") + "2.swm"); err != nil {
		t.Fatalf("the archive is not split: %v", err)
	}
	want := described(t, plain, "1")
	for _, c := range []struct{ name, path, edition string }{
		{"LZX", plain, "windows 11 pro"},
		{"LZMS, solid", solid, "1"},
		{"split", split, "Education"},
		{"UDF", disc(t, solid), "Professional"},
		{"UDF, split", disc(t, filepath.Dir(split)), "2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := open(t, c.path, source.Windows{Edition: c.edition, Size: wimSize,
				Answers: unattend.Answers{Language: "de-DE", TimeZone: "W. Europe Standard Time"}})
			must(t, err)
			if d.Size != wimSize || d.SectorSize != 512 {
				t.Errorf("disk of %d bytes, sectors of %d", d.Size, d.SectorSize)
			}
			if !strings.Contains(strings.Join(d.Notes, "\n"), "build 26100") {
				t.Errorf("notes: %q", d.Notes)
			}
			checkInstalled(t, takeVolume(t, d), want)
		})
	}
}

// disc wraps an archive, or a folder of its parts, into an image of a disc.
func disc(t *testing.T, from string) string {
	t.Helper()
	dir := t.TempDir()
	sources := at(t, dir, "sources/setup.exe")
	must(t, os.WriteFile(sources, []byte("MZ"), 0o644))
	files := []string{from}
	if st, err := os.Stat(from); err == nil && st.IsDir() {
		files, err = filepath.Glob(filepath.Join(from, "*.swm"))
		must(t, err)
	}
	for _, f := range files {
		must(t, os.Link(f, filepath.Join(filepath.Dir(sources), filepath.Base(f))))
	}
	iso := filepath.Join(t.TempDir(), "Win11.iso")
	program(t, "genisoimage", "-quiet", "-udf", "-allow-limited-size", "-o", iso, dir)
	return iso
}

// checkInstalled compares a volume with what the archive says.
func checkInstalled(t *testing.T, volume, want string) {
	t.Helper()
	program(t, "ntfsfix", "-n", volume)
	const answers = "/Windows/System32/Sysprep/unattend.xml"
	if got := program(t, "ntfscat", volume, answers); !strings.Contains(got, "<TimeZone>W. Europe Standard Time<") {
		t.Errorf("answers: %q", got)
	} else if spaces := len(got) - len(strings.TrimRight(got, " ")); spaces != unattend.Room {
		t.Errorf("the answers have %d spaces behind their end", spaces)
	}
	if out := program(t, "ntfssecaudit", "-v", volume, answers); !strings.Contains(out, "Windows owner S-1-5-32-544\n") || !strings.Contains(out, "mode 0700\n") {
		t.Errorf("others can read the answers: %s", out)
	}
	again := filepath.Join(t.TempDir(), "again.wim")
	program(t, "wimlib-imagex", "capture", volume, again, "again", "--compress=none")
	program(t, "wimlib-imagex", "update", again, "1", "--command=delete "+answers)
	if got := described(t, again, "1"); withoutTime(got) != withoutTime(want) {
		t.Errorf("the volume differs from the archive:\n%s", firstDifference(got, want))
	}
}

// withoutTime takes out the times of the folder that the answers changed.
func withoutTime(text string) string {
	out := []string{}
	for _, file := range strings.Split(text, strings.Repeat("-", 76)) {
		if strings.Contains(file, `"/Windows/System32/Sysprep"`) {
			file = strings.Join(slices.DeleteFunc(strings.Split(file, "\n"), func(l string) bool { return strings.Contains(l, "Time") }), "\n")
		}
		out = append(out, file)
	}
	return strings.Join(out, "")
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return strings.Join(g[max(0, i-12):i+1], "\n") + "\nwant " + w[i]
		}
	}
	return "one is longer"
}

// TestRefusedMedia: each refusal names the file and the fault, and leaves nothing behind.
func TestRefusedMedia(t *testing.T) {
	needs.Downloads(t)
	folder := t.TempDir()
	for _, name := range []string{"kernel32.dll", "notepad.exe"} {
		must(t, os.Symlink(filepath.Join(programs(t), name), at(t, folder, "Windows/System32/"+name)))
	}
	wim := archive(t, folder, "--compress=none", "--dereference")
	content, err := os.ReadFile(wim)
	must(t, err)
	with := func(name string, change func([]byte) []byte) string {
		p := filepath.Join(t.TempDir(), name)
		must(t, os.WriteFile(p, change(slices.Clone(content)), 0o644))
		return p
	}
	split := filepath.Join(t.TempDir(), "install.swm")
	program(t, "wimlib-imagex", "split", wim, split, "1")
	second := strings.TrimSuffix(split, ".swm") + "2.swm"
	lone := filepath.Join(t.TempDir(), "install.swm")
	must(t, os.Link(split, lone))
	empty := t.TempDir()
	must(t, os.WriteFile(filepath.Join(empty, "readme.txt"), []byte("no Windows"), 0o644))
	notes := filepath.Join(t.TempDir(), "notes.iso")
	program(t, "genisoimage", "-quiet", "-udf", "-o", notes, empty)
	other := filepath.Join(t.TempDir(), "data.wim")
	program(t, "wimlib-imagex", "capture", empty, other, "data")
	bare := filepath.Join(t.TempDir(), "bare.wim")
	program(t, "wimlib-imagex", "capture", empty, bare, "Windows", "--image-property", "WINDOWS/ARCH=9")
	arm := filepath.Join(t.TempDir(), "arm.wim")
	program(t, "wimlib-imagex", "capture", empty, arm, "Windows", "--image-property", "WINDOWS/ARCH=12")

	var which *source.EditionError
	var failed *tool.Error
	for _, c := range []struct {
		name, path string
		w          source.Windows
		says       string
		is         func(error) bool
	}{
		{"no edition named", wim, source.Windows{}, "holds 2 editions", func(err error) bool { return errors.As(err, &which) && len(which.Editions) == 2 }},
		{"no such edition", wim, source.Windows{Edition: "Windows 12"}, "no edition \"Windows 12\"", func(err error) bool { return errors.As(err, &which) }},
		{"no such number", wim, source.Windows{Edition: "3"}, "no edition \"3\"", func(err error) bool { return errors.As(err, &which) }},
		{"too small", wim, source.Windows{Edition: "1", Size: 32 * mib}, "--size", is(source.ErrNoSpace)},
		{"cut short", with("cut.wim", func(b []byte) []byte { return b[:len(b)/2] }), source.Windows{Edition: "1"}, "cut.wim", func(err error) bool { return errors.As(err, &failed) }},
		{"cut in its header", with("head.wim", func(b []byte) []byte { return b[:20] }), source.Windows{Edition: "1"}, "head.wim", is(source.ErrCut)},
		{"a flipped bit", with("bad.wim", func(b []byte) []byte { b[len(b)/3] ^= 1; return b }), source.Windows{Edition: "1", Size: wimSize}, "bad.wim",
			func(err error) bool { return errors.As(err, &failed) }},
		{"language that is not there", wim, source.Windows{Edition: "1", Answers: unattend.Answers{Language: "fr-FR"}}, "only de-DE", is(unattend.ErrAnswer)},
		{"later part", second, source.Windows{Edition: "1"}, "name the first one", func(error) bool { return true }},
		{"part that is missing", lone, source.Windows{Edition: "1"}, "part 2 of", is(os.ErrNotExist)},
		{"disc of something else", notes, source.Windows{}, "no installation medium of Windows", is(source.ErrNoWindows)},
		{"archive of something else", other, source.Windows{}, "no Windows", is(source.ErrNoWindows)},
		{"Windows without files", bare, source.Windows{Size: wimSize}, "bare.wim", is(source.ErrNoWindows)},
		{"other processor", arm, source.Windows{Size: wimSize}, "ARM64", is(source.ErrNoWindows)},
	} {
		d, err := open(t, c.path, c.w)
		if d != nil || err == nil || !c.is(err) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", c.name, err, c.says)
		}
	}
}

func is(want error) func(error) bool { return func(err error) bool { return errors.Is(err, want) } }
