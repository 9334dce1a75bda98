package daemon

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"path"
	"strings"

	"troy/image/capture"
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
	mux.Handle(api.Prefix, d.noted(d.store, "token"))
	if d.boot != nil {
		mux.Handle("/boot/", d.store.Paced(d.boot.Handler()))
	}
	mux.Handle("/", d.page)
	return netboot.CleanPaths(mux)
}

// noted enters what may change something into the audit log, as an act of who.
func (d *Daemon) noted(h http.Handler, who string) http.Handler {
	return d.audit.Handler(h, who, func(err error) { d.o.Events.Note(err.Error()) })
}

// locally is what the commands on this machine reach: by their connection it is known who asks.
func (d *Daemon) locally() http.Handler {
	open := api.Open(d.lab.rooms)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { d.noted(open, r.RemoteAddr).ServeHTTP(w, r) })
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
				host = strings.Trim(r.Host, "[]") // without a port; JoinHostPort puts an IPv6 address in brackets
			}
			http.Redirect(w, r, "https://"+net.JoinHostPort(host, port)+r.URL.RequestURI(), http.StatusPermanentRedirect)
		}
	}))
}

// known takes the calls of machines only if they show a key: by it the server knows them.
func known(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(path.Clean(r.URL.Path), "/")
		call := strings.HasPrefix(name+"/", strings.TrimPrefix(capture.Prefix, "/")) || name == protocol.PathCheckIn || name == protocol.PathProgress || name == protocol.PathReport
		if call && len(r.TLS.PeerCertificates) == 0 {
			jsonhttp.Fail(w, http.StatusForbidden, errors.New("a machine has to show the certificate of its key: docs/check-in.md"))
			return
		}
		h.ServeHTTP(w, r)
	})
}

// localHost is how programs on this machine name the listener.
func localHost(a net.Addr) string {
	host, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
