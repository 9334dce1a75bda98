package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"troy/initramfs/bundle"
)

// materials are what a package is made of, and what of that is made of what.
type materials struct {
	parts map[string]component       // by reference
	of    map[string]map[string]bool // reference → references of what it is made of
}

func newMaterials() *materials {
	return &materials{parts: map[string]component{}, of: map[string]map[string]bool{}}
}

// add adds a part of another one; "" is the package itself.
func (m *materials) add(whole string, c component) {
	m.parts[c.Ref] = c
	if m.of[whole] == nil {
		m.of[whole] = map[string]bool{}
	}
	m.of[whole][c.Ref] = true
}

// errNoModules says that a program does not tell what it was built of.
var errNoModules = errors.New("the program does not say of which Go modules it is")

// addProgram adds a Go program and its modules.
func (m *materials) addProgram(name string, code []byte) error {
	info, err := buildinfo.Read(bytes.NewReader(code))
	if err != nil {
		return fmt.Errorf("%s: %w: %w", name, errNoModules, err)
	}
	m.add("", fileComponent("application", name, sha256.Sum256(code)))
	m.add(name, goModule("std", strings.TrimPrefix(info.GoVersion, "go")))
	for _, d := range info.Deps {
		if d.Replace != nil {
			d = d.Replace
		}
		m.add(name, goModule(d.Path, d.Version))
	}
	return nil
}

// addBundle adds the files of a boot bundle, the Debian packages that they are of, those packages'
// sources, and the Go modules of the programs in them.
func (m *materials) addBundle(b *bundle.Bundle) error {
	for _, f := range b.Manifest.Files {
		m.add("", fileComponent("file", f.Name, f.SHA256))
	}
	for _, p := range b.Manifest.Packages {
		c := debianPackage(p.Name, p.Version, "")
		if err := m.addTo(p.Files, c); err != nil {
			return err
		}
		for _, text := range p.Sources {
			s := sourceForm.FindStringSubmatch(text)
			if s == nil {
				return fmt.Errorf("%w: source %.100q of %s", bundle.ErrInvalid, text, p.Name)
			}
			m.add(c.Ref, debianPackage(s[1], s[2], "source"))
		}
	}
	for _, g := range b.Manifest.Modules {
		if err := m.addTo(g.Files, goModule(g.Name, g.Version)); err != nil {
			return err
		}
	}
	return nil
}

// addTo adds what files of the bundle have a part of. A part of no file, or of one that is not
// there, is an error: it would be in the document, and nothing would be made of it.
func (m *materials) addTo(files []string, c component) error {
	if len(files) == 0 {
		return fmt.Errorf("%w: nothing is of %s", bundle.ErrInvalid, c.Name)
	}
	for _, file := range files {
		whole, _, _ := strings.Cut(file, "/")
		if _, ok := m.parts[whole]; !ok {
			return fmt.Errorf("%w: %.100q of %s is not in it", bundle.ErrInvalid, file, c.Name)
		}
		m.add(whole, c)
	}
	return nil
}

// sourceForm is how the manifest spells a source package.
var sourceForm = regexp.MustCompile(`^(\S+) \(= (\S+)\)$`)
