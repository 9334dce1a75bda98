package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// The parts of CycloneDX 1.5 that are used. https://cyclonedx.org/docs/1.5/json/ has them all.
type (
	bill struct {
		Schema       string       `json:"$schema"`
		Format       string       `json:"bomFormat"`
		Spec         string       `json:"specVersion"`
		Serial       string       `json:"serialNumber,omitempty"`
		Version      int          `json:"version"`
		Metadata     metadata     `json:"metadata"`
		Components   []component  `json:"components"`
		Dependencies []dependency `json:"dependencies"`
	}
	metadata struct {
		Timestamp string    `json:"timestamp,omitempty"`
		Component component `json:"component"`
	}
	component struct {
		Type    string `json:"type"`
		Ref     string `json:"bom-ref"`
		Name    string `json:"name"`
		Version string `json:"version,omitempty"`
		Hashes  []hash `json:"hashes,omitempty"`
		PURL    string `json:"purl,omitempty"`
	}
	hash struct {
		Alg     string `json:"alg"`
		Content string `json:"content"`
	}
	dependency struct {
		Ref       string   `json:"ref"`
		DependsOn []string `json:"dependsOn,omitempty"`
	}
)

// fileComponent is a file of the package, named by where it lies.
func fileComponent(kind, name string, sum [sha256.Size]byte) component {
	return component{Type: kind, Ref: name, Name: name, Hashes: []hash{{"SHA-256", hex.EncodeToString(sum[:])}}}
}

func goModule(path, version string) component {
	purl := "pkg:golang/" + escape(path) + "@" + escape(version)
	return component{Type: "library", Ref: purl, Name: path, Version: version, PURL: purl}
}

// debianPackage is a package of an architecture; "source" is a source package, "" any other.
func debianPackage(name, version, arch string) component {
	purl := "pkg:deb/debian/" + escape(name) + "@" + escape(version)
	if arch != "" {
		purl += "?arch=" + arch
	}
	return component{Type: "library", Ref: purl, Name: name, Version: version, PURL: purl}
}

// escape spells a text as a package URL does.
func escape(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._~:/", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// bill writes the document. Its serial number is made of its content, so that it is the same for
// the same package and another for any other.
func (m *materials) bill(version string, when time.Time) ([]byte, error) {
	const self = "troy"
	d := bill{Schema: "http://cyclonedx.org/schema/bom-1.5.schema.json", Format: "CycloneDX", Spec: "1.5", Version: 1,
		Metadata: metadata{Component: component{Type: "application", Ref: self, Name: self, Version: version}}}
	if !when.IsZero() {
		d.Metadata.Timestamp = when.Format(time.RFC3339)
	}
	d.Dependencies = append(d.Dependencies, dependency{self, slices.Sorted(maps.Keys(m.of[""]))})
	for _, ref := range slices.Sorted(maps.Keys(m.parts)) {
		d.Components = append(d.Components, m.parts[ref])
		d.Dependencies = append(d.Dependencies, dependency{ref, slices.Sorted(maps.Keys(m.of[ref]))})
	}
	b, err := encode(d)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(b)
	sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80 // RFC 9562: version 8, its variant
	d.Serial = fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
	return encode(d)
}

func encode(d bill) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	err := e.Encode(d)
	return b.Bytes(), err
}
