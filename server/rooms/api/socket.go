package api

import (
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"troy/internal/errline"
	"troy/server/servedir"
)

// Listen opens the socket on which the admin's commands on this machine reach the server, in place
// of one that an earlier server left: the caller holds the state file, so no other server runs. Who
// may connect follows from the folder: its owner and root, and where its mode lets the group in
// (chmod g+xs), the members of that group. Connections have the name of the caller's user as their
// remote address.
func Listen(dir servedir.Dir) (net.Listener, error) {
	if err := os.Remove(dir.Socket()); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	info, err := os.Stat(string(dir))
	if err != nil {
		return nil, err
	}
	s := &socket{path: dir.Socket(), owner: info.Sys().(*syscall.Stat_t).Uid, group: -1}
	if info.Mode().Perm()&0o010 != 0 {
		s.group = int(info.Sys().(*syscall.Stat_t).Gid)
	}
	err = nearby(dir, func(path string) (err error) {
		s.UnixListener, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.path, err)
	}
	s.SetUnlinkOnClose(false) // it would take the path of nearby
	if err := s.setMode(); err != nil {
		return nil, errline.Join(err, s.Close())
	}
	return s, nil
}

// nearby calls f with a path of the socket that the system takes, however long that of the folder
// is: an address of a socket has 108 bytes.
func nearby(dir servedir.Dir, f func(path string) error) error {
	d, err := os.OpenFile(string(dir), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer d.Close()
	return f(fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), servedir.SocketName))
}

// socket is the listener.
type socket struct {
	*net.UnixListener
	path  string
	owner uint32
	group int // whose members may connect; -1 = nobody's
}

// setMode lets in whom the folder lets in. In a folder with the set-group-ID bit nothing is to be
// given to another group, which the service's unit forbids.
func (s *socket) setMode() error {
	mode := os.FileMode(0o600)
	if s.group >= 0 {
		mode = 0o660
	}
	info, err := os.Stat(s.path)
	if err != nil {
		return err
	}
	if is := info.Sys().(*syscall.Stat_t); is.Uid != s.owner || s.group >= 0 && int(is.Gid) != s.group {
		if err := os.Chown(s.path, int(s.owner), s.group); err != nil {
			return fmt.Errorf("%w: 'chmod g+s %s' helps", err, filepath.Dir(s.path))
		}
	}
	return os.Chmod(s.path, mode)
}

// Accept implements net.Listener. The mode of the file keeps others out; that they are asked again
// is for a file whose mode somebody changed.
func (s *socket) Accept() (net.Conn, error) {
	for {
		c, err := s.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if who, ok := s.admit(c); ok {
			return &caller{c, who}, nil
		}
		c.Close() // nothing was said yet
	}
}

// Close implements net.Listener.
func (s *socket) Close() error {
	if err := s.UnixListener.Close(); err != nil {
		return err
	}
	return os.Remove(s.path)
}

// admit asks the kernel who connects.
func (s *socket) admit(c *net.UnixConn) (who string, ok bool) {
	raw, err := c.SyscallConn()
	if err != nil {
		return "", false
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err != nil || credErr != nil {
		return "", false
	}
	u, err := user.LookupId(strconv.Itoa(int(cred.Uid)))
	if err != nil {
		u = &user.User{Username: fmt.Sprintf("uid %d", cred.Uid)} // it may connect all the same
	}
	return u.Username, s.may(cred, u)
}

func (s *socket) may(cred *unix.Ucred, u *user.User) bool {
	if cred.Uid == 0 || cred.Uid == s.owner || int(cred.Uid) == os.Geteuid() {
		return true
	}
	if s.group < 0 || int(cred.Gid) == s.group {
		return s.group >= 0
	}
	groups, err := u.GroupIds()
	return err == nil && slices.Contains(groups, strconv.Itoa(s.group))
}

// caller is a connection of a user.
type caller struct {
	*net.UnixConn
	who string
}

// RemoteAddr implements net.Conn.
func (c *caller) RemoteAddr() net.Addr { return &net.UnixAddr{Name: c.who, Net: "unix"} }
