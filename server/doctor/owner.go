package doctor

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"troy/server/certs"
)

// owned are the files of a store, as patterns, that the server writes to or that only their owner
// can read. The others may be anybody's.
var owned = []string{"serve", "serve/*", "serve/page/*", "keys", "keys/.lock", "keys/server.key", "metadata"}

// checkOwners looks for what another user, mostly root, made in a store, or in the folder of the
// certificates, so that the service cannot use it.
func checkOwners(dir, certsDir string) (all []Finding) {
	owner, err := ownerOf(dir)
	if err != nil {
		return nil // checkSpace says it
	}
	around, err := ownerOf(filepath.Join(dir, ".."))
	if err == nil && owner == 0 && around != 0 {
		return []Finding{{"owner", Fault, fmt.Sprintf("%s belongs to root, the folder around it to %s", dir, userName(around)), giveTo(dir, around)}}
	}
	for _, p := range ownedPaths(dir) {
		if have, err := ownerOf(p); err == nil && have != owner {
			all = append(all, Finding{"owner", Fault, fmt.Sprintf("%s belongs to %s, the store to %s", p, userName(have), userName(owner)), giveTo(dir, owner)})
		}
	}
	if key := filepath.Join(certsDir, certs.FileServerKey); certsDir != "" && secret(key) {
		if have, err := ownerOf(key); err == nil && have != owner {
			all = append(all, Finding{"owner", Fault, fmt.Sprintf("%s belongs to %s, the store to %s", key, userName(have), userName(owner)), giveTo(certsDir, owner)})
		}
	}
	if len(all) == 0 {
		all = append(all, Finding{"owner", Good, fmt.Sprintf("the files that the server needs in %s belong to %s", dir, userName(owner)), ""})
	}
	return all
}

// ownedPaths are those of the owned files that are there.
func ownedPaths(dir string) (all []string) {
	for _, pattern := range owned {
		// The patterns are well-formed; a dir that looks like one finds nothing.
		paths, _ := filepath.Glob(filepath.Join(dir, pattern))
		all = append(all, paths...)
	}
	return all
}

// secret says that a file is there and its owner alone can read it.
func secret(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Perm()&0o044 == 0
}

// giveTo is what to do about a folder of another owner's.
func giveTo(dir string, owner int) string {
	return fmt.Sprintf("chown -R %s: %s", userName(owner), dir)
}

func ownerOf(path string) (int, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return int(info.Sys().(*syscall.Stat_t).Uid), nil
}

// userName is the number if no user has it.
func userName(uid int) string {
	u, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return strconv.Itoa(uid)
	}
	return u.Username
}
