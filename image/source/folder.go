package source

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Names of the files that hold NTFS volumes: of Clonezilla, and of FOG.
var (
	clonezilla = regexp.MustCompile(`^(.+)\.ntfs-ptcl-img(\.[a-z0-9]+)?(\.[a-z]{2,3})?$`)
	fog        = regexp.MustCompile(`^(d[0-9]+p[0-9]+)\.img(\.[0-9]{3})?$`)
)

// folder finds the volume with Windows in the folder of an image of Clonezilla or FOG: the largest
// of its NTFS volumes.
func folder(dir string) (Source, error) {
	volumes, err := volumesIn(dir)
	if err != nil {
		return nil, err
	}
	var best partclone
	var most int64
	var found []string
	for _, name := range slices.Sorted(maps.Keys(volumes)) {
		p := partclone{files: volumes[name]}
		h, err := p.header(context.Background())
		switch {
		case errors.Is(err, ErrUnknown): // FOG keeps small partitions as they are
			continue
		case err != nil:
			return nil, err
		case !strings.EqualFold(h.fs, "NTFS"):
			continue
		}
		if found = append(found, name); h.used > most {
			best, most = p, h.used
		}
	}
	if len(best.files) == 0 {
		return nil, fmt.Errorf("%w: the folder %s holds no partclone image of an NTFS volume, as Clonezilla and FOG write them", ErrUnknown, dir)
	}
	if len(found) > 1 {
		best.notes = append(best.notes, fmt.Sprintf("of the NTFS volumes in the folder (%s) the largest was taken, %s",
			strings.Join(found, ", "), filepath.Base(best.files[0])))
	}
	return best, nil
}

// volumesIn lists the files of each volume in a folder, in their order.
func volumesIn(dir string) (map[string][]string, error) {
	list, err := os.ReadDir(dir) // sorted, and so are the ends of names
	if err != nil {
		return nil, err
	}
	volumes := map[string][]string{}
	for _, e := range list {
		for _, pattern := range []*regexp.Regexp{clonezilla, fog} {
			if m := pattern.FindStringSubmatch(e.Name()); m != nil && e.Type().IsRegular() {
				volumes[m[1]] = append(volumes[m[1]], filepath.Join(dir, e.Name()))
			}
		}
	}
	return volumes, nil
}
