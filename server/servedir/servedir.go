// Package servedir names what a server keeps in the folder serve/ of its store: the folder is never
// published, and only its owner may look into it.
//
//	state.db      what is known of the machines (package state)
//	token         of the admin's calls (package rooms/api)
//	users         who may sign in on the page (package web)
//	audit.jsonl   who did what, and audit-refused.jsonl what strangers tried (package audit)
//	tls.key       by which machines know the server (package certs); no other server has it
//	page/         certificate of the page, where no other folder is named (package certs)
//	address       base URL of the server that runs, or ran last
//	lab           path of its lab.yaml
//
// The admin's commands read the last two: by the address they reach the server, and by the path
// they answer from the state file while no server runs.
package servedir

import (
	"os"
	"path/filepath"
	"strings"

	"troy/internal/durable"
)

// Dir is the path of such a folder.
type Dir string

// Of is the folder of the store at that path.
func Of(store string) Dir { return Dir(filepath.Join(store, "serve")) }

// Make makes the folder if it is not there yet.
func (d Dir) Make() error { return os.MkdirAll(string(d), 0o700) }

// State is the path of the state file.
func (d Dir) State() string { return d.file("state.db") }

// Token is the path of the file with the admin's token.
func (d Dir) Token() string { return d.file("token") }

// Users is the path of the file with those who may sign in.
func (d Dir) Users() string { return d.file("users") }

// Audit is the path of the audit log.
func (d Dir) Audit() string { return d.file("audit.jsonl") }

// TLSKey is the path of the key by which machines know the server.
func (d Dir) TLSKey() string { return d.file("tls.key") }

// Page is the path of the folder with the certificate of the page.
func (d Dir) Page() string { return d.file("page") }

// SetAddress notes the base URL of the server.
func (d Dir) SetAddress(url string) error { return d.set("address", url) }

// Address is the base URL of the server that runs, or ran last.
func (d Dir) Address() (string, error) { return d.get("address") }

// SetLab notes where the server's lab.yaml is.
func (d Dir) SetLab(path string) error { return d.set("lab", path) }

// Lab is the path of the lab.yaml of the server that runs, or ran last.
func (d Dir) Lab() (string, error) { return d.get("lab") }

func (d Dir) file(name string) string { return filepath.Join(string(d), name) }

func (d Dir) set(name, text string) error {
	return durable.WriteFile(d.file(name), []byte(text+"\n"), 0o644)
}

func (d Dir) get(name string) (string, error) {
	b, err := os.ReadFile(d.file(name))
	return strings.TrimSpace(string(b)), err
}
