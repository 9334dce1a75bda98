package onwindows

import "strings"

// Places of a page file, in a record.
const (
	inBootChild = "boot child"
	onHost      = "host"
	elsewhere   = "other"
)

// pageFileVolume is the mount point of a page file's volume: C:\ of \??\C:\pagefile.sys, and
// \\?\Volume{…}\ of one without a letter; "": it is none of these.
func pageFileVolume(path string) string {
	for _, prefix := range []string{`\??\`, `\\?\`, `\\.\`} {
		path = strings.TrimPrefix(path, prefix)
	}
	volume, _, found := strings.Cut(path, `\`)
	switch {
	case !found:
		return ""
	case len(volume) == 2 && volume[1] == ':':
		return strings.ToUpper(volume) + `\`
	case strings.HasPrefix(strings.ToLower(volume), "volume{"):
		return `\\?\` + volume + `\`
	}
	return ""
}

// pageFilePlace tells where a page file is, by the GUID paths of its volume, that of drive C and
// that of the host; "" is not known, and equals nothing.
func pageFilePlace(volume, system, host string) string {
	switch {
	case volume == "":
		return elsewhere
	case strings.EqualFold(volume, system):
		return inBootChild
	case strings.EqualFold(volume, host):
		return onHost
	}
	return elsewhere
}
