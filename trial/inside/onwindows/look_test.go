package onwindows

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"troy/internal/utf16le"
)

const shown = `<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System><Provider Name='disk'/><EventID Qualifiers='32772'>153</EventID>` +
	`<Level>3</Level><TimeCreated SystemTime='2026-11-30T10:00:00.0Z'/></System><EventData><Data>\Device\Harddisk0\DR0</Data><Binary>0F01</Binary></EventData>` +
	`<RenderingInfo Culture='en-US'><Message>The IO operation at logical block address 0x1 for Disk 0
was   retried.</Message><Level>Warning</Level></RenderingInfo></Event>`

const bare = `<Event><System><Provider Name='Ntfs' Guid='{1}'/><EventID>55</EventID><Level>2</Level></System><EventData><Data Name='DriveName'>C:</Data>` +
	`<Data>x &amp; y</Data></EventData></Event>`

const umlaut = `<Event><System><Provider Name='volmgr'/><EventID>46</EventID><Level>2</Level></System><EventData><Data>größer</Data></EventData></Event>`

// What wevtutil prints becomes a line for each event; equal ones are counted.
func TestEvents(t *testing.T) {
	const disk, ntfs = "disk 153 (warning): The IO operation at logical block address 0x1 for Disk 0 was retried.", "Ntfs 55 (error): C: x & y"
	for name, c := range map[string]struct {
		printed string
		want    []string
		fails   bool
	}{
		"none":   {"", nil, false},
		"blank":  {"\r\n", nil, false},
		"two":    {shown + "\r\n" + bare, []string{disk, ntfs}, false},
		"equal":  {shown + bare + shown, []string{"2 times: " + disk, ntfs}, false},
		"UTF-16": {string(utf16le.Append(nil, shown+"\r\n"+umlaut)), []string{disk, "volmgr 46 (error): größer"}, false},
		"marked": {"\xff\xfe" + string(utf16le.Append(nil, umlaut)), []string{"volmgr 46 (error): größer"}, false},
		"OEM":    {strings.ReplaceAll(umlaut, "ö", "\x94"), []string{"volmgr 46 (error): gr\ufffdßer"}, false},
		"cut":    {shown + bare[:100], []string{disk}, true},
		"no XML": {"Failed to read events.", nil, false}, // the program fails by its exit code
	} {
		got, err := events([]byte(c.printed))
		if !slices.Equal(got, c.want) || (err != nil) != c.fails {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	q := query(90 * time.Second)
	if !strings.Contains(q, "@Name='disk' or @Name='Ntfs'") || !strings.Contains(q, "timediff(@SystemTime) <= 90000]") || strings.Count(q, "[") != strings.Count(q, "]") {
		t.Error(q)
	}
}

func FuzzEvents(f *testing.F) {
	f.Add([]byte(shown + bare))
	f.Add([]byte(bare[:100]))
	f.Add(utf16le.Append(nil, umlaut))
	f.Add([]byte("<Event><System><Provider Name='a\nb'/></System></Event>"))
	f.Fuzz(func(t *testing.T, b []byte) {
		lines, _ := events(b)
		for _, line := range lines {
			if strings.ContainsAny(line, "\r\n\t") {
				t.Errorf("%q is more than a line", line)
			}
		}
	})
}

func TestPageFiles(t *testing.T) {
	const volume, host, other = `\\?\Volume{11111111-1111-1111-1111-111111111111}\`, `\\?\Volume{22222222-2222-2222-2222-222222222222}\`, `\\?\Volume{3}\`
	for path, want := range map[string]string{
		`\??\C:\pagefile.sys`: `C:\`, `\??\d:\x\pagefile.sys`: `D:\`, `C:\pagefile.sys`: `C:\`,
		`\??\Volume{11111111-1111-1111-1111-111111111111}\pagefile.sys`: volume, `\\?\Volume{3}\pagefile.sys`: other,
		`\Device\HarddiskVolume3\pagefile.sys`: "", "": "", "?:": "", `C`: "",
	} {
		if got := pageFileVolume(path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	for _, c := range [][4]string{{volume, volume, host, inBootChild}, {strings.ToUpper(host), volume, host, onHost}, {other, volume, host, elsewhere},
		{"", "", "", elsewhere}, {other, volume, "", elsewhere}} {
		if got := pageFilePlace(c[0], c[1], c[2]); got != c[3] {
			t.Errorf("%q: %s", c, got)
		}
	}
}

func TestTryHost(t *testing.T) {
	var tried []string
	box, opened, n := tryHost(`\\?\Volume{1}\`, func(path string) error {
		tried = append(tried, path)
		if strings.HasSuffix(path, "layer-b.vhdx") {
			return nil
		}
		return errors.New("in use")
	})
	if box != "in use" || !slices.Equal(opened, []string{"layer-b.vhdx"}) || n != 4 || tried[0] != `\\?\Volume{1}\Troy\mailbox` || len(tried) != 5 {
		t.Errorf("%s, %q, %d, %q", box, opened, n, tried)
	}
}

func TestServiceCommand(t *testing.T) {
	if got := ServiceCommand(); got != `C:\Troy\GATES.EXE up --service` {
		t.Error(got)
	}
}
