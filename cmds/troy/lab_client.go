package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"troy/server/catalog"
	"troy/server/lab"
	"troy/server/rooms"
	"troy/server/rooms/api"
	"troy/server/servedir"
	"troy/server/state"
)

// adminCall is a call that asks the server of a store; without one that runs, the state file that it left.
type adminCall struct {
	*imageCall
	server, tokenFile string

	client *api.Client
	local  *state.Store // set when there is no server
}

func newAdminCall(c *call) *adminCall {
	a := &adminCall{imageCall: newImageCall(c)}
	a.fs.StringVar(&a.server, "server", os.Getenv("TROY_SERVER"), "base `URL` of the server (default: TROY_SERVER, else the one that serves the store)")
	a.fs.StringVar(&a.tokenFile, "token-file", os.Getenv("TROY_TOKEN_FILE"), "`file` with the admin's token (default: TROY_TOKEN_FILE, else serve/token in the store)")
	return a
}

// connect parses the command line and finds the server.
func (a *adminCall) connect(min, max int) ([]string, error) {
	args, err := a.parse(a.fs, min, max)
	if err != nil {
		return nil, err
	}
	folder := servedir.Of(a.dir)
	if a.tokenFile == "" {
		a.tokenFile = folder.Token()
	}
	token, err := readLine(a.tokenFile)
	if err != nil {
		return nil, &fault{err: err, advice: "--store names the folder that 'troy serve --lab' serves"}
	}
	if a.server == "" {
		if a.server, err = folder.Address(); err != nil {
			return nil, &fault{err: err, advice: "--server names the server"}
		}
	}
	a.client = api.NewClient(a.server, token, nil)
	return args, nil
}

func readLine(path string) (string, error) {
	b, err := os.ReadFile(path)
	return strings.TrimSpace(string(b)), err
}

// close lets go of the state file.
func (a *adminCall) close() {
	if a.local != nil {
		a.local.Close()
	}
}

// withServer runs f with the server; if that does not answer, with the state file: read only, if f changes nothing.
func (a *adminCall) withServer(change bool, f func() error) error {
	err := f()
	if !errors.Is(err, api.ErrDown) {
		return err
	}
	down := err
	if err := a.openState(!change); err != nil {
		return &fault{err: down, fate: "nothing was changed", advice: "the state file does not help either: " + err.Error()}
	}
	defer a.close()
	a.note("%s does not answer; this is from the state file", clean(a.server))
	return f()
}

// openState answers calls in this process, from the state file.
func (a *adminCall) openState(readOnly bool) error {
	folder := servedir.Of(a.dir)
	path, err := folder.Lab()
	if err != nil {
		return err
	}
	file, err := lab.Open(path)
	if err != nil {
		return err
	}
	sizes, err := catalog.Open(a.dir)
	if err != nil {
		return err
	}
	if a.local, err = state.Open(folder.State(), &state.Options{ReadOnly: readOnly}); err != nil {
		return err
	}
	k, err := rooms.New(&rooms.Options{Lab: file, State: a.local, Sizes: sizes})
	if err != nil {
		return err
	}
	a.client = api.NewClient("http://state", "", &http.Client{Transport: inProcess{api.Open(k)}})
	return nil
}

// inProcess is an http.RoundTripper that calls a handler.
type inProcess struct{ h http.Handler }

// RoundTrip implements http.RoundTripper.
func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		r.Body = http.NoBody
	}
	w := &recorder{header: http.Header{}, status: http.StatusOK}
	p.h.ServeHTTP(w, r)
	return &http.Response{StatusCode: w.status, Header: w.header, Body: io.NopCloser(&w.body), Request: r}, nil
}

// recorder keeps an answer.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (r *recorder) Header() http.Header { return r.header }

// WriteHeader implements http.ResponseWriter.
func (r *recorder) WriteHeader(status int) { r.status = status }

// Write implements http.ResponseWriter.
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }

// who names the person at the keyboard for the record.
func who() string {
	for _, name := range []string{"SUDO_USER", "USER", "LOGNAME"} {
		if s := os.Getenv(name); s != "" {
			return s
		}
	}
	return fmt.Sprintf("uid %d", os.Getuid())
}
