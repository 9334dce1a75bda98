package agent

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"troy/image"
	"troy/image/trust"
	"troy/image/trust/sign"
	"troy/internal/tlskey"
	"troy/server"
	"troy/server/certs"
	"troy/server/protocol"
)

// carryServers has the media carry the signed list of servers.
func (b *bench) carryServers() {
	b.t.Helper()
	b.must(os.WriteFile(filepath.Join(b.media, "servers.json"), b.listed(), 0o644))
}

// listed is the signed list of servers.
func (b *bench) listed() []byte {
	b.t.Helper()
	repo, err := sign.Open(b.store, nil)
	b.must(err)
	list, err := repo.Servers(b.t.Context())
	b.must(err)
	text, err := list.Encode()
	b.must(err)
	return text
}

// serve serves the store in a folder and returns where.
func (b *bench) serve(dir string) string {
	b.t.Helper()
	return b.serveAs(dir, filepath.Join(b.dir, "server.key"))
}

// serveAs serves it with the key in a file.
func (b *bench) serveAs(dir, keyFile string) string {
	b.t.Helper()
	b.served = dir
	s, err := server.New(&server.Options{Dir: dir, Orders: b, OnReport: func(_ protocol.Peer, r protocol.Report) { b.reports = append(b.reports, r) }})
	b.must(err)
	b.t.Cleanup(func() { s.Close() })
	key, _, err := certs.LoadKey(keyFile)
	b.must(err)
	cert, err := key.Certificate()
	b.must(err)
	h := httptest.NewUnstartedServer(b.aged(s))
	h.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are what some tests are about
	h.Listener = tls.NewListener(h.Listener, tlskey.Server(&cert, func() *tls.Certificate { return nil }))
	h.Start()
	b.t.Cleanup(h.Close)
	return "https://" + h.Listener.Addr().String()
}

// aged answers check-ins as a server does that speaks b.protocol alone, if that is set.
func (b *bench) aged(s http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b.protocol == 0 || r.URL.Path != "/"+protocol.PathCheckIn {
			s.ServeHTTP(w, r)
			return
		}
		answer := httptest.NewRecorder()
		s.ServeHTTP(answer, r)
		w.WriteHeader(answer.Code)
		w.Write(regexp.MustCompile(`"(protocol|newest)":\d+`).ReplaceAll(answer.Body.Bytes(), fmt.Appendf(nil, `"$1":%d`, b.protocol)))
	})
}

// keyName names the key in a file, which is made if need be.
func (b *bench) keyName(keyFile string) string {
	b.t.Helper()
	key, _, err := certs.LoadKey(keyFile)
	b.must(err)
	name, err := key.Name()
	b.must(err)
	return name
}

// signServers signs which servers machines take.
func (b *bench) signServers(servers ...trust.Server) {
	b.t.Helper()
	store, err := image.OpenStore(b.store)
	b.must(err)
	repo, err := sign.Open(b.store, nil)
	b.must(err)
	b.must(repo.SetServers(b.t.Context(), store, servers, time.Now()))
}
