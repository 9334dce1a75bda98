package vhdx

import (
	"fmt"

	"troy/internal/guid"
)

// GUID is a Windows GUID in its on-disk byte order: the first three fields are
// little-endian. Its methods are String, IsZero, MarshalText and UnmarshalText.
type GUID = guid.GUID

// NewGUID returns a random (version 4) GUID.
func NewGUID() GUID { return guid.New() }

// ParseGUID reads xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx in any case, with or
// without braces.
func ParseGUID(s string) (GUID, error) {
	g, err := guid.Parse(s)
	if err != nil {
		return g, fmt.Errorf("vhdx: %w", err)
	}
	return g, nil
}
