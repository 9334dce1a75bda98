package fields

import (
	"fmt"
	"slices"
	"strings"
)

// settings are the fields of one number.
var settings = []string{DisablePasswordChange, ExpandOnMount, Hiberboot, MaximumPasswordAge, StorageStart}

// Settings returns the names of the fields that hold a number of the registry, sorted.
func Settings() []string { return slices.Sorted(slices.Values(settings)) }

// CheckSetting returns a *ValueError for a name that no setting has, and for a number that Windows
// does not know for it.
func CheckSetting(name string, n uint32) error {
	if !slices.Contains(settings, name) {
		return &ValueError{name, "no such setting; there are " + strings.Join(Settings(), ", ")}
	}
	return bounded(name, n)
}

// bounded refuses a number that Windows does not know.
func bounded(name string, n uint32) error {
	if limit, ok := most[name]; ok && n > limit {
		return &ValueError{name, fmt.Sprintf("%d, at most %d", n, limit)}
	}
	return nil
}
