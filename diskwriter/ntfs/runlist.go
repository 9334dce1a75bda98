package ntfs

import (
	"cmp"
	"slices"
)

// Run is a piece of a file that is contiguous on the volume, in clusters. LCN is -1
// for a hole of a sparse file.
type Run struct {
	LCN    int64 `json:"lcn"`
	Length int64 `json:"length"`
}

// Hole reports whether no clusters stand behind the run.
func (r Run) Hole() bool { return r.LCN < 0 }

// decodeRuns decodes mapping pairs that must hold exactly want clusters of a volume
// of the given number of clusters, and end with a zero byte.
func decodeRuns(b []byte, want, clusters int64) ([]Run, error) {
	var runs []Run
	var lcn, total int64
	bad := func(at int, format string, a ...any) ([]Run, error) {
		return nil, corrupt("mapping pairs", at, format, a...)
	}
	for i := 0; ; {
		if i >= len(b) {
			return bad(i, "no end")
		}
		if b[i] == 0 {
			break
		}
		nl, no := int(b[i]&15), int(b[i]>>4)
		if nl == 0 || nl > 8 || no > 8 || i+1+nl+no > len(b) {
			return bad(i, "header %#x", b[i])
		}
		length, delta := signed(b[i+1:][:nl]), signed(b[i+1+nl:][:no])
		if length <= 0 || length > want-total {
			return bad(i, "run of %d clusters where %d are left", length, want-total)
		}
		r := Run{LCN: -1, Length: length}
		if no > 0 {
			// Both are below 2^63 in magnitude, so a sum that wraps turns negative.
			lcn += delta
			if lcn < 0 || lcn >= clusters || length > clusters-lcn {
				return bad(i, "clusters %d+%d outside the volume of %d", lcn, length, clusters)
			}
			r.LCN = lcn
		}
		runs = append(runs, r)
		total += length
		i += 1 + nl + no
	}
	if total != want {
		return bad(-1, "%d clusters instead of %d", total, want)
	}
	return runs, nil
}

// signed decodes a little-endian two's complement number of len(b) bytes (0 to 8).
func signed(b []byte) int64 {
	if len(b) == 0 {
		return 0
	}
	v := int64(int8(b[len(b)-1]))
	for i := len(b) - 2; i >= 0; i-- {
		v = v<<8 | int64(b[i])
	}
	return v
}

// mergeRuns joins neighbours that continue each other on the volume.
func mergeRuns(runs []Run) []Run {
	var out []Run
	for _, r := range runs {
		if n := len(out) - 1; n >= 0 && (out[n].Hole() && r.Hole() ||
			!out[n].Hole() && out[n].LCN+out[n].Length == r.LCN) {
			out[n].Length += r.Length
			continue
		}
		out = append(out, r)
	}
	return out
}

// overlapping returns a run of which some cluster is claimed twice in all lists.
func overlapping(lists ...[]Run) (Run, bool) {
	var all []Run
	for _, l := range lists {
		for _, r := range l {
			if !r.Hole() {
				all = append(all, r)
			}
		}
	}
	slices.SortFunc(all, func(a, b Run) int { return cmp.Compare(a.LCN, b.LCN) })
	for i := 1; i < len(all); i++ {
		if all[i].LCN < all[i-1].LCN+all[i-1].Length {
			return all[i], true
		}
	}
	return Run{}, false
}
