package daemon

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"path"
	"strings"

	"troy/server/jsonhttp"
	"troy/server/netboot"
	"troy/server/protocol"
	"troy/server/rooms/api"
)

// routes joins everything that is served by HTTP, by cleaned paths: firmware follows no redirect.
func (d *Daemon) routes() http.Handler {
	mux := http.NewServeMux()
	for _, path := range []string{"/" + protocol.PathRepo + "/", "/v1/", "/healthz"} {
		mux.Handle(path, d.store)
	}
	mux.Handle(api.Prefix, d.audit.Handler(d.store, "token", func(err error) { d.o.Events.Note(err.Error()) }))
	if d.boot != nil {
		mux.Handle("/boot/", d.store.Paced(d.boot.Handler()))
	}
	mux.Handle("/", d.page)
	return netboot.CleanPaths(mux)
}

// plainly is what is served without TLS, as the package comment says.
func plainly(h http.Handler, secure net.Addr) http.Handler {
	_, port, err := net.SplitHostPort(secure.String())
	if err != nil {
		port = "443"
	}
	return netboot.CleanPaths(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		from, err := netip.ParseAddrPort(r.RemoteAddr)
		switch {
		case first == "v1":
			jsonhttp.Fail(w, http.StatusForbidden, fmt.Errorf("this server takes calls by TLS only: https, port %s", port))
		case first == protocol.PathRepo || first == "boot" || first == "healthz" || err == nil && from.Addr().Unmap().IsLoopback():
			h.ServeHTTP(w, r)
		default:
			host, _, err := net.SplitHostPort(r.Host)
			if err != nil {
				host = r.Host
			}
			http.Redirect(w, r, "https://"+net.JoinHostPort(host, port)+r.URL.RequestURI(), http.StatusPermanentRedirect)
		}
	}))
}

// known takes the calls of machines only if they show a key: by it the server knows them.
func known(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(path.Clean(r.URL.Path), "/")
		call := name == protocol.PathCheckIn || name == protocol.PathProgress || name == protocol.PathReport
		if call && len(r.TLS.PeerCertificates) == 0 {
			jsonhttp.Fail(w, http.StatusForbidden, errors.New("a machine has to show the certificate of its key: docs/check-in.md"))
			return
		}
		h.ServeHTTP(w, r)
	})
}

// localURL is how programs on this machine reach the listener.
func localURL(scheme string, a net.Addr) string {
	host, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return scheme + "://" + a.String()
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}
