package packaging

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"troy/initramfs/bundle"
)

// sbomFile is where the package and the container have their bill of materials.
const sbomFile = "usr/share/troy/sbom.cdx.json"

// cycloneDX is the schema of the format, as its makers publish it.
func cycloneDX(t *testing.T) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	const at = "http://cyclonedx.org/schema/"
	for address, file := range map[string]string{"bom-1.5.schema.json": "bom-1.5.SNAPSHOT.schema.json",
		"spdx.SNAPSHOT.schema.json": "", "jsf-0.82.SNAPSHOT.schema.json": ""} {
		if file == "" {
			file = address
		}
		f, err := os.Open(filepath.Join(environment(t, "TROY_CACHE"), "schema", file))
		if err != nil {
			t.Fatalf("make deps brings it: %v", err)
		}
		doc, err := jsonschema.UnmarshalJSON(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.AddResource(at+address, doc); err != nil {
			t.Fatal(err)
		}
	}
	s, err := c.Compile(at + "bom-1.5.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// bill is what is looked at of a bill of materials.
type bill struct {
	Components   []struct{ Name, Version, PURL string }
	Dependencies []struct {
		Ref       string
		DependsOn []string
	}
}

// billOf reads a bill of materials and fails unless it is as CycloneDX demands.
func billOf(t *testing.T, path string) bill {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	schema := cycloneDX(t)
	if err := schema.Validate(doc); err != nil {
		t.Error(err)
	}
	// What is not valid is refused: this schema says something.
	doc.(map[string]any)["serialNumber"] = "1"
	if schema.Validate(doc) == nil {
		t.Error("the schema accepts a serial number that is none")
	}
	var d bill
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// has fails unless a bill names each module that the go command finds in a program.
func (d *bill) has(t *testing.T, name, program string) {
	t.Helper()
	var made []string
	for _, of := range d.Dependencies {
		if of.Ref == name {
			made = of.DependsOn
		}
	}
	found := 0
	for line := range strings.Lines(run(t, "go", "version", "-m", program)) {
		f := strings.Fields(line)
		if len(f) < 3 || f[0] != "dep" {
			continue
		}
		found++
		if ref := "pkg:golang/" + f[1] + "@" + strings.ReplaceAll(f[2], "+", "%2B"); !slices.Contains(made, ref) {
			t.Errorf("%s is in %s and not in the bill of materials", ref, name)
		}
	}
	if found == 0 || len(made) != found+1 { // Go's own library has no line there
		t.Errorf("the go command finds %d modules in %s, the bill of materials has %d", found, name, len(made))
	}
}

// TestBill: the package's bill of materials is valid, names the modules of both programs in it, and
// every package of Debian's in the boot bundle with its source.
func TestBill(t *testing.T) {
	root := t.TempDir()
	run(t, "dpkg-deb", "-x", debOf(t), root)
	d := billOf(t, filepath.Join(root, sbomFile))
	d.has(t, "usr/bin/troy", filepath.Join(root, "usr/bin/troy"))
	d.has(t, "usr/share/troy/troy-gates.exe", filepath.Join(root, "usr/share/troy/troy-gates.exe"))
	boot, err := bundle.Open(filepath.Join(root, "usr/share/troy/boot"))
	if err != nil {
		t.Fatal(err)
	}
	source, err := boot.Read(bundle.Source)
	if err != nil {
		t.Fatal(err)
	}
	sources := 0
	for line := range strings.Lines(string(source)) {
		f := strings.Fields(line)
		if len(f) != 4 || f[0] != "source" {
			continue
		}
		sources++
		version := strings.TrimSuffix(f[3], ")")
		if !slices.ContainsFunc(d.Components, func(c struct{ Name, Version, PURL string }) bool {
			return c.Name == f[1] && c.Version == version && strings.HasSuffix(c.PURL, "?arch=source")
		}) {
			t.Errorf("%s %s is in the offer of source and not in the bill of materials", f[1], version)
		}
	}
	if len(boot.Manifest.Packages) < 5 || sources < len(boot.Manifest.Packages) {
		t.Errorf("%d packages, %d sources", len(boot.Manifest.Packages), sources)
	}
}

// TestSameDeb: the same commit and bundle give the same package, byte by byte.
func TestSameDeb(t *testing.T) {
	first := debOf(t)
	again := run(t, "./build-deb.sh", t.TempDir())
	if out, err := exec.Command("cmp", first, again).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
