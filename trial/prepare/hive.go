package prepare

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"troy/chainload/regf"
	"troy/internal/tool"
	"troy/trial/inside/onwindows"
)

// ErrHive: the registry hive SYSTEM is not what a running Windows leaves, or became something else
// than was wanted.
var ErrHive = errors.New("the registry hive SYSTEM")

// expandSZ is the type of a text with variables in it (REG_EXPAND_SZ).
const expandSZ regf.Type = 2

// services is the key of the services in the control set that Windows starts with next.
func services(hive *regf.Reader) (string, error) {
	v, err := hive.Value("Select", "Default")
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrHive, err)
	}
	n, ok := v.Number()
	if !ok || n < 1 || n > 999 {
		return "", fmt.Errorf("%w: Select\\Default is no control set", ErrHive)
	}
	return fmt.Sprintf(`ControlSet%03d\Services`, n), nil
}

// value is one value of the service's key: its name, and its content as hivexsh and as the registry
// say it.
type value struct {
	name, script string
	kind         regf.Type
	data         []byte
}

// values make the service start with Windows, as LocalSystem, in a process of its own.
func values() []value {
	number := func(name string, n uint32) value {
		return value{name, fmt.Sprintf("dword:0x%x", n), regf.DWORD, regf.EncodeDWORD(n)}
	}
	text := func(name, kind string, t regf.Type, s string) value {
		return value{name, kind + ":" + s, t, regf.EncodeSZ(s)}
	}
	return []value{
		number("Type", 0x10), number("Start", 2), number("ErrorControl", 1),
		text("ImagePath", "expandstring", expandSZ, onwindows.ServiceCommand()),
		text("DisplayName", "string", regf.SZ, onwindows.ServiceTitle),
		text("ObjectName", "string", regf.SZ, "LocalSystem"),
	}
}

// addService returns a hive SYSTEM that has the service, and is the same in all other services. The
// work is done in a folder.
func addService(ctx context.Context, hive []byte, dir string) ([]byte, error) {
	before, err := openHive(hive)
	if err != nil {
		return nil, err
	}
	key, err := services(before)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "SYSTEM")
	if err := os.WriteFile(path, hive, 0o600); err != nil {
		return nil, err
	}
	defer os.Remove(path)
	names, err := before.Keys(key)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrHive, key, err)
	}
	if err := tool.Run(ctx, &tool.Command{Name: "hivexsh", Args: []string{"-w", path}, Stdin: strings.NewReader(script(key, has(names)))}); err != nil {
		return nil, err
	}
	edited, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return edited, check(edited, key, names)
}

// openHive opens a hive that was closed in order.
func openHive(hive []byte) (*regf.Reader, error) {
	r, err := regf.NewReader(bytes.NewReader(hive), int64(len(hive)))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrHive, err)
	case r.Dirty():
		return nil, fmt.Errorf("%w was not closed in order: start Windows, and shut it down with 'shutdown /s /t 0'", ErrHive)
	}
	return r, nil
}

func has(names []string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, onwindows.ServiceName) })
}

// script is what hivexsh is told.
func script(key string, there bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "cd \\%s\n", key)
	if !there {
		fmt.Fprintf(&b, "add %s\n", onwindows.ServiceName)
	}
	list := values()
	fmt.Fprintf(&b, "cd %s\nsetval %d\n", onwindows.ServiceName, len(list))
	for _, v := range list {
		fmt.Fprintf(&b, "%s\n%s\n", v.name, v.script)
	}
	b.WriteString("commit\nquit\n")
	return b.String()
}

// check compares what became of a hive with what was wanted. Names are the services it had.
func check(edited []byte, key string, names []string) error {
	after, err := openHive(edited)
	if err != nil {
		return err
	}
	now, err := after.Keys(key)
	if err != nil {
		return fmt.Errorf("%w after it was edited: %w", ErrHive, err)
	}
	others := func(list []string) []string {
		return slices.DeleteFunc(slices.Clone(list), func(n string) bool { return strings.EqualFold(n, onwindows.ServiceName) })
	}
	if !has(now) || !slices.Equal(others(now), others(names)) {
		return fmt.Errorf("%w has other services after it was edited", ErrHive)
	}
	for _, want := range values() {
		got, err := after.Value(key+`\`+onwindows.ServiceName, want.name)
		if err != nil {
			return fmt.Errorf("%w after it was edited: %w", ErrHive, err)
		}
		if got.Type != want.kind || !bytes.Equal(got.Data, want.data) {
			return fmt.Errorf("%w has another %s after it was edited", ErrHive, want.name)
		}
	}
	return nil
}
