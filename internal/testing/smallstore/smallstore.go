// Package smallstore makes a signed store with two versions of a small image in a fraction of a
// second: enough for tests of what serves a store, not of what is in it.
package smallstore

import (
	"bytes"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"
	"troy/image/publish"
	"troy/image/trust"
	"troy/image/trust/sign"
	"troy/server/certs"
	"troy/server/servedir"

	"troy/image"
)

// Image is the name of the image in the store.
const Image = "pc"

const (
	disk    = 1 << 20 // bytes
	changed = 16      // pages of version 2 that version 1 does not have
	moved   = 8       // pages of version 2 that version 1 has elsewhere
)

// Make makes the store DIR/store with the versions 1 and 2 of Image, and returns its path. Version
// 2 has pages that are new and pages that version 1 has at another place.
func Make(t testing.TB, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "store")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	store, err := publish.Init(path)
	must(err)
	repo, err := sign.Init(path, time.Now(), nil)
	must(err)
	noise := rand.NewChaCha8([32]byte{1})
	content := make([]byte, disk)
	noise.Read(content[:disk/2])
	v1 := version("11111111-1111-4111-8111-111111111111", content)
	_, err = publish.Import(t.Context(), store, Image, v1, nil)
	must(err)
	content = bytes.Clone(content)
	noise.Read(content[:changed*image.PageSize])
	copy(content[disk/2:], content[disk/4:][:moved*image.PageSize])
	v2 := version("22222222-2222-4222-8222-222222222222", content)
	_, err = publish.Add(t.Context(), store, Image, publish.CompareDisk(v2, v1), nil)
	must(err)
	_, err = repo.SignAll(t.Context(), store, time.Now())
	must(err)
	must(servedir.Of(path).Make())
	key, _, err := certs.LoadKey(servedir.Of(path).TLSKey())
	must(err)
	name, err := key.Name()
	must(err)
	must(repo.SetServers(t.Context(), store, []trust.Server{{Key: name}}, time.Now()))
	return path
}

func version(id string, content []byte) *publish.Disk {
	return &publish.Disk{Reader: bytes.NewReader(content), Size: int64(len(content)), SectorSize: 512, DataWriteGUID: id}
}
