package unused

import (
	"context"
	"errors"
	"fmt"
	"io"

	"troy/diskwriter/ntfs"
	"troy/image"
)

// windowsFiles are the files whose content Windows makes again at each start.
var windowsFiles = [...]string{`\pagefile.sys`, `\swapfile.sys`, `\hiberfil.sys`}

// readNTFS is an opener that asks the strict NTFS reader which also finds the agent's files.
// Whatever it is in doubt about is an error or Unclean, and the volume is published whole. A
// Windows on the volume is what is looked for here, not a reason to stay away.
func readNTFS(_ context.Context, r io.ReaderAt, size int64) (*volume, error) {
	v, err := ntfs.Open(r, size)
	if err != nil {
		return nil, err
	}
	d := v.Judge().Except(ntfs.ErrSecondWindows)
	switch {
	case errors.Is(d.Err, ntfs.ErrHibernated):
		return &volume{Hibernated: true}, nil
	case d.Condition == ntfs.Refused:
		return nil, d.Err
	case d.Condition == ntfs.Unclean:
		return &volume{Unclean: d.Unclean()}, nil
	}
	switch shadowed, err := v.ShadowCopies(); {
	case err != nil:
		return nil, err
	case shadowed:
		return &volume{Shadowed: true}, nil
	}
	free, err := v.FreeRuns()
	if err != nil {
		return nil, err
	}
	cluster := int64(v.Geometry().ClusterSize)
	out := &volume{Free: bytesOf(free, cluster)}
	for _, name := range windowsFiles {
		runs, err := v.Runs(name)
		switch {
		case err == nil:
			out.Files = append(out.Files, bytesOf(runs, cluster))
		case !errors.Is(err, ntfs.ErrNotExist):
			out.Notes = append(out.Notes, fmt.Sprintf("counts as a whole: %v", err))
		}
	}
	return out, nil
}

// bytesOf leaves out holes: nothing stands behind them.
func bytesOf(runs []ntfs.Run, cluster int64) []image.Range {
	list := make([]image.Range, 0, len(runs))
	for _, r := range runs {
		if !r.Hole() {
			list = append(list, image.Range{Offset: r.LCN * cluster, Length: r.Length * cluster})
		}
	}
	return list
}
