package image

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestStreams: a line that brings much at once carries all streams, a slow one fewer, down to one.
func TestStreams(t *testing.T) { synctest.Test(t, testStreams) }

func testStreams(t *testing.T) {
	s := newStreams(8)
	for _, x := range []struct {
		took time.Duration
		may  int
	}{{time.Second, 4}, {5 * time.Second, 4}, {time.Second, 8}, {time.Second, 8}, {time.Minute, 4}, {time.Minute, 2}, {time.Minute, 1}, {time.Minute, 1}, {time.Second, 2}} {
		if err := s.begin(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s.end(x.took); s.may != x.may || s.all() != (x.may == 8) {
			t.Fatalf("after a request of %v there may be %d, want %d", x.took, s.may, x.may)
		}
	}
	for range s.may {
		if err := s.begin(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	waits := make(chan error, 1)
	go func() { waits <- s.begin(ctx) }()
	synctest.Wait()
	s.end(5 * time.Second)
	if err := <-waits; err != nil {
		t.Error(err)
	}
	go func() { waits <- s.begin(ctx) }()
	synctest.Wait()
	cancel()
	if err := <-waits; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
