package daemon

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
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
		mux.Handle("/boot/", d.boot.Handler())
	}
	mux.Handle("/", d.page)
	return netboot.CleanPaths(mux)
}

// plainly is what is served without TLS where there is TLS, as the package comment says.
func plainly(h http.Handler, secure net.Addr) http.Handler {
	_, port, err := net.SplitHostPort(secure.String())
	if err != nil {
		port = "443"
	}
	return netboot.CleanPaths(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		from, err := netip.ParseAddrPort(r.RemoteAddr)
		switch {
		case first == protocol.PathRepo || first == "boot" || first == "healthz" || err == nil && from.Addr().Unmap().IsLoopback():
			h.ServeHTTP(w, r)
		case first == "v1":
			jsonhttp.Fail(w, http.StatusForbidden, fmt.Errorf("this server takes check-ins by TLS only: https, port %s", port))
		default:
			host, _, err := net.SplitHostPort(r.Host)
			if err != nil {
				host = r.Host
			}
			http.Redirect(w, r, "https://"+net.JoinHostPort(host, port)+r.URL.RequestURI(), http.StatusPermanentRedirect)
		}
	}))
}

// localURL is how programs on this machine reach the listener.
func localURL(a net.Addr) string {
	host, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return "http://" + a.String()
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}
