package kmod

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// ModulesDep is the content of modules.dep for a list made by [Index.Closure].
// Dependencies that are not in the list are built into the kernel and left out.
func ModulesDep(modules []*Module) []byte {
	byName := map[string]*Module{}
	for _, m := range modules {
		byName[m.Name] = m
	}
	lines := make([]string, 0, len(modules))
	for _, m := range modules {
		var deps []string
		appendDeps(&deps, m, byName)
		lines = append(lines, strings.TrimSpace(m.Path+": "+strings.Join(deps, " "))+"\n")
	}
	slices.Sort(lines)
	return []byte(strings.Join(lines, ""))
}

// appendDeps adds the paths of all dependencies of m, nearest first: a program
// that loads them from the last to the first loads each after its own.
func appendDeps(deps *[]string, m *Module, byName map[string]*Module) {
	for _, name := range m.Depends {
		d := byName[name]
		if d == nil {
			continue
		}
		if i := slices.Index(*deps, d.Path); i >= 0 {
			*deps = slices.Delete(*deps, i, i+1)
		}
		*deps = append(*deps, d.Path)
		appendDeps(deps, d, byName)
	}
}

// ModulesAlias is the content of modules.alias: which device a module serves.
func ModulesAlias(modules []*Module) []byte {
	var b bytes.Buffer
	for _, m := range byName(modules) {
		for _, a := range m.Aliases {
			fmt.Fprintf(&b, "alias %s %s\n", a, m.Name)
		}
	}
	return b.Bytes()
}

// ModulesSoftdep is the content of modules.softdep, only "pre:", only what is in the list.
func ModulesSoftdep(modules []*Module) []byte {
	var b bytes.Buffer
	for _, m := range byName(modules) {
		var pre []string
		for _, s := range m.SoftPre {
			if slices.ContainsFunc(modules, func(o *Module) bool { return o.Name == s }) {
				pre = append(pre, s)
			}
		}
		if len(pre) > 0 {
			fmt.Fprintf(&b, "softdep %s pre: %s\n", m.Name, strings.Join(pre, " "))
		}
	}
	return b.Bytes()
}

func byName(modules []*Module) []*Module {
	return slices.SortedFunc(slices.Values(modules), func(a, b *Module) int { return strings.Compare(a.Name, b.Name) })
}
