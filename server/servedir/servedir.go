// Package servedir names what a server keeps in the folder serve/ of its store: the folder is never
// published, and only its owner may look into it.
//
//	state.db      what is known of the machines (package state)
//	state.db.1    its last good copy
//	admin.sock    where the admin's commands on this machine reach the server (package rooms/api)
//	token         of the admin's commands on other machines (package rooms/api)
//	users         who may sign in on the page (package web)
//	audit.jsonl   who did what, and audit-refused.jsonl what strangers tried (package audit)
//	tls.key       by which machines know the server (package certs); no other server has it
//	inbox/        what golden PCs sent of their sessions (package inbox)
//	page/         certificate of the page, where no other folder is named (package certs)
//	lab           path of the server's lab.yaml: the admin's commands read it while no server runs
package servedir

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"troy/internal/durable"
)

// Dir is the path of such a folder.
type Dir string

// Of is the folder of the store at that path.
func Of(store string) Dir { return Dir(filepath.Join(store, "serve")) }

// Make makes the folder if it is not there yet. It takes from others, and from the group the right
// to write, what a wrong mode gave them: who gets in may speak to the server.
func (d Dir) Make() error {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return err
	}
	info, err := os.Stat(string(d))
	if err == nil && info.Mode().Perm()&0o027 != 0 {
		err = os.Chmod(string(d), info.Mode()&^0o027)
	}
	if err != nil {
		return err
	}
	return asOwner(string(d), func(uid, gid int) error { return os.Chown(string(d), uid, gid) })
}

// WriteFile replaces a file of such a folder, whole. What root writes belongs to the owner of the
// folder, so that the server can read it.
func WriteFile(path string, content []byte) error {
	f, err := durable.Create(path, 0o600)
	if err != nil {
		return err
	}
	defer f.Abandon()
	if err := asOwner(path, f.Chown); err != nil {
		return err
	}
	if _, err := f.Write(content); err != nil {
		return err
	}
	return f.Commit()
}

// asOwner calls chown with the owner of the folder around a path, if this is root.
func asOwner(path string, chown func(uid, gid int) error) error {
	info, err := os.Stat(filepath.Dir(path))
	if err != nil || os.Geteuid() != 0 {
		return err
	}
	owner := info.Sys().(*syscall.Stat_t)
	return chown(int(owner.Uid), int(owner.Gid))
}

// State is the path of the state file.
func (d Dir) State() string { return d.file("state.db") }

// SocketName is the name of the socket in the folder.
const SocketName = "admin.sock"

// Socket is the path of the socket of the admin's commands.
func (d Dir) Socket() string { return d.file(SocketName) }

// Token is the path of the file with the token for other machines.
func (d Dir) Token() string { return d.file("token") }

// Users is the path of the file with those who may sign in.
func (d Dir) Users() string { return d.file("users") }

// Audit is the path of the audit log.
func (d Dir) Audit() string { return d.file("audit.jsonl") }

// TLSKey is the path of the key by which machines know the server.
func (d Dir) TLSKey() string { return d.file("tls.key") }

// Page is the path of the folder with the certificate of the page.
func (d Dir) Page() string { return d.file("page") }

// Inbox is the path of the folder with what golden PCs sent.
func (d Dir) Inbox() string { return d.file("inbox") }

// SetLab notes where the server's lab.yaml is.
func (d Dir) SetLab(path string) error {
	return WriteFile(d.file("lab"), []byte(path+"\n"))
}

// Lab is the path of the lab.yaml of the server that runs, or ran last.
func (d Dir) Lab() (string, error) {
	b, err := os.ReadFile(d.file("lab"))
	return strings.TrimSpace(string(b)), err
}

func (d Dir) file(name string) string { return filepath.Join(string(d), name) }
