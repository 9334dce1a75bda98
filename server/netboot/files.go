package netboot

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"strings"
)

// Handler serves the folder at /boot/.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /boot/{name...}", s.serveHTTP)
	return CleanPaths(mux)
}

// CleanPaths serves a request whose path has doubled slashes, or dots, as one for the cleaned path.
// http.ServeMux answers it with a redirect, which firmware and shim do not follow; so this has to
// be around every ServeMux that leads to Handler.
func CleanPaths(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(w, cleaned(r)) })
}

// cleaned returns r, or a copy of it with the cleaned path. As ServeMux does, it cleans the path as
// it was sent: an escaped slash divides nothing.
func cleaned(r *http.Request) *http.Request {
	sent := r.URL.EscapedPath()
	clean := path.Clean(sent)
	if clean != "/" && strings.HasSuffix(sent, "/") {
		clean += "/"
	}
	name, err := url.PathUnescape(clean)
	if clean == sent || err != nil || !strings.HasPrefix(sent, "/") {
		return r
	}
	to, u := *r, *r.URL
	u.Path, u.RawPath = name, clean
	to.URL = &u
	return &to
}

func (s *Server) serveHTTP(w http.ResponseWriter, r *http.Request) {
	f, size, err := s.open(r.PathValue("name"))
	if errors.Is(err, fs.ErrNotExist) {
		http.Error(w, "no such file", http.StatusNotFound)
		return
	}
	var info fs.FileInfo
	if err == nil {
		defer f.Close()
		info, err = f.Stat()
	}
	if err != nil {
		http.Error(w, "the file cannot be read now", http.StatusServiceUnavailable)
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
