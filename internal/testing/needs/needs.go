// Package needs is where a test says that it needs more than the go command, the usual programs and
// a moment. In go test -short, which is what make quick runs, such a test is skipped; in a full run
// it is never skipped, so what is missing there makes it fail.
//
// Tests that run without samples when there are none use package samples instead.
package needs

import (
	"os"
	"testing"
)

const left = ": left out by -short"

// Root is for tests that mount, or make loop devices or network namespaces.
func Root(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs root" + left)
	}
	if os.Geteuid() != 0 {
		t.Fatal("needs root: run these tests as root")
	}
}

// Downloads is for tests that use what make deps puts into TROY_CACHE.
func Downloads(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs the files of make deps" + left)
	}
	if os.Getenv("TROY_CACHE") == "" {
		t.Fatal("TROY_CACHE is not set: run it by make")
	}
}

// Time is for tests that compute for more than about five seconds.
func Time(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes long" + left)
	}
}
