package inside

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"troy/gates"
)

// ActionLimit is how long an action may take: a full drive C is the longest.
const ActionLimit = 45 * time.Minute

// Limits of what one start may take. The record and the shutdown come whatever is still at work.
const (
	lookLimit = 3 * time.Minute
	tellLimit = 10 * time.Second
)

// errLimit is the cause of an end by a limit.
var errLimit = errors.New("it took too long")

// System is what only Windows knows and does, or what plays Windows. A call that does not return
// when its context ends is left to itself.
type System interface {
	// Do carries out an action: Retrim, Stuff or Disks.
	Do(ctx context.Context, a Action) error
	// Look tells what can be seen of this start.
	Look(ctx context.Context) Seen
	// ShutDown has the system shut down. It returns before that is done.
	ShutDown() error
}

// Seen is what a System tells of a start.
type Seen struct {
	Name   string
	Events []string
	Facts  Facts
	PC     gates.PC
	Failed []string // what could not be looked at
}

// File is one of the two files in drive C.
type File interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
}

// Start is one start of Windows. A file that could not be opened is nil; the reason is in Failed.
type Start struct {
	Order   *Order
	Phase   Phase
	Ballast File
	Size    int64 // of the ballast
	Records File
	System  System
	Failed  []string // what went wrong before
}

// Run does what an order says: it reads the ballast, carries the order out, looks, puts the record
// and flushes it, tells the trial, and has Windows shut down, unless the order is to stay. What
// fails is a line of the record and keeps nothing that follows from being done. The error is that
// of the record's file, or of the shutdown.
func Run(ctx context.Context, s *Start) (*Record, error) {
	r := &Record{Order: s.Order.Number, Phase: s.Phase, Failed: s.Failed}
	if s.Ballast != nil {
		r.fail("ballast", s.read(r))
	}
	for _, a := range s.Order.Do {
		if a == Stay {
			continue
		}
		if r.fail(string(a), s.do(ctx, a)) {
			continue
		}
		r.Did = append(r.Did, a)
	}
	s.look(ctx, r)
	r.Time = time.Now().UTC().Format(time.RFC3339)
	err := s.put(r)
	if told := tell(ctx, s.Order.Tell, r); told != nil {
		r.NotTold = line(told.Error())
		err = errors.Join(err, s.put(r))
	}
	if s.Order.Wants(Stay) {
		return r, err
	}
	return r, errors.Join(err, s.System.ShutDown())
}

func (s *Start) read(r *Record) (err error) {
	r.Ballast, err = ReadBallast(s.Ballast, s.Size)
	return err
}

// fail notes an error, and reports whether there is one.
func (r *Record) fail(what string, err error) bool {
	if err != nil {
		r.Failed = append(r.Failed, line(what+": "+err.Error()))
	}
	return err != nil
}

// line makes one printable line.
func line(text string) string { return gates.Clean(text, nil) }

func (s *Start) do(ctx context.Context, a Action) error {
	return within(ctx, ActionLimit, func(ctx context.Context) error {
		if a != Fill {
			return s.System.Do(ctx, a)
		}
		if s.Ballast == nil {
			return errors.New("there is no ballast")
		}
		if err := WriteBallast(s.Ballast, s.Size, s.Order.Stamp); err != nil {
			return err
		}
		return s.Ballast.Sync()
	})
}

// look adds what the system sees.
func (s *Start) look(ctx context.Context, r *Record) {
	found := make(chan Seen, 1) // what comes too late goes nowhere
	err := within(ctx, lookLimit, func(ctx context.Context) error {
		found <- s.System.Look(ctx)
		return nil
	})
	if r.fail("look", err) {
		return
	}
	seen := <-found
	r.Name, r.Facts, r.PC = seen.Name, seen.Facts, seen.PC
	for _, f := range seen.Failed {
		r.Failed = append(r.Failed, line(f))
	}
	for _, e := range seen.Events {
		r.Events = append(r.Events, line(e))
	}
}

// within calls f and waits for it no longer than the limit.
func within(ctx context.Context, limit time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errLimit)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// put writes the record and flushes it.
func (s *Start) put(r *Record) error {
	if s.Records == nil {
		return nil
	}
	if err := Put(s.Records, r); err != nil {
		return fmt.Errorf("the record: %w", err)
	}
	if err := s.Records.Sync(); err != nil {
		return fmt.Errorf("the record: %w", err)
	}
	return nil
}

// tell posts the record to the trial, as its slot has it, if the trial said where.
func tell(ctx context.Context, url string, r *Record) error {
	if url == "" {
		return nil
	}
	text, err := r.encode()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, tellLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(text))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	// No proxy of the environment: the trial is on the virtual PC's own network.
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode >= 300 {
		return fmt.Errorf("the trial answered %s", answer.Status)
	}
	return nil
}
