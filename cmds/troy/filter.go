package main

import (
	"context"
	"errors"
	"io"
	"strings"

	"troy/diskwriter/ntfs"
	"troy/image"
	"troy/image/unused"
)

// windowsFiles are the files whose content Windows makes anew at each start.
var windowsFiles = [...]string{`\pagefile.sys`, `\swapfile.sys`, `\hiberfil.sys`}

// unusedPages is the filter of everything that is published: it asks the agent's own NTFS reader.
func unusedPages() image.Filter { return unused.Filter{Open: readNTFS} }

// readNTFS tells the filter about one volume. It must never call a cluster free that a file holds: whatever is in doubt is an error or Unclean, and
// the volume is published whole. A Windows on the volume is what is looked for here, not a reason to stay away.
func readNTFS(_ context.Context, r io.ReaderAt, size int64) (*unused.Volume, error) {
	v, err := ntfs.Open(r, size)
	if err != nil {
		return nil, err
	}
	// Judge ends at the first reason to stay away, and the folder Windows is one: the state of the volume is asked for by itself.
	switch d := v.Judge(); {
	case errors.Is(d.Err, ntfs.ErrHibernated):
		return &unused.Volume{Hibernated: true}, nil
	case d.Err != nil && !errors.Is(d.Err, ntfs.ErrSecondWindows):
		return nil, d.Err
	}
	info, err := v.Info()
	if err != nil {
		return nil, err
	}
	if reasons := uncleanness(info, v.Log()); len(reasons) > 0 {
		return &unused.Volume{Unclean: strings.Join(reasons, "; ")}, nil
	}
	free, err := v.FreeRuns()
	if err != nil {
		return nil, err
	}
	cluster := int64(v.Geometry().ClusterSize)
	out := &unused.Volume{Free: bytesOf(free, cluster)}
	for _, name := range windowsFiles {
		if f, err := v.Map(readOnlyVolume{r}, name); err == nil { // absent, or not to be trusted: its content counts
			out.Files = append(out.Files, bytesOf(f.Runlist(), cluster))
		}
	}
	return out, nil
}

func uncleanness(info ntfs.VolumeInfo, log ntfs.LogInfo) (reasons []string) {
	if info.Dirty() {
		reasons = append(reasons, "dirty flag is set")
	}
	if !log.Clean() {
		reasons = append(reasons, log.String())
	}
	return reasons
}

func bytesOf(runs []ntfs.Run, cluster int64) []image.Range {
	list := make([]image.Range, 0, len(runs))
	for _, r := range runs {
		if !r.Hole() {
			list = append(list, image.Range{Offset: r.LCN * cluster, Length: r.Length * cluster})
		}
	}
	return list
}

// readOnlyVolume is a volume that nothing is written to.
type readOnlyVolume struct{ io.ReaderAt }

// WriteAt refuses.
func (readOnlyVolume) WriteAt([]byte, int64) (int, error) { return 0, errors.ErrUnsupported }

// Sync has nothing to do.
func (readOnlyVolume) Sync() error { return nil }
