package web

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/crypto/argon2"

	"troy/server/servedir"
)

// Parameters of new hashes (RFC 9106, section 4, with the memory of small servers in mind), and the
// bounds of those that are taken.
const (
	argonTime, argonMemory, argonThreads = 3, 32 << 10, 1 // passes, KiB
	argonSalt, argonKey                  = 16, 32         // bytes
	argonTimeMost, argonMemoryMost       = 20, 256 << 10
)

// Bounds of names and passwords.
const (
	nameMost      = 32
	passwordLeast = 10
	passwordMost  = 512
)

var (
	// ErrUsers is the class of faults in a file of users.
	ErrUsers = errors.New("file of users")
	// ErrNoUser is returned when a user to remove is not there.
	ErrNoUser = errors.New("no such user")
	// ErrPassword is returned for a password that is too short or too long, and a name that is
	// none.
	ErrPassword = errors.New("not usable")
)

// Users are those who may sign in: a file with a line NAME:HASH each, the hash in the form of the
// argon2 program ($argon2id$v=19$m=…,t=…,p=…$salt$hash).
type Users struct {
	path string
	busy sync.Mutex // one computation at a time: each takes argonMemory
}

// OpenUsers reads the file, which need not exist yet. It is read again at each login.
func OpenUsers(path string) (*Users, error) {
	u := &Users{path: path}
	_, err := u.read()
	return u, err
}

// Empty reports whether no one can sign in.
func (u *Users) Empty() bool {
	m, err := u.read()
	return err != nil || len(m) == 0
}

func (u *Users) read() (map[string]string, error) {
	b, err := os.ReadFile(u.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUsers, err)
	}
	users := map[string]string{}
	lines := bufio.NewScanner(bytes.NewReader(b))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, hash, _ := strings.Cut(line, ":")
		if _, err := parseHash(hash); err != nil || !goodName(name) {
			return nil, fmt.Errorf("%w: %s:%d: want NAME:$argon2id$…", ErrUsers, u.path, n)
		}
		users[name] = hash
	}
	return users, nil
}

// Set gives a user a password, and makes the user if need be. "" removes the user. The file is
// replaced whole, and calls of several programs at once follow one another.
func (u *Users) Set(name, password string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if password != "" {
		if err := CheckPassword(password); err != nil {
			return err
		}
	}
	unlock, err := u.lock()
	if err != nil {
		return err
	}
	defer unlock()
	users, err := u.read()
	if err != nil {
		return err
	}
	if _, there := users[name]; password == "" && !there {
		return fmt.Errorf("%w: %q", ErrNoUser, name)
	}
	if users == nil {
		users = map[string]string{}
	}
	delete(users, name)
	if password != "" {
		users[name] = u.hash(password)
	}
	var lines []string
	for name, hash := range users {
		lines = append(lines, name+":"+hash+"\n")
	}
	slices.Sort(lines)
	return servedir.WriteFile(u.path, []byte(strings.Join(lines, "")))
}

// CheckName returns ErrPassword for what cannot be the name of a user.
func CheckName(name string) error {
	if !goodName(name) {
		return fmt.Errorf("name %q: %w: want 1 to %d letters, digits, dots, dashes", name, ErrPassword, nameMost)
	}
	return nil
}

// CheckPassword returns ErrPassword for one that is too short or too long.
func CheckPassword(password string) error {
	if len(password) < passwordLeast || len(password) > passwordMost {
		return fmt.Errorf("password: %w: want %d to %d bytes", ErrPassword, passwordLeast, passwordMost)
	}
	return nil
}

// lock waits until no other program changes the file. The lock is on the folder: the file itself is
// replaced.
func (u *Users) lock() (unlock func(), err error) {
	f, err := os.Open(filepath.Dir(u.path))
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close() // nothing was written
		return nil, fmt.Errorf("locking %s: %w", u.path, err)
	}
	return func() { f.Close() }, nil // closing unlocks
}

func goodName(s string) bool {
	return s != "" && len(s) <= nameMost && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_@") == ""
}

// Proof returns what a session of the user rests on: another one after a change of the password, ""
// once the user is removed.
func (u *Users) Proof(name string) (string, error) {
	users, err := u.read()
	return users[name], err
}

// Check says whether the password is that of the user, and returns the Proof for a session. It takes
// as long for a user that does not exist.
func (u *Users) Check(name, password string) (proof string, ok bool) {
	users, err := u.read()
	if err != nil || len(password) > passwordMost {
		return "", false
	}
	hash, known := users[name]
	if !known {
		hash = fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", argonMemory, argonTime, argonThreads,
			base64.RawStdEncoding.EncodeToString(make([]byte, argonSalt)), base64.RawStdEncoding.EncodeToString(make([]byte, argonKey)))
	}
	p, err := parseHash(hash)
	if err != nil {
		return "", false
	}
	u.busy.Lock()
	defer u.busy.Unlock()
	got := argon2.IDKey([]byte(password), p.salt, p.time, p.memory, p.threads, uint32(len(p.key)))
	return hash, subtle.ConstantTimeCompare(got, p.key) == 1 && known
}

func (u *Users) hash(password string) string {
	u.busy.Lock()
	defer u.busy.Unlock()
	salt := make([]byte, argonSalt)
	rand.Read(salt)
	key := argon2.IDKey([]byte(password), salt, argonTime, argonMemory, argonThreads, argonKey)
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime, argonThreads,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(key))
}

type argonHash struct {
	time, memory uint32
	threads      uint8
	salt, key    []byte
}

func parseHash(s string) (*argonHash, error) {
	parts := strings.Split(s, "$")
	h, version := &argonHash{}, 0
	bad := fmt.Errorf("%w: no argon2id hash", ErrUsers)
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" {
		return nil, bad
	}
	if _, err := fmt.Sscanf(parts[2]+" "+parts[3], "v=%d m=%d,t=%d,p=%d", &version, &h.memory, &h.time, &h.threads); err != nil || version != argon2.Version ||
		h.time < 1 || h.time > argonTimeMost || h.memory < 8 || h.memory > argonMemoryMost || h.threads < 1 {
		return nil, bad
	}
	var err1, err2 error
	h.salt, err1 = base64.RawStdEncoding.DecodeString(parts[4])
	h.key, err2 = base64.RawStdEncoding.DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(h.salt) < 8 || len(h.key) < 16 || len(h.key) > 128 {
		return nil, bad
	}
	return h, nil
}
