package golden

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"troy/diskwriter/ntfs"
	"troy/image"
	"troy/image/capture"
)

const (
	// reviewed is how many files and folders a review names.
	reviewed = 15
	// folderDepth is how deep the folders are that changes are added up in: `\Users\Anna`.
	folderDepth = 2
	// maxPath bounds the names above a file: folders could go in a circle.
	maxPath = 64
)

// Changed is how much of a file or folder was changed.
type Changed struct {
	Path  string `json:"path"`
	Bytes int64  `json:"bytes"`
}

// Review is what a capture changed, for the admin who is to sign it. Sizes are bytes.
type Review struct {
	// Bytes is the content of the pages that were sent, Dropped that of pages which were changed
	// and that nothing uses.
	Bytes   int64 `json:"bytes"`
	Dropped int64 `json:"dropped"`
	// Files and Folders are those in which most was changed, the first first; Folders two deep,
	// with all that is in them. Count is how many files were changed.
	Files   []Changed `json:"files"`
	Folders []Changed `json:"folders"`
	Count   int       `json:"count"`
	// Elsewhere is what lies in none of the files: other partitions, space between them.
	Elsewhere int64 `json:"elsewhere"`
	// Programs are those that came, went, or have another version.
	Programs []Program `json:"programs"`
	// Notes say what could not be looked at, and why.
	Notes []string `json:"notes,omitempty"`
}

// Review looks at what the capture changed. The error is that of ctx: what cannot be looked at is
// noted. It is for before Clear.
func (d *Disk) Review(ctx context.Context) (*Review, error) {
	r := &Review{Files: []Changed{}, Folders: []Changed{}, Programs: []Program{}}
	for i := range d.c.Pieces {
		r.Bytes += int64(d.c.Pieces[i].Data.Count()) * image.PageSize
		r.Dropped += int64(d.c.Pieces[i].Unused.Count()) * image.PageSize
	}
	r.Elsewhere = r.Bytes
	v, start, err := windowsOf(d, d.below.Size(), d.Below().SectorSize)
	if err != nil {
		r.note("which files changed is not known: %v", err)
		return r, ctx.Err()
	}
	w := &walker{d: d, v: v, start: start, paths: map[ntfs.Reference]string{}, folders: map[string]int64{}}
	if err := w.walk(ctx, r); err != nil {
		return nil, err
	}
	d.programs(r, v)
	return r, ctx.Err()
}

func (r *Review) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// walker adds up the changes of the files of a volume.
type walker struct {
	d       *Disk
	v       *ntfs.Volume
	start   int64 // of the volume on the disk
	root    ntfs.Reference
	paths   map[ntfs.Reference]string // of folders
	files   []Changed                 // the most changed, in order
	folders map[string]int64
}

func (w *walker) walk(ctx context.Context, r *Review) (err error) {
	if w.root, err = w.v.Root(); err != nil {
		r.note("which files changed is not known: %v", err)
		return nil
	}
	w.paths[w.root] = ""
	unread, err := w.v.Files(ctx, func(f *ntfs.FileInfo) error {
		if n := w.changed(f.Runs); n > 0 {
			r.Count, r.Elsewhere = r.Count+1, r.Elsewhere-n
			w.take(f, n)
		}
		return nil
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		r.note("not all files were looked at: %v", err)
	}
	if unread > 0 {
		r.note("%d records of the MFT could not be read", unread)
	}
	r.Files, r.Elsewhere = append(r.Files, w.files...), max(0, r.Elsewhere)
	for path, n := range w.folders {
		r.Folders = enter(r.Folders, Changed{path, n})
	}
	return nil
}

// changed returns how many bytes of clusters lie in pages of the capture.
func (w *walker) changed(runs []ntfs.Run) (n int64) {
	cluster := int64(w.v.Geometry().ClusterSize)
	for _, r := range runs {
		n += dataIn(w.d.c.Pieces, w.start+r.LCN*cluster, r.Length*cluster)
	}
	return n
}

// dataIn returns how many bytes of a range lie in pages that were sent.
func dataIn(pieces []capture.Masks, off, n int64) (sum int64) {
	i, _ := slices.BinarySearchFunc(pieces, off/image.RegionSize, func(m capture.Masks, r int64) int { return cmp.Compare(m.Region, r) })
	for ; i < len(pieces) && pieces[i].Region*image.RegionSize < off+n; i++ {
		first := pieces[i].Region * image.RegionSize
		lo, hi := max(off, first), min(off+n, first+image.RegionSize)
		for at := lo / image.PageSize * image.PageSize; at < hi; at += image.PageSize {
			if pieces[i].Data.Has(int(at-first) / image.PageSize) {
				sum += min(hi, at+image.PageSize) - max(lo, at)
			}
		}
	}
	return sum
}

// take enters a changed file.
func (w *walker) take(f *ntfs.FileInfo, n int64) {
	folder := w.folder(f.Parent, maxPath)
	path := folder + `\` + f.Name
	if f.Reference == w.root {
		path, folder = `\`, ""
	} else if f.Directory {
		folder = path
	}
	w.files = enter(w.files, Changed{path, n})
	if parts := strings.SplitN(folder, `\`, folderDepth+2); len(parts) > folderDepth+1 {
		folder = strings.Join(parts[:folderDepth+1], `\`)
	}
	w.folders[cmp.Or(folder, `\`)] += n
}

// folder returns the path of a folder.
func (w *walker) folder(ref ntfs.Reference, depth int) string {
	if path, ok := w.paths[ref]; ok {
		return path
	}
	path := `\?`
	if parent, name, err := w.v.NameOf(ref); err == nil && depth > 0 {
		path = w.folder(parent, depth-1) + `\` + name
	}
	w.paths[ref] = path
	return path
}

// enter puts c into a list of those with the most bytes.
func enter(list []Changed, c Changed) []Changed {
	at, _ := slices.BinarySearchFunc(list, c, func(a, b Changed) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), strings.Compare(a.Path, b.Path))
	})
	if at == reviewed {
		return list
	}
	list = slices.Insert(list, at, c)
	return list[:min(len(list), reviewed)]
}
