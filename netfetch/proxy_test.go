package netfetch

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"sync"
	"testing"

	"troy/internal/testing/fetchtest"
)

// childEnv holds the URL that a test binary fetches from, instead of testing.
const childEnv = "NETFETCH_TEST_CHILD"

func TestMain(m *testing.M) {
	url := os.Getenv(childEnv)
	if url == "" {
		os.Exit(m.Run())
	}
	sum, err := childFetch(url)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Print(sum)
}

// childFetch gives the hash of an object, as read by two ranges and as a document.
func childFetch(url string) (string, error) {
	m, err := NewHTTPMirrors([]string{url}, nil, nil)
	if err != nil {
		return "", err
	}
	h, ctx := sha256.New(), context.Background()
	for _, off := range []int64{0, proxiedSize / 2} {
		b, err := m.ReadRange(ctx, "o", off, proxiedSize/2)
		if err != nil {
			return "", err
		}
		h.Write(b)
	}
	b, err := m.Get(ctx, "o", proxiedSize)
	return fmt.Sprintf("%x %x", h.Sum(nil), sha256.Sum256(b)), err
}

// proxiedSize is the length of the object.
const proxiedSize = 300_000

// TestProxyByEnvironment has a process with HTTP_PROXY fetch from a server that only the proxy
// knows. Neither says that the answer may be compressed.
func TestProxyByEnvironment(t *testing.T) {
	data := fetchtest.Random(t, proxiedSize)
	var mu sync.Mutex
	asked := map[string]bool{}
	files := fetchtest.Files{"o": data}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked[r.URL.Host+" "+r.Header.Get("Accept-Encoding")] = true
		mu.Unlock()
		files.ServeHTTP(w, r)
	}))
	defer proxy.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), childEnv+"=http://troy.example:8080", "HTTP_PROXY="+proxy.URL, "NO_PROXY=")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	sum := sha256.Sum256(data)
	if want := fmt.Sprintf("%x %x", sum, sum); err != nil || string(out) != want || len(asked) != 1 || !asked["troy.example:8080 identity"] {
		t.Errorf("%s, %v; want %s; the proxy was asked for %v", out, err, want, asked)
	}
}
