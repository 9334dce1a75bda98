package golden

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"troy/chainload/regf"
	"troy/diskwriter/ntfs"
)

// softwarePath is the hive with the programs that are installed for all users.
const softwarePath = `\Windows\System32\config\SOFTWARE`

const (
	// wholeHive is the largest hive that is read whole, in bytes.
	wholeHive = 160 << 20
	// maxPrograms bounds how many programs are read of one hive.
	maxPrograms = 5000
)

// uninstallKeys are where programs say how they are removed.
var uninstallKeys = []string{
	`Microsoft\Windows\CurrentVersion\Uninstall`,
	`WOW6432Node\Microsoft\Windows\CurrentVersion\Uninstall`,
}

// Program is one that came (Was is empty), went (Now is empty), or has another version.
type Program struct {
	Name string `json:"name"`
	Was  string `json:"was,omitempty"`
	Now  string `json:"now,omitempty"`
}

// String says it in a few words.
func (p *Program) String() string {
	switch {
	case p.Was == "":
		return "new: " + p.Name + " " + p.Now
	case p.Now == "":
		return "gone: " + p.Name + " " + p.Was
	}
	return fmt.Sprintf("%s %s, was %s", p.Name, p.Now, p.Was)
}

// programs compares what is installed on the volume with Windows with what was in the version
// below.
func (d *Disk) programs(r *Review, v *ntfs.Volume) {
	now, err := installed(v)
	if err != nil {
		r.note("which programs changed is not known: %v", err)
		return
	}
	old, _, err := windowsOf(d.old, d.below.Size(), d.Below().SectorSize)
	var was map[string]string
	if err == nil {
		was, err = installed(old)
	}
	if err != nil {
		r.note("which programs changed is not known: the version below: %v", err)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(now)) {
		if was[name] != now[name] {
			r.Programs = append(r.Programs, Program{name, was[name], now[name]})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(was)) {
		if _, there := now[name]; !there {
			r.Programs = append(r.Programs, Program{Name: name, Was: was[name]})
		}
	}
}

// noVersion stands for the version of a program that tells none.
const noVersion = "(no version)"

// installed returns the versions of the programs that a volume with Windows has, by their names.
func installed(v *ntfs.Volume) (map[string]string, error) {
	file, err := v.OpenFile(softwarePath)
	if err != nil {
		return nil, err
	}
	hive, err := regf.Load(file, file.Size(), wholeHive)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", softwarePath, err)
	}
	if hive.Dirty() {
		return nil, fmt.Errorf("%s was not closed in order", softwarePath)
	}
	list := map[string]string{}
	for _, key := range uninstallKeys {
		names, err := hive.Keys(key)
		if errors.Is(err, regf.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", softwarePath, err)
		}
		for _, name := range names[:min(len(names), maxPrograms)] {
			addProgram(list, hive, key+`\`+name)
		}
	}
	return list, nil
}

// addProgram enters the program of a key. What shows no name, and parts of Windows, are left out,
// as Windows does.
func addProgram(list map[string]string, hive *regf.Reader, key string) {
	if v, err := hive.Value(key, "SystemComponent"); err == nil {
		if n, ok := v.Number(); ok && n == 1 {
			return
		}
	}
	if name := textOf(hive, key, "DisplayName"); name != "" {
		list[name] = cmp.Or(textOf(hive, key, "DisplayVersion"), noVersion)
	}
}

func textOf(hive *regf.Reader, key, name string) string {
	v, err := hive.Value(key, name)
	if err != nil {
		return ""
	}
	text, err := v.Text()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(text)
}
