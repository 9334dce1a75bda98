package main

import (
	"errors"
	"os"
	"strings"

	"troy/internal/format"
	"troy/server/protocol"
	"troy/server/state"
)

// offer writes the check-in of an agent.
func offer(path string) error {
	return writeJSON(path, &protocol.CheckIn{Protocol: protocol.Version, Oldest: protocol.Oldest, Image: "pc", Version: 1,
		Machine: protocol.Machine{Ports: []protocol.Port{{MAC: "52:54:00:12:34:56"}}}})
}

// answer replaces a check-in by the order of a server.
func answer(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	in, err := protocol.ReadCheckIn(b)
	if err != nil {
		return err
	}
	o, err := protocol.Order{Protocol: protocol.Version, Repo: "repo", Agent: "2", Want: &protocol.Want{Image: "pc", Version: 2, Manifest: strings.Repeat("2", protocol.HashSize)}}.For(in)
	if err != nil {
		return err
	}
	return writeJSON(path, &o)
}

// follow reads an order as an agent does.
func follow(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	o, err := protocol.ReadOrder(b)
	if err == nil && o.Refused != "" {
		err = errors.New(o.Refused)
	}
	return err
}

// keep opens the state of a server.
func keep(path string) error {
	s, err := state.Open(path, nil)
	if err != nil {
		return err
	}
	return s.Close()
}

func writeJSON(path string, v any) error {
	b, err := format.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}
