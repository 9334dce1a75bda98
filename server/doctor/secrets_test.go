package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troy/image"
	"troy/image/fields"
	"troy/image/publish"
	"troy/internal/testing/imagetest"
	"troy/server/rooms"
	"troy/server/servedir"
)

// TestSecrets: a version whose files users can read is named, once for all its machines, and only
// where one of them has a secret for that file.
func TestSecrets(t *testing.T) {
	s := imagetest.NewStore(t)
	now := imagetest.First(imagetest.Seeded(t, 1), 16)
	field := func(at int64, kind, name, where string, private bool) image.Field {
		return image.Field{Kind: kind, Name: name, Where: where, Private: private, At: []image.Range{{Offset: at, Length: 100}}, Pages: []image.Sum{{1}}}
	}
	publishFields := func(before *imagetest.State, private bool) {
		imagetest.Publish(t, s, now, before, &publish.Options{Fields: []image.Field{
			field(0, image.FieldFile, fields.MachineFile, `\Troy\machine.json`, private), field(image.PageSize, image.FieldAnswers, fields.AnswerFile, `\Windows\Panther\unattend.xml`, true),
		}}, false)
	}
	publishFields(nil, false)
	publishFields(now, true)
	path := filepath.Join(t.TempDir(), "lab.yaml")
	serve := servedir.Of(s.String())
	if err := serve.Make(); err != nil {
		t.Fatal(err)
	}
	if err := serve.SetLab(path); err != nil {
		t.Fatal(err)
	}
	list := func(version int) (all []rooms.Host) {
		for _, name := range []string{"pc-01", "pc-02"} {
			all = append(all, rooms.Host{Name: name, Room: "B204", WantImage: "pc", WantVersion: version})
		}
		return all
	}
	for _, c := range []struct {
		name, secrets string
		version       int
		want          string
	}{
		{"none", "{}", 1, ""},
		{"machine.json for users", "{vpn: vpn.txt}", 1, `look secrets no secret goes into C:\Troy\machine.json of pc version 1 (pc-01, pc-02): users of the PC can read it → run 'icacls C:\Troy\machine.json /inheritance:r `},
		{"answers", `{"specialize/A/B": b.txt}`, 1, "ok secrets users of the PCs cannot read"},
		{"private", "{vpn: vpn.txt}", 2, "ok secrets users of the PCs cannot read"},
		{"no such version", "{vpn: vpn.txt}", 3, ""},
	} {
		text := "format: 1\nzone: UTC\nunknown: code\nrooms:\n  B204: {always: true, identity: wanted, secrets: " + c.secrets + "}\n"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if labOf(s.String()) == nil {
			t.Fatal("lab.yaml is not valid")
		}
		got := ""
		for _, f := range checkSecrets(t.Context(), s.String(), list(c.version)) {
			got += strings.Join(strings.Fields(f.String()), " ") + "\n"
		}
		if (c.want == "") != (got == "") || !strings.HasPrefix(got, c.want) || strings.Count(got, "\n") > 1 {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
