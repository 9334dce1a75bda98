package fetchtest

import (
	"math/rand/v2"
	"testing"
)

// Random makes n bytes in which no place is like another; the seed is logged.
func Random(t testing.TB, n int) []byte {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("data seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}
