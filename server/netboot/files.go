package netboot

import (
	"fmt"
	"net/http"
	"net/netip"
	"path"
)

// begin takes a place for a transfer; end gives it back.
func (s *Server) begin(from netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running >= transfersMost || s.transfers[from] >= perAddressMost {
		return false
	}
	s.running++
	s.transfers[from]++
	return true
}

func (s *Server) end(from netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	if s.transfers[from]--; s.transfers[from] == 0 {
		delete(s.transfers, from)
	}
}

// Handler serves the folder at /boot/.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /boot/{name...}", s.serveHTTP)
	return mux
}

func (s *Server) serveHTTP(w http.ResponseWriter, r *http.Request) {
	f, size, err := s.open(r.PathValue("name"))
	if err != nil {
		http.Error(w, "no such file", http.StatusNotFound)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		http.Error(w, "the file cannot be read", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", contentType(info.Name()))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", fmt.Sprintf(`"%x-%x"`, info.ModTime().UnixNano(), size))
	http.ServeContent(w, r, "", info.ModTime(), f)
}

// contentType is what UEFI HTTP boot decides by (UEFI 2.10, section 24.7): EFI programs and disk
// images.
func contentType(name string) string {
	switch path.Ext(name) {
	case ".efi":
		return "application/efi"
	case ".iso":
		return "application/vnd.efi-iso"
	case ".ipxe", ".cfg", ".conf":
		return "text/plain; charset=utf-8"
	}
	return "application/octet-stream"
}
