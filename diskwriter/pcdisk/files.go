package pcdisk

import (
	"cmp"
	"fmt"
	"slices"

	"troy/diskwriter/machine"
	"troy/diskwriter/ntfs"
)

// Folder is the directory of Troy's files on the data volume.
const Folder = `\Troy\`

// Names of the files in Folder.
const (
	Base    = machine.BaseName
	LayerA  = machine.LayerAName
	LayerB  = machine.LayerBName
	Boot    = machine.BootName
	Journal = machine.JournalName
)

// Names returns the names of the files in Folder.
func Names() []string { return []string{Base, LayerA, LayerB, Boot, Journal} }

// Sizes is the size of every file in bytes by its name; each a positive multiple of
// 4 KiB. They are rounded up to whole clusters when those are larger.
type Sizes map[string]int64

// check returns the names, largest file first, or ErrSize.
func (s Sizes) check() ([]string, error) {
	var names []string
	for name, size := range s {
		if size <= 0 || size%ntfs.PageSize != 0 {
			return nil, fmt.Errorf("%s of %d bytes: %w", name, size, ErrSize)
		}
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(s[b], s[a]), cmp.Compare(a, b))
	})
	return names, nil
}

// mapFiles maps the named files of Folder to their clusters on the partition and checks that no two
// share any. Names that are not there are an error (ntfs.ErrNotExist).
func mapFiles(v *ntfs.Volume, part ntfs.Storage, names []string) (map[string]*ntfs.MappedFile, error) {
	files := make(map[string]*ntfs.MappedFile)
	var all []*ntfs.MappedFile
	for _, name := range names {
		f, err := v.Map(part, Folder+name)
		if err != nil {
			return nil, err
		}
		files[name] = f
		all = append(all, f)
	}
	return files, ntfs.CheckDisjoint(all...)
}

// place chooses clusters for every file, largest first: the smallest gap that holds
// the file whole, else the largest gaps one after the other. Files begin on whole MiB.
// free is what $Bitmap says, reserve the first cluster that may be taken.
func place(free []ntfs.Run, reserve, clusterSize int64, names []string, sizes Sizes) (map[string][]ntfs.Run, error) {
	align := max(1, mib/clusterSize)
	var gaps []ntfs.Run
	for _, g := range free {
		gaps = append(gaps, trim(g, reserve, align))
	}
	out := map[string][]ntfs.Run{}
	for _, name := range names {
		need := (sizes[name] + clusterSize - 1) / clusterSize
		for need > 0 {
			i := choose(gaps, need)
			if i < 0 {
				return nil, fmt.Errorf("%s: %d bytes do not fit: %w", name, need*clusterSize, ErrNoSpace)
			}
			n := min(need, gaps[i].Length)
			out[name] = append(out[name], ntfs.Run{LCN: gaps[i].LCN, Length: n})
			gaps[i] = trim(ntfs.Run{LCN: gaps[i].LCN + n, Length: gaps[i].Length - n}, 0, align)
			need -= n
		}
	}
	return out, nil
}

// trim moves the beginning of a gap to the reserve or behind, and to whole MiB.
func trim(g ntfs.Run, reserve, align int64) ntfs.Run {
	start := max(g.LCN, reserve)
	start = (start + align - 1) / align * align
	return ntfs.Run{LCN: start, Length: max(0, g.LCN+g.Length-start)}
}

// choose returns the smallest gap that holds need, else the largest, -1 when all are
// used up.
func choose(gaps []ntfs.Run, need int64) int {
	fit, largest := -1, -1
	for i, g := range gaps {
		if g.Length >= need && (fit < 0 || g.Length < gaps[fit].Length) {
			fit = i
		}
		if g.Length > 0 && (largest < 0 || g.Length > gaps[largest].Length) {
			largest = i
		}
	}
	if fit >= 0 {
		return fit
	}
	return largest
}
