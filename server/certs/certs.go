// Package certs makes and keeps the two keys that "troy serve" shows by TLS.
//
// Machines and the admin's commands know the server by one key (LoadKey), whose name the admin
// signs; its certificate says nothing and is never stored. Browsers cannot do that: for them the
// status page has a certificate of its own, in a folder of its own, and nothing else uses it:
//
//	ca.crt       certificate of the authority, for browsers to trust; PEM
//	ca.key       its key; 0600. May be locked away: then Renew needs it back
//	server.crt   the page's certificate; PEM
//	server.key   its key; 0600
//
// Without ca.crt the certificate was given from elsewhere (the site's own authority, ACME) and is
// only read again when its files change.
//
// # Promises
//
// Keys are ECDSA P-256, made by crypto/x509's own sources. The authority holds for twenty years and
// may sign servers only, nothing below it; the server's certificate for LeafTime, with the names
// and addresses that were asked for. Init changes nothing that is there. Renew keeps the names and
// makes a new key; files are replaced whole, key first, and Load takes only a pair that fits
// together, so that a crash in between is mended by the next Renew. A running server takes a
// renewed certificate without a restart (Keeper).
//
// # Known gaps
//
// No revocation of what browsers trust: a stolen key of the page is good until its certificate
// ends, for anyone who can take over the server's address. Machines are not concerned.
package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"troy/internal/absent"
	"troy/internal/durable"
	"troy/internal/errline"
)

// Files of the folder.
const (
	FileCA        = "ca.crt"
	FileCAKey     = "ca.key"
	FileServer    = "server.crt"
	FileServerKey = "server.key"
)

// Times that certificates hold. The server's is renewed when less than RenewTime is left.
const (
	caTime    = 20 * 365 * 24 * time.Hour
	LeafTime  = 397 * 24 * time.Hour
	RenewTime = LeafTime / 3
	backdate  = 24 * time.Hour // for machines whose clock is behind
)

var (
	// ErrExists is returned by Init for a folder that holds an authority.
	ErrExists = errors.New("there is a certificate authority already")
	// ErrNoKey is returned by Renew if the authority's key is not at hand.
	ErrNoKey = errors.New("the key of the certificate authority is not there")
	// ErrInvalid is returned for files that are damaged or do not belong together.
	ErrInvalid = errors.New("not usable")
)

// Init makes an authority and the page's certificate for names and IP addresses. Errors: ErrExists,
// ErrInvalid for a name that is none.
func Init(dir string, names []string, now time.Time) error {
	if err := checkNames(names); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, name := range []string{FileCA, FileCAKey} {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: %w", filepath.Join(dir, name), errline.Join(ErrExists, err))
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	t := template("Troy certificate authority", now, caTime)
	t.IsCA, t.MaxPathLenZero, t.BasicConstraintsValid = true, true, true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return err
	}
	ca, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	if err := writeKey(filepath.Join(dir, FileCAKey), key); err != nil {
		return err
	}
	if err := writeCert(filepath.Join(dir, FileCA), der); err != nil {
		return err
	}
	return issue(dir, ca, key, names, now)
}

func checkNames(names []string) error {
	if len(names) == 0 {
		return fmt.Errorf("names of the server: %w: at least one name or address is needed", ErrInvalid)
	}
	for _, n := range names {
		if net.ParseIP(n) == nil && (n == "" || len(n) > 253 || strings.Trim(strings.ToLower(n), "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" || strings.HasPrefix(n, ".")) {
			return fmt.Errorf("name of the server %.100q: %w", n, ErrInvalid)
		}
	}
	return nil
}

func template(name string, now time.Time, holds time.Duration) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		serial = big.NewInt(now.UnixNano()) // crypto/rand does not fail
	}
	return &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-backdate).UTC(), NotAfter: now.Add(holds).UTC()}
}

// issue makes a key and certificate for the server.
func issue(dir string, ca *x509.Certificate, caKey *ecdsa.PrivateKey, names []string, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	t := template("Troy server", now, LeafTime)
	if t.NotAfter.After(ca.NotAfter) {
		t.NotAfter = ca.NotAfter
	}
	t.KeyUsage, t.ExtKeyUsage, t.BasicConstraintsValid = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, true
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, ca, key.Public(), caKey)
	if err != nil {
		return err
	}
	if err := writeKey(filepath.Join(dir, FileServerKey), key); err != nil {
		return err
	}
	return writeCert(filepath.Join(dir, FileServer), der)
}

// Renew makes a new certificate for the server if less than RenewTime is left of the one that is
// there, or it is not usable, or names (if any are given) are others than those in it. Errors:
// ErrNoKey.
func Renew(dir string, names []string, now time.Time) (renewed bool, err error) {
	leaf, err := readLeaf(dir)
	if _, given := os.Lstat(filepath.Join(dir, FileCA)); err == nil && errors.Is(given, fs.ErrNotExist) {
		return false, nil // it was given, and is renewed where it comes from
	}
	_, pairErr := Load(dir)
	for _, err := range []error{err, pairErr} {
		var file *fs.PathError
		if errors.As(err, &file) && !absent.Is(err) {
			return false, err // what cannot be read now is not to be made again
		}
	}
	if err == nil && pairErr == nil && leaf.NotAfter.Sub(now) > RenewTime && (len(names) == 0 || same(names, Names(leaf))) {
		return false, nil
	}
	if len(names) == 0 {
		if err != nil {
			return false, err
		}
		names = Names(leaf)
	}
	if err := checkNames(names); err != nil {
		return false, err
	}
	ca, err := readCert(filepath.Join(dir, FileCA))
	if err != nil {
		return false, err
	}
	key, err := readKey(filepath.Join(dir, FileCAKey))
	if errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("%s: %w", filepath.Join(dir, FileCAKey), ErrNoKey)
	}
	if err != nil {
		return false, err
	}
	if !key.PublicKey.Equal(ca.PublicKey) {
		return false, fmt.Errorf("%s: %w: it is not the key of %s", filepath.Join(dir, FileCAKey), ErrInvalid, FileCA)
	}
	return true, issue(dir, ca, key, names, now)
}

// Names are the names and addresses in a certificate.
func Names(c *x509.Certificate) []string {
	names := append([]string(nil), c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

func same(a, b []string) bool {
	set := map[string]bool{}
	for _, n := range b {
		set[n] = true
	}
	for _, n := range a {
		if ip := net.ParseIP(n); ip != nil {
			n = ip.String()
		}
		if !set[n] {
			return false
		}
	}
	return len(a) == len(b)
}

// ReadLeaf reads the server's certificate.
func readLeaf(dir string) (*x509.Certificate, error) { return readCert(filepath.Join(dir, FileServer)) }

// Load reads the page's certificate and key, and checks them against the authority if there is one.
func Load(dir string) (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, FileServer), filepath.Join(dir, FileServerKey))
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", dir, ErrInvalid, err)
	}
	ca, err := readCert(filepath.Join(dir, FileCA))
	if errors.Is(err, fs.ErrNotExist) {
		return &pair, nil // given
	}
	if err != nil {
		return nil, err
	}
	if err := pair.Leaf.CheckSignatureFrom(ca); err != nil {
		return nil, fmt.Errorf("%s: %w: not signed by %s: %w", filepath.Join(dir, FileServer), ErrInvalid, FileCA, err)
	}
	return &pair, nil
}

func readCert(path string) (*x509.Certificate, error) {
	b, err := readPEM(path, "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	c, err := x509.ParseCertificate(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", path, ErrInvalid, err)
	}
	return c, nil
}

func readKey(path string) (*ecdsa.PrivateKey, error) {
	b, err := readPEM(path, "PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	k, err := x509.ParsePKCS8PrivateKey(b)
	if key, ok := k.(*ecdsa.PrivateKey); ok && err == nil {
		return key, nil
	}
	return nil, fmt.Errorf("%s: %w: want an ECDSA key in PKCS #8", path, errline.Join(ErrInvalid, err))
}

func readPEM(path, kind string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != kind {
		return nil, fmt.Errorf("%s: %w: want PEM of a %s", path, ErrInvalid, strings.ToLower(kind))
	}
	return block.Bytes, nil
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	b, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return durable.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: b}), 0o600)
}

func writeCert(path string, der []byte) error {
	return durable.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}
