package agent

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"troy/netfetch/link"
	"troy/server"
	"troy/server/protocol"
)

// A network is the right one if a server of Troy answers in it, whatever else answers.
func TestReaches(t *testing.T) {
	answer := func(do http.HandlerFunc) string {
		s := httptest.NewTLSServer(do)
		t.Cleanup(s.Close)
		return s.URL
	}
	troy, err := server.New(&server.Options{Dir: t.TempDir(), Orders: new(bench)})
	if err != nil {
		t.Fatal(err)
	}
	defer troy.Close()
	good := answer(troy.ServeHTTP)
	portal := answer(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>please accept</html>")) })
	redirect := answer(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, good+"/"+protocol.PathHealth, http.StatusFound)
	})
	gone := httptest.NewTLSServer(nil)
	gone.Close()
	for _, test := range []struct {
		name    string
		servers []string // typed at this start
		dhcp    string   // option 224
		fails   string
	}{
		{"it answers", []string{good}, "", ""},
		{"DHCP names it", nil, good, ""},
		{"what is typed counts alone", []string{good}, portal, ""},
		{"one of them is enough", []string{gone.URL, portal, good}, "", ""},
		{"none is named", nil, "", "no server is named"},
		{"a web server that answers everything", []string{portal}, "", "is no server of Troy"},
		{"one that leads elsewhere", []string{redirect}, "", "302"},
		{"none is there", []string{gone.URL}, "", "connection refused"},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := &Options{Typed: test.servers}
			n := &network{o: o, site: &site{o: o}}
			err := n.reaches(t.Context(), &link.Link{Server: test.dhcp})
			if (err == nil) != (test.fails == "") || err != nil && !strings.Contains(err.Error(), test.fails) {
				t.Errorf("error %v, want %q", err, test.fails)
			}
		})
	}
}

// Where somebody may be waiting for Windows, an order is waited for as long as there is hope; else
// as long as the tries themselves go on.
func TestHurried(t *testing.T) {
	for _, test := range []struct {
		name string
		net  *network
		want time.Duration // 0 = without end
	}{
		{"in a window", &network{}, 0},
		{"outside of one", &network{hurry: true, link: &link.Link{}}, hurriedPatience},
		{"outside, no server was seen in any network", &network{hurry: true, link: &link.Link{Doubt: errNoServer}}, doubtPatience},
		{"in a window, the same", &network{link: &link.Link{Doubt: errNoServer}}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := test.net
				n.o = &Options{}
				ctx, cancel := n.hurried(t.Context())
				defer cancel()
				before := time.Now()
				select {
				case <-ctx.Done():
				case <-time.After(time.Hour):
				}
				if took := time.Since(before); test.want > 0 && (took != test.want || !errors.Is(context.Cause(ctx), errHurry)) || test.want == 0 && ctx.Err() != nil {
					t.Errorf("ended after %v by %v", took, context.Cause(ctx))
				}
			})
		})
	}
}
