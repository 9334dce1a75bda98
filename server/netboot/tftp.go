package netboot

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/ipv4"
)

// Opcodes and error codes of RFC 1350 and 2347.
const (
	opRead, opWrite, opData, opAck, opError, opOptions = 1, 2, 3, 4, 5, 6

	codeOther, codeNotFound, codeIllegal, codeOption = 0, 1, 4, 8
)

const (
	blockDefault = 512
	blockMost    = 1468 // what an Ethernet frame of 1500 bytes carries
	windowMost   = 16   // blocks
	timeoutMost  = 10   // seconds that a client may ask for
	retransmits  = 5
	requestMost  = 1024 // bytes
	firstTries   = 3    // to get a first answer, and the time for each: the address may be forged
	firstTime    = time.Second
	transferTime = 30 * time.Minute
)

// readRequest is a read request with the options that are granted.
type readRequest struct {
	name    string
	block   int // bytes
	window  int // blocks
	timeout time.Duration
	size    bool     // the client asks for the size
	granted []string // names and values, for the answer
	bytes   int      // of the request itself
}

// refusal is why a client does not get a file, as it is told.
type refusal struct {
	code uint16
	text string
}

// packet writes it as an ERROR of at most that many bytes, those of the request: an address that was
// forged gets no more than was sent in its name.
func (e *refusal) packet(most int) []byte {
	b := binary.BigEndian.AppendUint16([]byte{0, opError}, e.code)
	return append(append(b, e.text[:max(0, min(len(e.text), most-5))]...), 0)
}

// parseRequest reads a read request, RFC 1350 section 5 and RFC 2347.
func parseRequest(b []byte) (*readRequest, *refusal) {
	if len(b) < 2 || len(b) > requestMost || b[len(b)-1] != 0 {
		return nil, &refusal{codeIllegal, "malformed request"}
	}
	if op := binary.BigEndian.Uint16(b); op != opRead {
		return nil, &refusal{codeIllegal, "this server is read-only"}
	}
	words := strings.Split(string(bytes.TrimSuffix(b[2:], []byte{0})), "\x00")
	if len(words) < 2 || words[0] == "" {
		return nil, &refusal{codeIllegal, "malformed request"}
	}
	if !strings.EqualFold(words[1], "octet") {
		return nil, &refusal{codeIllegal, "want mode octet"}
	}
	r := &readRequest{name: words[0], bytes: len(b), block: blockDefault, window: 1, timeout: time.Second}
	// Firmware pads requests with zero bytes: an option without a name is the end.
	for i := 2; i < len(words) && words[i] != ""; i += 2 {
		if i+1 == len(words) {
			return nil, &refusal{codeIllegal, "malformed request"}
		}
		if err := r.option(strings.ToLower(words[i]), words[i+1]); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// option takes one option. What is not known is left out of the answer, which refuses it (RFC
// 2347).
func (r *readRequest) option(name, value string) *refusal {
	n, err := strconv.Atoi(value)
	bad := &refusal{codeOption, "bad value of option " + name}
	switch name {
	case "blksize": // RFC 2348
		if err != nil || n < 8 || n > 65464 {
			return bad
		}
		r.block = min(n, blockMost)
		r.granted = append(r.granted, name, strconv.Itoa(r.block))
	case "windowsize": // RFC 7440
		if err != nil || n < 1 || n > 65535 {
			return bad
		}
		r.window = min(n, windowMost)
		r.granted = append(r.granted, name, strconv.Itoa(r.window))
	case "timeout": // RFC 2349
		if err != nil || n < 1 || n > 255 {
			return bad
		}
		if n <= timeoutMost {
			r.timeout = time.Duration(n) * time.Second
			r.granted = append(r.granted, name, value)
		}
	case "tsize": // RFC 2349
		r.size = true
	}
	return nil
}

// answer is the OACK; nil if there is nothing to say.
func (r *readRequest) answer(size int64) []byte {
	words := r.granted
	if r.size {
		words = append(words[:len(words):len(words)], "tsize", strconv.FormatInt(size, 10))
	}
	if len(words) == 0 {
		return nil
	}
	return append(append([]byte{0, opOptions}, strings.Join(words, "\x00")...), 0)
}

// serveTFTP answers requests until the port is closed or fails; transfers end with ctx.
func (s *Server) serveTFTP(ctx context.Context, c *ipv4.PacketConn) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	buf := make([]byte, requestMost+1)
	for {
		n, cm, from, err := c.ReadFrom(buf)
		if err != nil {
			return err
		}
		client, ok := from.(*net.UDPAddr)
		if !ok || client.Port < 1024 || n < 5 || buf[0] != 0 || buf[1] != opRead && buf[1] != opWrite {
			continue
		}
		addr := client.AddrPort().Addr().Unmap()
		if s.pending(addr) {
			continue
		}
		r, bad := parseRequest(buf[:n])
		transfer, stop := context.WithTimeout(ctx, transferTime)
		var place *unheard
		if bad == nil {
			if place, ok = s.begin(addr, stop); !ok {
				bad = &refusal{codeOther, "too many transfers, try again"}
			}
		}
		if bad != nil {
			stop()
			// What cannot be sent is lost, as packets are.
			_, _ = c.WriteTo(bad.packet(n), nil, client)
			continue
		}
		wg.Go(func() {
			defer stop()
			defer s.end(place)
			s.serveRead(transfer, r, localOf(cm), client, func() { s.heard(place) })
		})
	}
}

// localOf is the address that a request was sent to, if a socket can be bound to it.
func localOf(cm *ipv4.ControlMessage) *net.UDPAddr {
	if cm == nil || cm.Dst == nil || !cm.Dst.IsGlobalUnicast() && !cm.Dst.IsLoopback() {
		return nil
	}
	return &net.UDPAddr{IP: cm.Dst}
}

// serveRead answers one read request, until ctx ends. heard is called when the client answers.
func (s *Server) serveRead(ctx context.Context, r *readRequest, local, client *net.UDPAddr, heard func()) {
	of := client.AddrPort().Addr()
	c, err := net.DialUDP("udp4", local, client)
	if err != nil {
		s.note(of, "%s: %v", client.IP, err)
		return
	}
	defer context.AfterFunc(ctx, func() { c.Close() })()
	defer c.Close()
	f, size, err := s.open(r.name)
	if err != nil {
		no := &refusal{codeNotFound, "no such file"}
		if !errors.Is(err, fs.ErrNotExist) {
			no = &refusal{codeOther, "the file cannot be read"}
			s.note(of, "%s asked for %q: %v", client.IP, r.name, err)
		}
		c.Write(no.packet(r.bytes))
		return
	}
	defer f.Close()
	t := &transfer{c: c, r: r, f: f, size: size, heard: sync.OnceFunc(heard), wait: firstTime, tries: firstTries}
	switch err := t.run(); {
	case err == nil:
		s.note(of, "%s loaded %q (%d bytes)", client.IP, r.name, size)
	case t.acked > 0: // firmware asks for the size first and then breaks off: no note for that
		s.note(of, "%s stopped loading %q at %d of %d bytes: %v", client.IP, r.name, t.acked*int64(r.block), size, err)
	}
}

// transfer sends one file.
type transfer struct {
	c     *net.UDPConn
	r     *readRequest
	f     *os.File
	size  int64
	acked int64 // blocks that have arrived

	heard func()        // called when the client has answered
	wait  time.Duration // for an answer
	tries int           // to get one
}

var (
	errGone    = errors.New("the client stopped answering")
	errStopped = errors.New("the client aborted")
)

func (t *transfer) run() error {
	if p := t.r.answer(t.size); p != nil {
		if err := t.exchange(0, func() error { _, err := t.c.Write(p); return err }); err != nil {
			return err
		}
	}
	// The last block is shorter than the others, empty if need be: that is how its end shows.
	for last := t.size/int64(t.r.block) + 1; t.acked < last; {
		n := min(int64(t.r.window), last-t.acked)
		if err := t.exchange(n, func() error { return t.window(n) }); err != nil {
			return err
		}
	}
	return nil
}

// window sends the next n blocks.
func (t *transfer) window(n int64) error {
	b := make([]byte, 4+t.r.block)
	for i := range n {
		block := t.acked + 1 + i
		m, err := t.f.ReadAt(b[4:], (block-1)*int64(t.r.block))
		if err != nil && err != io.EOF {
			t.c.Write((&refusal{codeOther, "the file cannot be read"}).packet(blockDefault))
			return err
		}
		binary.BigEndian.PutUint16(b, opData)
		// Numbers go on from 0 after 65535, as all clients of large files do.
		binary.BigEndian.PutUint16(b[2:], uint16(block))
		if _, err := t.c.Write(b[:4+m]); err != nil {
			return err
		}
	}
	return nil
}

// exchange sends something, again if need be, until one of the next n blocks is acknowledged; n 0 =
// the options.
func (t *transfer) exchange(n int64, send func() error) error {
	for range t.tries {
		if err := send(); err != nil {
			return err
		}
		switch got, err := t.ack(n); {
		case err == nil:
			t.heard()
			t.acked, t.wait, t.tries = t.acked+got, t.r.timeout, 1+retransmits
			return nil
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		}
	}
	return errGone
}

// ack waits for an acknowledgement of up to n blocks beyond those that are. Older ones are passed
// over: answering them would double every later packet.
func (t *transfer) ack(n int64) (int64, error) {
	if err := t.c.SetReadDeadline(time.Now().Add(t.wait)); err != nil {
		return 0, err
	}
	b := make([]byte, blockDefault+4)
	for {
		m, err := t.c.Read(b)
		if err != nil {
			return 0, err
		}
		if m < 4 || b[0] != 0 {
			continue
		}
		got := int64(binary.BigEndian.Uint16(b[2:]) - uint16(t.acked))
		switch {
		case b[1] == opError:
			return 0, errStopped
		case b[1] == opAck && got <= n && (got > 0 || n == 0):
			return got, nil
		}
	}
}
