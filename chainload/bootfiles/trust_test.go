package bootfiles

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"math/big"
	"os"
	"testing"
	"testing/fstest"
	"time"

	"troy/internal/guid"
)

// certificate makes one with that common name.
func certificate(t testing.TB, name string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name, Organization: []string{"Microsoft Corporation"}},
		NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	must(t, err)
	return der
}

// list makes an EFI_SIGNATURE_LIST.
func list(kind guid.GUID, header int, data ...[]byte) []byte {
	var body []byte
	for _, d := range data {
		owner := guid.New()
		body = append(append(body, owner[:]...), d...)
	}
	le := binary.LittleEndian
	b := bytes.Clone(kind[:])
	b = le.AppendUint32(b, uint32(28+header+len(body)))
	b = le.AppendUint32(b, uint32(header))
	b = le.AppendUint32(b, uint32(16+len(data[0])))
	return append(append(b, make([]byte, header)...), body...)
}

func variable(lists ...[]byte) *fstest.MapFile {
	return &fstest.MapFile{Data: append([]byte{0x27, 0, 0, 0}, bytes.Join(lists, nil)...)}
}

func TestReadTrust(t *testing.T) {
	sha := guid.GUID{0x26, 0x16, 0xc4, 0xc1, 0x4c, 0x50, 0x92, 0x40, 0xac, 0xa9, 0x41, 0xf9, 0x36, 0x93, 0x43, 0x28}
	hashes := list(sha, 0, make([]byte, 32), make([]byte, 32))
	old, newer, other := list(typeX509, 0, certificate(t, pca2011)), list(typeX509, 8, certificate(t, ca2023)), list(typeX509, 0, certificate(t, "Vendor"))
	odd := list(typeX509, 0, []byte("not a certificate"))
	on, off := &fstest.MapFile{Data: []byte{6, 0, 0, 0, 1}}, &fstest.MapFile{Data: []byte{6, 0, 0, 0, 0}}
	for name, c := range map[string]struct {
		vars fstest.MapFS
		want Trust
		err  error
	}{
		"no variables": {fstest.MapFS{}, Trust{}, nil},
		"both":         {fstest.MapFS{variableSecureBoot: on, variableDB: variable(old, odd, other, newer), variableDBX: variable(hashes)}, Trust{true, true, true, false}, nil},
		"off":          {fstest.MapFS{variableSecureBoot: off, variableDB: variable(hashes, old)}, Trust{false, true, false, false}, nil},
		"revoked":      {fstest.MapFS{variableSecureBoot: on, variableDB: variable(old, newer), variableDBX: variable(hashes, old)}, Trust{true, false, true, true}, nil},
		"cut off":      {fstest.MapFS{variableDB: variable(old[:len(old)-1])}, Trust{}, ErrSignatures},
		"rest":         {fstest.MapFS{variableDBX: variable(old, []byte{1})}, Trust{}, ErrSignatures},
	} {
		have, err := ReadTrust(c.vars)
		if have != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %+v, %v", name, have, err)
		}
	}
}

// TestRealDB reads the keys of Microsoft out of the variables that come with OVMF.
func TestRealDB(t *testing.T) {
	b, err := os.ReadFile("/usr/share/OVMF/OVMF_VARS_4M.ms.fd")
	must(t, err)
	db := ovmfVariable(t, b, "db")
	list, err := parseSignatures(db)
	must(t, err)
	if len(list) < 2 || ovmfVariable(t, b, "dbx") == nil {
		t.Fatalf("%d signatures in db", len(list))
	}
	trust, err := ReadTrust(fstest.MapFS{variableDB: variable(db), variableDBX: variable(ovmfVariable(t, b, "dbx"))})
	if err != nil || !trust.pca2011 || trust.revoked {
		t.Errorf("%+v, %v", trust, err)
	}
}

// ovmfVariable finds an authenticated variable in a store of EDK2 (AUTHENTICATED_VARIABLE_HEADER:
// sizes of name and data, vendor, name, data).
func ovmfVariable(t *testing.T, store []byte, name string) []byte {
	t.Helper()
	vendor, err := guid.Parse("d719b2cb-3d3a-4596-a3bc-dad00e67656f")
	must(t, err)
	key := bytes.Clone(vendor[:])
	for _, c := range name + "\x00" {
		key = append(key, byte(c), 0)
	}
	at := bytes.Index(store, key)
	if at < 8 {
		t.Fatalf("no variable %s", name)
	}
	size := int(binary.LittleEndian.Uint32(store[at-4:]))
	return store[at+len(key):][:size]
}

func FuzzParseSignatures(f *testing.F) {
	f.Add(list(typeX509, 0, []byte("one"), []byte("two")))
	f.Add(append(list(typeX509, 4, make([]byte, 32)), list(typeX509, 0, []byte{1})...))
	f.Add(list(typeX509, 0, certificate(f, ca2023))[:60])
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := parseSignatures(b)
		if err != nil && (all != nil || !errors.Is(err, ErrSignatures)) {
			t.Fatalf("%d, %v", len(all), err)
		}
		n := 0
		for _, s := range all {
			n += 16 + len(s.data)
		}
		if n > len(b) {
			t.Fatalf("%d bytes of signatures in %d", n, len(b))
		}
	})
}
