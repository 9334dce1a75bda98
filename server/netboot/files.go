package netboot

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"path"

	"pack.ag/tftp"
)

const tftpRetransmits = 5 // of one datagram, before a client is taken for gone

// serveRead answers one read request of TFTP.
func (s *Server) serveRead(r tftp.ReadRequest) {
	from := r.Addr().AddrPort().Addr().Unmap()
	if !s.begin(from) {
		r.WriteError(tftp.ErrCodeNotDefined, "too many transfers, try again")
		return
	}
	defer s.end(from)
	f, size, err := s.open(r.Name())
	if err != nil {
		r.WriteError(tftp.ErrCodeFileNotFound, "no such file")
		return
	}
	defer f.Close()
	r.WriteSize(size)
	n, err := io.Copy(struct{ io.Writer }{r}, io.LimitReader(f, size))
	switch {
	case err == nil && n == size:
		s.o.OnNote(fmt.Sprintf("network boot: %s loaded %q (%d bytes)", from, r.Name(), n))
	case n > 0: // firmware asks for the size first and then breaks off: no note for that
		s.o.OnNote(fmt.Sprintf("network boot: %s stopped loading %q at %d of %d bytes", from, r.Name(), n, size))
	}
}

// begin takes a place for a transfer; end gives it back.
func (s *Server) begin(from netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running >= TransfersMost || s.transfers[from] >= PerAddressMost {
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
		http.Error(w, errors.Unwrap(err).Error(), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", contentType(info.Name()))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", fmt.Sprintf(`"%x-%x"`, info.ModTime().UnixNano(), size))
	http.ServeContent(w, r, "", info.ModTime(), f)
}

// contentType is what UEFI HTTP boot decides by (UEFI 2.10, section 24.7): EFI programs and disk images.
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
