package api

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"troy/server/servedir"
)

// tokenBytes are the random bytes of a token.
const tokenBytes = 32

var (
	// ErrNoToken is returned where no token was made yet. It admits nobody.
	ErrNoToken = errors.New("there is no token")
	// ErrDamaged is returned for a file that holds no token. It admits nobody.
	ErrDamaged = errors.New("the file holds no token")
)

// Token is the path of the file with the token of callers on other machines. It is read at each
// call, so that a new token is in force, and the old one is not, as soon as the file is replaced.
type Token string

// Read returns the token: ErrNoToken, ErrDamaged.
func (t Token) Read() (string, error) {
	b, err := os.ReadFile(string(t))
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s: %w", t, ErrNoToken)
	}
	if err != nil {
		return "", err
	}
	text := strings.TrimSpace(string(b))
	if raw, err := base64.RawURLEncoding.DecodeString(text); err != nil || len(raw) != tokenBytes {
		return "", fmt.Errorf("%s: %w", t, ErrDamaged)
	}
	return text, nil
}

// Rotate draws a token and puts it in the place of the one before.
func (t Token) Rotate() (string, error) {
	raw := make([]byte, tokenBytes)
	rand.Read(raw)
	text := base64.RawURLEncoding.EncodeToString(raw)
	return text, servedir.WriteFile(string(t), []byte(text+"\n"))
}

// Ensure draws a token where there is none, and reports whether the file was damaged.
func (t Token) Ensure() (damaged bool, err error) {
	_, err = t.Read()
	if damaged = errors.Is(err, ErrDamaged); damaged || errors.Is(err, ErrNoToken) {
		_, err = t.Rotate()
	}
	return damaged, err
}

// admits says whether an Authorization header shows the token.
func (t Token) admits(header string) bool {
	token, err := t.Read()
	got, want := sha256.Sum256([]byte(header)), sha256.Sum256([]byte("Bearer "+token))
	return err == nil && subtle.ConstantTimeCompare(got[:], want[:]) == 1
}
