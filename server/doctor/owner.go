package doctor

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// owned are the files of a store, as patterns, that the server writes to or that only their owner can read. The others may be anybody's.
var owned = []string{"serve", "serve/*", "keys", "keys/.lock", "keys/online", "keys/online/*", "metadata"}

// checkOwners looks for what somebody else, mostly root, made in a store, so that the service cannot use it.
func checkOwners(dir string) (all []Finding) {
	owner, err := ownerOf(dir)
	if err != nil {
		return nil // checkSpace says it
	}
	do := func(owner int) string {
		who := userName(owner)
		return fmt.Sprintf("chown -R %s: %s; and run troy as that user: runuser -u %s -- troy …", who, dir, who)
	}
	around, err := ownerOf(filepath.Dir(dir))
	if err == nil && owner == 0 && around != 0 {
		return []Finding{{"owner", Fault, fmt.Sprintf("%s belongs to root, the folder around it to %s", dir, userName(around)), do(around)}}
	}
	for _, pattern := range owned {
		paths, _ := filepath.Glob(filepath.Join(dir, pattern)) // the patterns are well-formed; a dir that looks like one finds nothing
		for _, p := range paths {
			if have, err := ownerOf(p); err == nil && have != owner {
				all = append(all, Finding{"owner", Fault, fmt.Sprintf("%s belongs to %s, the store to %s", p, userName(have), userName(owner)), do(owner)})
			}
		}
	}
	if len(all) == 0 {
		all = append(all, Finding{"owner", Good, fmt.Sprintf("what the server needs in %s belongs to %s", dir, userName(owner)), ""})
	}
	return all
}

func ownerOf(path string) (int, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return int(info.Sys().(*syscall.Stat_t).Uid), nil
}

// userName is the number if nobody has it.
func userName(uid int) string {
	u, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return strconv.Itoa(uid)
	}
	return u.Username
}
