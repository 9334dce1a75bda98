package main

import (
	"strings"

	"github.com/spf13/cobra"
)

// gone is a flag that a command had once, and what replaces it.
type gone struct{ command, flag, now string }

// goneFlags lists all of them.
func goneFlags() []gone {
	return []gone{
		{"serve", "image", "set `image: NAME` for the room in lab.yaml, or name the image in 'troy promote --room ROOM NAME@VERSION'"},
		{"serve", "version", "run 'troy promote --room ROOM IMAGE@VERSION', or set `version: N` for the room in lab.yaml"},
		{"serve", "merge", "set `merge: lazy` or `merge: now` for the room in lab.yaml"},
		{"serve", "reset", "set `reset: boot` for the room in lab.yaml"},
		{"serve", "provision", "set `provision: {allow: true}` for the room in lab.yaml"},
		{"serve", "wipe", "set `provision: {allow: true, wipe: true}` for the room in lab.yaml"},
		{"serve", "reinstall", "set `reinstall: true` for the room in lab.yaml"},
		{"serve", "agent", "machines get the store's current release ('troy agent publish') without it"},
		{"serve", "retry", "run 'troy promote --retry --room ROOM IMAGE@VERSION'"},
		{"serve", "plain-login", "the page always has TLS now"},
		{"init", "unsigned", "every store is signed, and init makes the keys"},
		{"media", "ca", "machines know a server by its key; 'troy key servers' signs it"},
		{"media", "unsigned", "every store is signed; --store or --root names whose signatures machines accept"},
	}
}

// goneFlag says what replaces a flag of a command, if it had it once.
func goneFlag(cmd *cobra.Command, name string) (now string, ok bool) {
	command := strings.TrimPrefix(cmd.CommandPath(), "troy ")
	for _, g := range goneFlags() {
		if g.command == command && g.flag == name {
			return g.now, true
		}
	}
	return "", false
}
