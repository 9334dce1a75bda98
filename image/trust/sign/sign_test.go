package sign_test

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/theupdateframework/go-tuf/v2/metadata/config"
	"github.com/theupdateframework/go-tuf/v2/metadata/updater"

	"troy/image"
	"troy/image/publish"
	"troy/image/trust/sign"
	"troy/internal/testing/trusttest"
)

// TestWholeWay: what is signed is seen, what is only published is not, and metadata does not grow
// without end.
func TestWholeWay(t *testing.T) {
	m := trusttest.NewRoom(t, nil)
	root, mem := m.Root(), &trusttest.Memory{}
	m.WantVersion(1, root, mem, trusttest.Start)
	m.Publish()
	m.WantVersion(1, root, mem, trusttest.Start) // not signed yet: the version before is whole
	m.Sign(trusttest.Start)
	m.WantVersion(2, root, mem, trusttest.Start)
	if changed, err := m.Repo.SignAll(t.Context(), m.Store, trusttest.Start); changed || err != nil {
		t.Errorf("signing the same again: %v, %v", changed, err)
	}
	for range 12 {
		m.Publish()
		m.Sign(trusttest.Start)
	}
	m.WantVersion(14, root, mem, trusttest.Start)
	if n := len(m.Files()); n > 30 {
		t.Errorf("%d files of metadata after 14 versions", n)
	}
	m.Must(publish.Remove(t.Context(), m.Store, "pc", 14))
	m.Sign(trusttest.Start)
	if _, err := publish.GC(t.Context(), m.Store); err != nil {
		t.Fatal(err)
	}
	m.WantVersion(13, root, mem, trusttest.Start)
}

// TestForeignClient reads the repository with the client that comes with go-tuf, over HTTP.
func TestForeignClient(t *testing.T) {
	m := trusttest.NewRoom(t, nil)
	root := m.Root()
	m.Must(m.Repo.Rotate(t.Context(), m.Store, sign.Admin, trusttest.Start))
	m.Publish()
	m.Sign(trusttest.Start)
	hs := httptest.NewServer(http.FileServer(http.Dir(m.Dir)))
	defer hs.Close()
	cfg, err := config.New(hs.URL+"/"+trusttest.Folder, root)
	m.Must(err)
	cfg.LocalMetadataDir, cfg.LocalTargetsDir = t.TempDir(), t.TempDir()
	cfg.RemoteTargetsURL, cfg.PrefixTargetsWithHash = hs.URL+"/"+trusttest.Folder+"/targets", true
	u, err := updater.New(cfg)
	m.Must(err)
	u.UnsafeSetRefTime(trusttest.Start)
	m.Must(u.Refresh())
	info, err := u.GetTargetInfo(image.IndexName("pc"))
	m.Must(err)
	_, got, err := u.DownloadTarget(info, filepath.Join(t.TempDir(), "index"), "")
	m.Must(err)
	if want, err := m.Store.Get(t.Context(), image.IndexName("pc"), 1<<20); err != nil || !bytes.Equal(got, want) {
		t.Errorf("go-tuf's client reads %q, %v", got, err)
	}
	for _, name := range []string{"images/pc/1.json", "images/pc/2.json"} {
		if _, err := u.GetTargetInfo(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDoubtOnce: an error says once that the store is not what was signed, wherever that was found.
func TestDoubtOnce(t *testing.T) {
	m := trusttest.NewRoom(t, nil)
	at := filepath.Join(m.Store.String(), trusttest.Folder, "timestamp.json")
	m.Must(errors.Join(os.Remove(at), os.Mkdir(at, 0o755)))
	_, err := m.Repo.SignAll(t.Context(), m.Store, trusttest.Start)
	if !errors.Is(err, sign.ErrDoubt) || strings.Count(err.Error(), sign.ErrDoubt.Error()) != 1 {
		t.Errorf("%v", err)
	}
}
