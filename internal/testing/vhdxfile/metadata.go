package vhdxfile

import "troy/internal/guid"

// item is an entry of the metadata table (MS-VHDX 2.6.1.2).
type item struct {
	id      string
	virtual bool // describes the virtual disk
	b       []byte
}

// metadata returns the content of the region.
func metadata(d *disk) []byte {
	params := le.AppendUint32(nil, uint32(d.block))
	switch {
	case d.fixed:
		params = append(params, 1, 0, 0, 0)
	case d.parent != "":
		params = append(params, 2, 0, 0, 0)
	default:
		params = append(params, 0, 0, 0, 0)
	}
	whose := d // a child has the identity of its parent
	if d.parent != "" {
		whose = &disk{name: d.parent}
	}
	items := []item{
		{"CAA16737-FA36-4D43-B3B6-33F0AA44E76B", false, params},
		{"2FA54224-CD1B-4876-B211-5DBED83BF4B8", true, le.AppendUint64(nil, uint64(d.size))},
		{"8141BF1D-A96F-4709-BA47-F233A8FAAB5F", true, le.AppendUint32(nil, 512)},
		{"CDA348C7-445D-4471-9CC9-E9885251C556", true, le.AppendUint32(nil, d.physical)},
		{"BECA12AB-B2E6-4523-93EF-C309E000C746", true, whose.guid("virtual disk")},
	}
	if d.parent != "" {
		items = append(items, item{"A8D35F2D-B30B-454D-ABF7-D3D84834AB0C", false, locator(d)})
	}
	b := make([]byte, 64*kib, mib)
	copy(b, "metadata")
	le.PutUint16(b[10:], uint16(len(items)))
	for i, it := range items {
		e := b[32*(i+1):]
		g := guid.Must(it.id)
		copy(e, g[:])
		le.PutUint32(e[16:], uint32(len(b)))
		le.PutUint32(e[20:], uint32(len(it.b)))
		e[24] = 4 // required
		if it.virtual {
			e[24] |= 2
		}
		b = append(b, it.b...)
	}
	return b[:mib]
}

// locator has the keys of Windows 10 in its order.
func locator(d *disk) []byte {
	folder := `Projects\test_data\` + d.parent
	pairs := [][2]string{
		{"parent_linkage", "{" + guid.GUID((&disk{name: d.parent}).guid("data write")).String() + "}"},
		{"absolute_win32_path", `C:\` + folder},
		{"relative_path", `.\` + d.parent},
		{"volume_path", `\\?\Volume{5e0bd954-71b2-4bff-a928-082af7ab0f8f}\` + folder},
		{"parent_linkage2", "{" + guid.GUID{}.String() + "}"},
	}
	g := guid.Must("B04AEFB7-D19E-4A81-B789-25B8E9445913")
	b := make([]byte, 20+12*len(pairs))
	copy(b, g[:])
	le.PutUint16(b[18:], uint16(len(pairs)))
	for i, p := range pairs {
		k, v := utf16le(p[0]), utf16le(p[1])
		e := b[20+12*i:]
		le.PutUint32(e, uint32(len(b)))
		le.PutUint32(e[4:], uint32(len(b)+len(k)))
		le.PutUint16(e[8:], uint16(len(k)))
		le.PutUint16(e[10:], uint16(len(v)))
		b = append(append(b, k...), v...)
	}
	return b
}
