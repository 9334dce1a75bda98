package netfetch

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"sync"
	"testing"

	"troy/internal/testing/fetchtest"
)

// TestProxyByEnvironment has a process with HTTP_PROXY fetch from a server that only the proxy knows. Neither says that the answer may be
// compressed.
func TestProxyByEnvironment(t *testing.T) {
	data := randomBytes(t, 300_000)
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
	job, err := json.Marshal(childJob{NoLink: true, URL: "http://troy.example:8080", Name: "o", Size: 300_000, Chunk: 64 << 10, Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), childEnv+"="+string(job), "HTTP_PROXY="+proxy.URL, "NO_PROXY=")
	out, err := cmd.Output()
	var r childResult
	if err := errors.Join(err, json.Unmarshal(out, &r)); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if r.Error != "" || r.SHA256 != fmt.Sprintf("%x", sha256.Sum256(data)) || len(asked) != 1 || !asked["troy.example:8080 identity"] {
		t.Errorf("error %q, the proxy was asked for %v", r.Error, asked)
	}
}
