package capture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"troy/internal/format"
	"troy/internal/progress"
)

var (
	// ErrFull: the server has no room for more now. What it has it keeps.
	ErrFull = errors.New("the server has no room for more of the capture")
	// ErrRefused: the server takes no capture from this machine, or not this one.
	ErrRefused = errors.New("the server takes no such capture")
)

// tries is how often a piece is sent whose bytes arrive damaged.
const tries = 3

// Doer sends requests, as http.Client does.
type Doer interface {
	Do(*http.Request) (*http.Response, error)
}

// Sent is what an Upload has done.
type Sent struct {
	Pieces, Bytes int64 // that were sent
	Held          int64 // pieces that the server had already
	Totals        Totals
}

// Upload sends a session to the server at url, such as "https://troy:8443": what the server does
// not have yet, then the totals. It may be called again after any error, and then goes on. The
// adder, unless it is nil, is told of each page of the session that the server has. Errors:
// ErrFull, ErrRefused, those of the session and of the connection.
func Upload(ctx context.Context, c Doer, url string, s *Session, p progress.Adder) (*Sent, error) {
	e, err := NewEncoder()
	if err != nil {
		return nil, err
	}
	u := &upload{ctx: ctx, c: c, url: strings.TrimRight(url, "/") + Prefix + s.ID, enc: e, sent: &Sent{}}
	if err := u.document("", &s.About); err != nil {
		return u.sent, err
	}
	held, err := u.held(s.About.VirtualSize)
	if err != nil {
		return u.sent, err
	}
	now := &Held{}
	for piece, err := range s.Pieces(ctx) {
		if err != nil {
			return u.sent, err
		}
		if err := u.piece(piece, held, now); err != nil {
			return u.sent, err
		}
		progress.Add(p, int64(len(piece.Pages)))
	}
	for _, old := range held.Pieces { // of a start that judged otherwise: nothing differs there
		if _, ok := now.Sum(old.Region); !ok {
			if err := u.send(&Piece{Masks: Masks{Region: old.Region}}); err != nil {
				return u.sent, err
			}
		}
	}
	t := now.Totals()
	t.Data, t.Unused = u.sent.Totals.Data, u.sent.Totals.Unused
	TotalsKind.Stamp(&t.Head)
	u.sent.Totals = t
	return u.sent, u.document("/"+FinishName, &t)
}

// upload is one Upload under way.
type upload struct {
	ctx  context.Context
	c    Doer
	url  string
	enc  *Encoder
	sent *Sent
}

// piece sends a piece unless the server has it, and enters it into now.
func (u *upload) piece(p *Piece, held, now *Held) error {
	sum := p.Sum()
	now.Pieces = append(now.Pieces, RegionSum{p.Region, sum})
	u.sent.Totals.Data += int64(p.Data.Count())
	u.sent.Totals.Unused += int64(p.Unused.Count())
	if there, ok := held.Sum(p.Region); ok && there == sum {
		u.sent.Held++
		return nil
	}
	return u.send(p)
}

// send sends a piece, again if it was damaged on the way.
func (u *upload) send(p *Piece) error {
	b := u.enc.Encode(p, p.Sum())
	for try := 1; ; try++ {
		err := u.put("/"+strconv.FormatInt(p.Region, 10), "application/octet-stream", b)
		if err == nil {
			u.sent.Pieces++
			u.sent.Bytes += int64(len(b))
		}
		if try == tries || !errors.Is(err, ErrPiece) {
			return err
		}
	}
}

func (u *upload) document(path string, v any) error {
	b, err := format.Marshal(v)
	if err != nil {
		return err
	}
	return u.put(path, "application/json", b)
}

func (u *upload) put(path, kind string, b []byte) error {
	r, err := http.NewRequestWithContext(u.ctx, http.MethodPut, u.url+path, bytes.NewReader(b))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", kind)
	res, err := u.c.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	return answered(res)
}

func (u *upload) held(virtualSize int64) (*Held, error) {
	r, err := http.NewRequestWithContext(u.ctx, http.MethodGet, u.url, nil)
	if err != nil {
		return nil, err
	}
	res, err := u.c.Do(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if err := answered(res); err != nil {
		return nil, err
	}
	return ReadHeld(res.Body, virtualSize)
}

// answered makes an error of an answer that is not 200.
func answered(res *http.Response) error {
	if res.StatusCode == http.StatusOK {
		return nil
	}
	var said struct {
		Error string `json:"error"`
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, 4096))
	if err == nil {
		err = format.Unmarshal(b, &said)
	}
	if err != nil || said.Error == "" {
		said.Error = "no reason"
	}
	why := fmt.Sprintf("status %d: %.200q", res.StatusCode, said.Error)
	switch res.StatusCode {
	case http.StatusInsufficientStorage:
		return fmt.Errorf("%w (%s)", ErrFull, why)
	case http.StatusForbidden, http.StatusConflict, http.StatusNotFound:
		return fmt.Errorf("%w (%s)", ErrRefused, why)
	case http.StatusUnprocessableEntity:
		return fmt.Errorf("%w (%s)", ErrPiece, why)
	}
	return fmt.Errorf("the server answers with %s", why)
}
