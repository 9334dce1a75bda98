package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"troy/internal/format"
	"troy/internal/tlskey"
	"troy/server/protocol"
	"troy/server/rooms"
	"troy/server/servedir"
	"troy/server/state"
)

// ErrDown is returned when no server answers at the server's address.
var ErrDown = errors.New("the server does not answer")

// ErrLost is returned where the server was asked for a change and its answer did not come: it may
// have made it.
var ErrLost = errors.New("the server's answer was lost")

// ErrPlain is returned for a server without TLS: the token could be read on the way.
var ErrPlain = errors.New("the server has to be named with https")

// ErrStranger is returned where this user may not speak to the server.
var ErrStranger = errors.New("the server takes no orders of this user")

// callEstimate is the one POST that changes nothing.
const callEstimate = "estimate"

// answerMost bounds what a server may send.
const answerMost = 64 << 20

// Client calls a server.
type Client struct {
	base  string
	token string // "": of the socket, where none is needed
	http  *http.Client
}

// callTime is how long an answer may take.
const callTime = 30 * time.Second

// NewClient makes a client for the server with this base URL, which is known as the configuration
// says (package tlskey). The token goes to no other server: not by plain HTTP, and not where an
// answer leads on to.
func NewClient(base, token string, known *tls.Config) *Client {
	return &Client{strings.TrimSuffix(base, "/"), token, &http.Client{Timeout: callTime,
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: known},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// NewLocalClient makes a client for the server that runs on this machine and serves the store with
// that folder. It shows no token: the kernel tells the server who calls.
func NewLocalClient(dir servedir.Dir) *Client {
	dial := func(ctx context.Context, _, _ string) (c net.Conn, err error) {
		err = nearby(dir, func(path string) (err error) {
			c, err = (&net.Dialer{}).DialContext(ctx, "unix", path)
			return err
		})
		return c, err
	}
	return &Client{"http://socket", "", &http.Client{Timeout: callTime, Transport: &http.Transport{DialContext: dial}}}
}

// call sends in (nil: GET) and reads the answer into out.
func (c *Client) call(ctx context.Context, name string, in, out any) error {
	method, body := http.MethodGet, io.Reader(nil)
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		method, body = http.MethodPost, bytes.NewReader(b)
	}
	if c.token != "" && !strings.HasPrefix(c.base, "https://") {
		return fmt.Errorf("%w: %q", ErrPlain, c.base)
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base+Prefix+name, body)
	if err != nil {
		return err
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	r.Header.Set("Content-Type", "application/json")
	w, err := c.http.Do(r)
	if errors.Is(err, tlskey.ErrPin) {
		return err
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: %w", ErrStranger, err)
	}
	without := ErrDown
	if in != nil && name != callEstimate {
		without = ErrLost
	}
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "dial" {
		without = ErrDown // nothing was sent
	}
	if err != nil {
		return fmt.Errorf("%w: %w", without, err)
	}
	defer w.Body.Close()
	b, err := io.ReadAll(io.LimitReader(w.Body, answerMost))
	if err == nil && w.StatusCode == http.StatusOK {
		err = format.Unmarshal(b, out)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", without, err)
	}
	if w.StatusCode != http.StatusOK {
		return failure(w.StatusCode, b, without)
	}
	return nil
}

// failure makes an error of an answer that is no success, of the class that the server had. That
// of a proxy, which reached no server, is no answer.
func failure(status int, body []byte, without error) error {
	var f protocol.Failure
	if format.Unmarshal(body, &f) != nil || f.Error == "" {
		if status >= http.StatusInternalServerError {
			return fmt.Errorf("%w: %d %s", without, status, http.StatusText(status))
		}
		f.Error = "the server answers with status " + http.StatusText(status)
	}
	switch status {
	case http.StatusNotFound:
		return &answered{f.Error, rooms.ErrNotFound}
	case http.StatusBadRequest:
		return &answered{f.Error, rooms.ErrInvalid}
	case http.StatusInsufficientStorage:
		return &answered{f.Error, state.ErrFull}
	}
	return errors.New(f.Error)
}

// answered is an error that a server told, in its words.
type answered struct {
	text  string
	class error
}

func (a *answered) Error() string { return a.text }
func (a *answered) Unwrap() error { return a.class }

// get is call without a request.
func get[T any](ctx context.Context, c *Client, name string) (out T, err error) {
	err = c.call(ctx, name, nil, &out)
	return out, err
}

// Ping fails with ErrDown if no server answers, else as the first call would.
func (c *Client) Ping(ctx context.Context) error {
	_, err := get[Revision](ctx, c, "changes")
	return err
}

// Status implements Viewer.
func (c *Client) Status(ctx context.Context) (*rooms.Status, error) {
	return get[*rooms.Status](ctx, c, "status")
}

// Hosts implements Viewer.
func (c *Client) Hosts(ctx context.Context, room string) ([]rooms.Host, error) {
	return get[[]rooms.Host](ctx, c, "hosts?room="+url.QueryEscape(room))
}

// Host implements Viewer.
func (c *Client) Host(ctx context.Context, id string) (*HostDetail, error) {
	return get[*HostDetail](ctx, c, "hosts/"+url.PathEscape(id))
}

// Nights implements Historian.
func (c *Client) Nights(ctx context.Context, days int) ([]state.Night, error) {
	return get[[]state.Night](ctx, c, fmt.Sprintf("nights?days=%d", days))
}

// Previous implements Historian.
func (c *Client) Previous(ctx context.Context, room string) (*state.Target, error) {
	return get[*state.Target](ctx, c, "previous?room="+url.QueryEscape(room))
}

// Estimate implements Planner.
func (c *Client) Estimate(ctx context.Context, p rooms.Promotion) (out *rooms.Estimate, err error) {
	err = c.call(ctx, callEstimate, p, &out)
	return out, err
}

// Promote implements Planner.
func (c *Client) Promote(ctx context.Context, p rooms.Promotion) (out *state.Target, err error) {
	err = c.call(ctx, "promote", p, &out)
	return out, err
}

// Rollback implements Planner.
func (c *Client) Rollback(ctx context.Context, p rooms.Promotion) (out *state.Target, err error) {
	err = c.call(ctx, "rollback", p, &out)
	return out, err
}

// Stop implements Operator.
func (c *Client) Stop(ctx context.Context, room, why string) error {
	return c.call(ctx, "stop", Stop{room, why}, &struct{}{})
}

// Assign implements Operator.
func (c *Client) Assign(ctx context.Context, code, name, room string) error {
	return c.call(ctx, "assign", Assign{code, name, room}, &struct{}{})
}

// Confirm implements Confirmer.
func (c *Client) Confirm(ctx context.Context, host, key string) error {
	return c.call(ctx, "confirm", Confirm{host, key}, &struct{}{})
}

// Verify implements Operator.
func (c *Client) Verify(ctx context.Context, room, id string, adopt bool) (int, error) {
	var n Woken
	err := c.call(ctx, "verify", Verify{room, id, adopt}, &n)
	return n.Machines, err
}

// EndSetup implements Operator.
func (c *Client) EndSetup(ctx context.Context, host string, leave bool) (*protocol.Want, error) {
	var of protocol.Want
	err := c.call(ctx, "setup", EndSetup{host, leave}, &of)
	return &of, err
}

// Wake implements Operator.
func (c *Client) Wake(ctx context.Context, room, id string) (int, error) {
	var w Woken
	err := c.call(ctx, "wake", Which{room, id}, &w)
	return w.Machines, err
}

// Forget implements Forgetter.
func (c *Client) Forget(ctx context.Context, f Forget) (int, error) {
	var n Forgotten
	err := c.call(ctx, "forget", f, &n)
	return n.Machines, err
}
