package trust

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"troy/image"
	"troy/image/trust/internal/tree"
	"troy/internal/format"
	"troy/internal/tlskey"
)

// ServersKind is the format of servers.json. It needs no words: a machine that cannot read it finds
// no server from which to get a newer agent.
var ServersKind = format.Kind{Name: tree.Servers, Number: 1, Oldest: 1, Bare: true}

// ServersFile is where media carry the newest servers.json that was signed when they were made.
const ServersFile = "/etc/troy/servers.json"

// MaxServers is how many servers a list has at most, and URLs each of them.
const MaxServers = 64

const maxURL = 256 // bytes

// Servers is the document servers.json: the servers of the site, known by the keys that they show
// by TLS. A machine talks to no other one, whatever its name or address is.
type Servers struct {
	format.Head
	// Version counts the lists of a store.
	Version int `json:"version"`
	// Store is the name of the store, as in its root metadata.
	Store   string   `json:"store"`
	Servers []Server `json:"servers"`

	Unknown format.Unknown `json:",embed"`

	digest string // of the bytes that were read
}

// Server is one server, or one that is going to be.
type Server struct {
	// Key is the SHA-256 of the server's public key, as package tlskey names it.
	Key string `json:"key"`
	// URLs are where machines reach it, in the order in which they try; none: DHCP or the media
	// name it.
	URLs []string `json:"urls,omitempty"`
	// Next: the server does not serve yet. Its key is good, but its URLs are not asked.
	Next bool `json:"next,omitempty"`

	Unknown format.Unknown `json:",embed"`
}

// Keys are the keys that machines take, those in force first. A nil list has none.
func (s *Servers) Keys() []string {
	if s == nil {
		return nil
	}
	var keys []string
	for _, next := range []bool{false, true} {
		for _, e := range s.Servers {
			if e.Next == next {
				keys = append(keys, e.Key)
			}
		}
	}
	return keys
}

// URLs are those of the servers in force. A nil list has none.
func (s *Servers) URLs() []string {
	if s == nil {
		return nil
	}
	var urls []string
	for _, e := range s.Servers {
		if !e.Next {
			urls = append(urls, e.URLs...)
		}
	}
	return urls
}

// Encode returns the document as it is signed.
func (s *Servers) Encode() ([]byte, error) {
	c := *s
	ServersKind.Stamp(&c.Head)
	b, err := format.Marshal(&c)
	return append(b, '\n'), err
}

// Digest is the SHA-256, in hex, of the document that ParseServers read, as orders name it: whoever
// wrote it, all programs agree on that. "" for a nil list.
func (s *Servers) Digest() string {
	if s == nil {
		return ""
	}
	return s.digest
}

// Check returns image.ErrInvalid for a list that machines would not take.
func (s *Servers) Check() error {
	invalid := func(format string, a ...any) error {
		return fmt.Errorf("%w list of servers: %s", image.ErrInvalid, fmt.Sprintf(format, a...))
	}
	switch {
	case s.Version < 1:
		return invalid("version %d", s.Version)
	case s.Store == "" || len(s.Servers) == 0 || len(s.Servers) > MaxServers:
		return invalid("store %.40q, %d servers; want 1 to %d", s.Store, len(s.Servers), MaxServers)
	}
	seen := map[string]bool{}
	for _, e := range s.Servers {
		switch {
		case !tlskey.IsName(e.Key):
			return invalid("%.80q is not the SHA-256 of a public key in lower-case hex", e.Key)
		case seen[e.Key]:
			return invalid("the key %s is there twice", e.Key)
		case len(e.URLs) > MaxServers || slices.ContainsFunc(e.URLs, badURL):
			return invalid("URLs of the server with the key %.12s…: want https://HOST[:PORT]", e.Key)
		}
		seen[e.Key] = true
	}
	return nil
}

// badURL refuses what no machine would check in at. What else a URL has to be its user checks.
func badURL(s string) bool {
	const scheme = "https://"
	return len(s) <= len(scheme) || len(s) > maxURL || s[:len(scheme)] != scheme ||
		slices.ContainsFunc([]byte(s), func(c byte) bool { return c <= ' ' || c > '~' })
}

// ParseServers reads a list of servers that Check takes.
func ParseServers(b []byte) (*Servers, error) {
	var s Servers
	if err := ServersKind.Read(b, &s); err != nil {
		return nil, fmt.Errorf("trust: %w", err)
	}
	sum := sha256.Sum256(b)
	s.digest = hex.EncodeToString(sum[:])
	return &s, s.Check()
}

// Known returns the newest list of servers that a machine has without asking anybody: of what the
// media carry beside their root, and what the memory keeps. A list of another store counts as none,
// and so does what cannot be read. nil = there is none.
func Known(root, media []byte, memory Memory) *Servers {
	r, err := metadata.Root().FromBytes(root)
	if err != nil {
		return nil
	}
	var newest *Servers
	for _, b := range [][]byte{media, remembered(memory)} {
		s, err := ParseServers(b)
		if err == nil && s.Store == storeID(&r.Signed) && (newest == nil || s.Version > newest.Version) {
			newest = s
		}
	}
	return newest
}

// remembered is the list of servers in a memory.
func remembered(m Memory) []byte {
	if m == nil {
		return nil
	}
	b, err := m.Load()
	if err != nil {
		return nil
	}
	var k memory
	k.decode(b)
	return k.Servers
}

// servers reads the list of servers unless it is the one in memory. A store without one leaves that
// as it is: nobody is locked out by a list that is missing.
func (u *update) servers(ctx context.Context) error {
	t := u.t.Targets[metadata.TARGETS].Signed.Targets[tree.Servers]
	if t == nil || t.VerifyLengthHashes(u.memory.Servers) == nil {
		return nil
	}
	b, err := u.get(ctx, tree.Copy(tree.Servers, t.Hashes["sha256"]), bound(t.Length, tree.MaxDocument))
	if err != nil {
		return err
	}
	if err := t.VerifyLengthHashes(b); err != nil {
		return u.refuse(tree.Servers, err)
	}
	s, err := ParseServers(b)
	if err == nil && s.Store != storeID(&u.t.Root.Signed) {
		err = errors.New("it is of another store")
	}
	if err != nil {
		return u.refuse(tree.Servers, err)
	}
	u.memory.Servers = b
	return nil
}
