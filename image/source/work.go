package source

import "troy/vhdx"

// Work returns how many bytes publishing the disk reads, for a meter: of what the leaf of a chain
// holds, and of all data. They are 0 if that cannot be told.
func (d *Disk) Work() (changed, data int64) {
	if d.Chain != nil {
		return chainWork(d.Chain)
	}
	for r, err := range d.Data {
		if err != nil {
			return 0, 0
		}
		data += r.Length
	}
	return data, data
}

func chainWork(c *vhdx.Chain) (changed, data int64) {
	single := len(c.Files()) == 1
	for e, err := range c.Extents(0, c.Size()) {
		if err != nil {
			return 0, 0
		}
		if e.Kind == vhdx.Data {
			data += e.Length
		}
		if e.Layer == 0 && (!single || e.Kind == vhdx.Data) {
			changed += e.Length
		}
	}
	return changed, data
}
