package protocol

import "errors"

// ErrStranger is returned for a report of a machine that did not check in with the same key.
var ErrStranger = errors.New("no machine checked in with this key and these addresses: only its own report counts")

// Peer is who speaks, as the connection shows it. Unlike everything in a message it is no claim.
type Peer struct {
	Addr string // IP address
	// Key is the SHA-256 of the public key (SubjectPublicKeyInfo) of the client's certificate, whose
	// private half the peer has proved to hold, in hex; "" = it showed none.
	Key string
}
