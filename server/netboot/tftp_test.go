package netboot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pack.ag/tftp"

	"troy/chainload/release"
)

// serveOn runs TFTP on a free port of 127.0.0.1.
func serveOn(t testing.TB, s *Server) string {
	t.Helper()
	c, err := listen(&net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.serveTFTP(ctx, c) }()
	t.Cleanup(func() {
		stop()
		c.Close()
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("TFTP ended: %v", err)
		}
	})
	return c.LocalAddr().String()
}

func get(t testing.TB, addr, name string, opts ...tftp.ClientOpt) ([]byte, int64, error) {
	t.Helper()
	c, err := tftp.NewClient(append([]tftp.ClientOpt{tftp.ClientMode(tftp.ModeOctet)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Get("tftp://" + addr + "/" + name)
	if err != nil {
		return nil, 0, err
	}
	b, err := io.ReadAll(r)
	size, _ := r.Size()
	return b, size, err
}

func TestTFTP(t *testing.T) {
	s := newServer(t, Options{})
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"link": outside, "inner": release.Shim} {
		if err := os.Symlink(to, filepath.Join(s.o.Dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	addr := serveOn(t, s)
	for _, opts := range [][]tftp.ClientOpt{nil, {tftp.ClientBlocksize(1468)}, {tftp.ClientBlocksize(8)}, {tftp.ClientBlocksize(1400), tftp.ClientWindowsize(8)}} {
		t.Run(fmt.Sprintf("%d options", len(opts)), func(t *testing.T) {
			b, size, err := get(t, addr, release.Shim, opts...)
			if err != nil || !bytes.Equal(b, content(release.Shim)) || size != int64(len(b)) {
				t.Errorf("%d bytes, size %d: %v", len(b), size, err)
			}
		})
	}
	for name, want := range map[string]string{"/" + release.GRUB: release.GRUB, "grub//grub.cfg": "grub/grub.cfg", "inner": release.Shim} {
		t.Run(name, func(t *testing.T) {
			if b, _, err := get(t, addr, name); err != nil || !bytes.Equal(b, content(want)) {
				t.Errorf("%q: %d bytes, %v", name, len(b), err)
			}
		})
	}
	for _, name := range []string{"none", "../secret", "troy/../../secret", `..\secret`, "link", "troy", ".hidden", "", outside} {
		t.Run(fmt.Sprintf("%q", name), func(t *testing.T) {
			if b, _, err := get(t, addr, name); err == nil || len(b) > 0 {
				t.Errorf("%q: %q, %v, want an error", name, b, err)
			}
		})
	}
	f, size, err := s.open(`\troy\vmlinuz`)
	if err != nil || size != int64(len(content("troy/vmlinuz"))) {
		t.Fatalf("a name as Windows writes it: %v", err)
	}
	f.Close()
	c, err := tftp.NewClient()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Put("tftp://"+addr+"/new", bytes.NewReader([]byte("x")), 1); err == nil {
		t.Error("a file was written")
	}
}

// TestUnreadable: trouble of the server is not told as a file that is not there, and leads no
// client another way.
func TestUnreadable(t *testing.T) {
	s := newServer(t, Options{})
	addr := serveOn(t, s)
	s.root.Close() // as if the folder were gone from under it
	if _, _, err := get(t, addr, release.Shim); err == nil || !strings.Contains(err.Error(), "cannot be read") {
		t.Errorf("TFTP says %v", err)
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/boot/"+release.Shim, nil))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("HTTP says %d %s", w.Code, w.Body)
	}
	if got := s.bootFile(pxe, netip.MustParseAddr("192.0.2.1")); got != release.IPXE {
		t.Errorf("DHCP names %q", got)
	}
}

// TestOpen: names as firmware, shim and people write them.
func TestOpen(t *testing.T) {
	s := newServer(t, Options{})
	for name, want := range map[string]string{
		"snponly.efi":                  release.IPXE,
		"//snponly.efi":                release.IPXE,
		`\snponly.efi`:                 release.IPXE,
		"./snponly.efi":                release.IPXE,
		`grub\grub.cfg`:                "grub/grub.cfg",
		"/./grub//./grub.cfg":          "grub/grub.cfg",
		" snponly.efi\r\n":             release.IPXE,
		"troy/vmlinuz \x00":            "troy/vmlinuz",
		"snponly.efi\x00\x11x":         release.IPXE,
		"snponly.efia\x11":             release.IPXE, // option 97 of 17 bytes follows
		"snponly.efiR\x12\x01\x04eth0": release.IPXE, // option 82
		"/snponly.efi\xff":             release.IPXE,
		"grubx64.efi\xff":              release.GRUB,
		"\\shimx64.efi\x01?":           release.Shim,
		"boot.ipxe\xff":                release.IPXEScript,
		"troy.iso ":                    release.ISO,
		"shimx64.efi.sig":              "",
		"shimx64.efi-old":              "",
		"shimx64.efi_":                 "",
		"shimx64.efi/x":                "",
		"troy/vmlinuza\x11":            "", // DHCP does not name it
		"xsnponly.efi":                 "",
		"snponly.ef":                   "",
		"grub/../snponly.efi":          "",
		"snponly.efia/../.hidden":      "",
		".hidden\x00":                  "",
		" .hidden":                     "",
		".":                            "",
		" \x00":                        "",
	} {
		t.Run(fmt.Sprintf("%q", name), func(t *testing.T) {
			f, _, err := s.open(name)
			if err != nil {
				if want != "" || !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%v, want %q", err, want)
				}
				return
			}
			defer f.Close()
			if b, err := io.ReadAll(f); err != nil || want == "" || !bytes.Equal(b, content(want)) {
				t.Errorf("another file than %q: %v", want, err)
			}
		})
	}
}

// TestParseRequest: requests as firmware sends them.
func TestParseRequest(t *testing.T) {
	for words, ok := range map[string]bool{
		"f\x00octet\x00":                       true,
		"f\x00OCTET\x00tsize\x000\x00":         true,
		"f\x00octet\x00tsize\x00\x00":          true, // an empty value
		"f\x00octet\x00\x00":                   true, // zeros behind the end
		"f\x00octet\x00\x00\x00\x00":           true,
		"f\x00octet\x00tsize\x000\x00\x00\x00": true,
		"f\x00octet\x00tsize\x00":              false,
		"f\x00octet":                           false,
		"f\x00netascii\x00":                    false,
		"f\x00":                                false,
		"\x00octet\x00":                        false,
		"\x00\x00\x00":                         false,
	} {
		t.Run(fmt.Sprintf("%q", words), func(t *testing.T) {
			r, bad := parseRequest([]byte("\x00\x01" + words))
			if (bad == nil) != ok || ok && (r.name != "f" || r.size != strings.Contains(words, "tsize")) {
				t.Errorf("%+v, %v", r, bad)
			}
		})
	}
}

// TestTFTPErrorsAreNotAnswered: an answer to an error would make two servers answer each other for
// ever.
func TestTFTPErrorsAreNotAnswered(t *testing.T) {
	addr := serveOn(t, newServer(t, Options{}))
	c, err := net.Dial("udp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, p := range []string{"\x00\x05\x00\x00no\x00", "\x00\x04\x00\x01", "\x00\x03\x00\x01abc", "\x00\x09", "\x01\x01x", "x", ""} {
		if _, err := c.Write([]byte(p)); err != nil {
			t.Fatal(err)
		}
	}
	c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	if n, err := c.Read(make([]byte, 600)); err == nil {
		t.Errorf("an answer of %d bytes", n)
	}
}

func TestHTTP(t *testing.T) {
	h := newServer(t, Options{}).Handler()
	for path, want := range map[string]string{"/boot/" + release.ISO: release.ISO, "/boot/troy/vmlinuz": "troy/vmlinuz", "/boot/none": "", "/boot/": "", "/boot/.hidden": "", "/boot/troy": "",
		// Firmware and shim follow no redirect.
		"/boot//" + release.GRUB: release.GRUB, "/boot///troy//vmlinuz": "troy/vmlinuz", "http://troy.example//boot/" + release.ISO: release.ISO, "/boot/./" + release.ISO: release.ISO,
		"/x/../boot/" + release.ISO: release.ISO, "/boot/%2F" + release.ISO: release.ISO, "/boot/" + release.ISO + "%20%0D%0A": release.ISO, "/boot/" + release.ISO + "%00": release.ISO,
		"/boot//none": "", "/boot//.hidden": "", "/boot/%2e%2e/boot/" + release.ISO: "", "/boot/../" + release.ISO: "", "/boot//../.hidden": ""} {
		t.Run(path, func(t *testing.T) {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
			if got := w.Code == http.StatusOK && bytes.Equal(w.Body.Bytes(), content(want)); got != (want != "") || want == "" && w.Code != http.StatusNotFound {
				t.Errorf("%d, %d bytes", w.Code, w.Body.Len())
			}
		})
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/boot/"+release.ISO, nil))
	if got := w.Header().Get("Content-Type"); got != "application/vnd.efi-iso" {
		t.Errorf("type %q", got)
	}
}

// FuzzTFTP sends any request; the server lives on and gives out nothing but its files.
func FuzzTFTP(f *testing.F) {
	addr := serveOn(f, newServer(f, Options{}))
	for _, s := range []string{"\x00\x01shimx64.efi\x00octet\x00", "\x00\x01shimx64.efi\x00octet\x00blksize\x0065464\x00tsize\x000\x00windowsize\x0065535\x00",
		"\x00\x01../x\x00netascii\x00timeout\x00255\x00", "\x00\x02x\x00octet\x00", "\x00\x01", "\x00\x01noend", "\x00\x01a\x00octet\x00blksize\x00-1\x00", "\x00\x01a\x00mail\x00\x00\x00\x00"} {
		f.Add([]byte(s))
	}
	n := 0
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := net.Dial("udp4", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if len(b) > 60_000 {
			return
		}
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		if n++; n%200 == 1 {
			wantAlive(t, addr)
		}
	})
}

// wantAlive asks until a place is free: the requests before may hold all those of this address.
func wantAlive(t testing.TB, addr string) {
	t.Helper()
	err := fmt.Errorf("never asked")
	for range 40 {
		var b []byte
		if b, _, err = get(t, addr, release.GRUB); err == nil && bytes.Equal(b, content(release.GRUB)) {
			return
		}
		time.Sleep(500 * time.Millisecond)
	}
	t.Fatalf("the server answers no more: %v", err)
}

// FuzzName opens any name: only what lies in the folder is found.
func FuzzName(f *testing.F) {
	s := newServer(f, Options{Dir: bootFolder(f, release.Shim)})
	for _, name := range []string{release.Shim, "/" + release.Shim, "../../etc/passwd", `\..\x`, "a\x00b", "./x", "/boot/../" + release.Shim} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		file, _, err := s.open(name)
		if err != nil {
			return
		}
		defer file.Close()
		b, err := io.ReadAll(file)
		if err != nil || !bytes.Equal(b, content(release.Shim)) {
			t.Errorf("%q opens something else", name)
		}
	})
}
