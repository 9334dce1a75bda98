// Package tlskey knows the two ends of a TLS connection by their public keys alone: names,
// authorities and dates do not count, so that neither a wrong clock nor an expired certificate
// locks anybody out. A key is named by the SHA-256 of its SubjectPublicKeyInfo, in hex: what
// "curl --pinnedpubkey" compares, there in base64.
//
// Keys are ECDSA P-256. The certificate that carries one is self-signed and says nothing; it is
// made anew by each program that starts.
package tlskey

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"
)

// Size is the length of a key's name, in hex digits.
const Size = 2 * sha256.Size

var (
	// ErrKey is returned for bytes that hold no key of this package.
	ErrKey = errors.New("not an ECDSA P-256 key in PKCS #8")
	// ErrPin is the class of PinError.
	ErrPin = errors.New("the server's key is not one that the site's signed list names")
)

// PinError says which key a server showed instead of one that was expected.
type PinError struct {
	Key string // of the server
}

// Error gives one line.
func (e *PinError) Error() string { return fmt.Sprintf("%v: it shows %s", ErrPin, e.Key) }

// Unwrap gives ErrPin.
func (e *PinError) Unwrap() error { return ErrPin }

// Key is a private key.
type Key struct{ private *ecdsa.PrivateKey }

// New makes a key.
func New() (*Key, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return &Key{private}, err
}

// Parse reads what Marshal made. Its error is ErrKey.
func Parse(der []byte) (*Key, error) {
	k, err := x509.ParsePKCS8PrivateKey(der)
	private, ok := k.(*ecdsa.PrivateKey)
	if err != nil || !ok || private.Curve != elliptic.P256() {
		return nil, ErrKey
	}
	return &Key{private}, nil
}

// Marshal gives the key as PKCS #8 in DER.
func (k *Key) Marshal() ([]byte, error) { return x509.MarshalPKCS8PrivateKey(k.private) }

// Name names the key.
func (k *Key) Name() (string, error) {
	spki, err := x509.MarshalPKIXPublicKey(k.private.Public())
	return nameOf(spki), err
}

// Of names the key of a certificate.
func Of(c *x509.Certificate) string { return nameOf(c.RawSubjectPublicKeyInfo) }

func nameOf(spki []byte) string {
	sum := sha256.Sum256(spki)
	return hex.EncodeToString(sum[:])
}

// IsName tells whether s can name a key.
func IsName(s string) bool {
	return len(s) == Size && strings.Trim(s, "0123456789abcdef") == ""
}

// Certificate makes a self-signed certificate that carries the key.
func (k *Key) Certificate() (tls.Certificate, error) {
	t := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "troy"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)} // RFC 5280: no date
	der, err := x509.CreateCertificate(rand.Reader, t, t, k.private.Public(), k.private)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: k.private}, err
}

// Client is the configuration of a client that takes a server only if pinned names its key, which
// is asked at each connection. own is shown as the client's certificate; nil = none. Otherwise the
// handshake fails with a PinError.
func Client(pinned func() []string, own *tls.Certificate) *tls.Config {
	c := Unverified()
	c.VerifyConnection = func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 {
			return &PinError{}
		}
		if name := Of(s.PeerCertificates[0]); !slices.Contains(pinned(), name) {
			return &PinError{name}
		}
		return nil
	}
	if own != nil {
		c.Certificates = []tls.Certificate{*own}
	}
	return c
}

// Unverified is the configuration of a client that takes any server, for what is verified by other
// means once it is there.
func Unverified() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}
}

// Server is the configuration of a listener with two faces. A browser, which offers HTTP/2, is
// served with what page returns. Every other client, which speaks HTTP/1.1 alone, is shown own and
// asked for a certificate, which may be missing.
func Server(own *tls.Certificate, page func() *tls.Certificate) *tls.Config {
	machines := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, ClientAuth: tls.RequestClientCert,
		Certificates: []tls.Certificate{*own}, SessionTicketsDisabled: true} // a start makes one connection
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return page(), nil },
		GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			if slices.Contains(h.SupportedProtos, "h2") {
				return nil, nil
			}
			return machines, nil
		}}
}
