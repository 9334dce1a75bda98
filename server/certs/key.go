package certs

import (
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"

	"troy/internal/durable"
	"troy/internal/tlskey"
)

// LoadKey reads the key by which machines know a server, or makes one and the file. No other server
// should have it: a new server makes its own.
func LoadKey(path string) (key *tlskey.Key, made bool, err error) {
	der, err := readPEM(path, "PRIVATE KEY")
	if errors.Is(err, fs.ErrNotExist) {
		key, err = makeKey(path)
		return key, true, err
	}
	if err != nil {
		return nil, false, err
	}
	if key, err = tlskey.Parse(der); err != nil {
		return nil, false, fmt.Errorf("%s: %w: %w", path, ErrInvalid, err)
	}
	return key, false, nil
}

func makeKey(path string) (*tlskey.Key, error) {
	key, err := tlskey.New()
	if err != nil {
		return nil, err
	}
	der, err := key.Marshal()
	if err != nil {
		return nil, err
	}
	return key, durable.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}
