package prepare

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"troy/chainload/regf"
	"troy/internal/testing/hivextest"
	"troy/internal/testing/samples"
)

// smallHive is a hive of ours with two control sets, of which the second counts.
func smallHive(t *testing.T, set func(root *regf.Key)) []byte {
	t.Helper()
	root := &regf.Key{Name: "ROOT"}
	root.Make("Select").Set("Default", regf.DWORD, regf.EncodeDWORD(2))
	root.Make("Setup").Set("SystemSetupInProgress", regf.DWORD, regf.EncodeDWORD(0))
	for _, name := range []string{"ControlSet001", "ControlSet002"} {
		services := root.Make(name).Make("Services")
		services.Make("disk").Set("Start", regf.DWORD, regf.EncodeDWORD(0))
		services.Make("zz")
	}
	if set != nil {
		set(root)
	}
	b, err := (&regf.Hive{Root: root}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// realHive is a hive that a Windows made.
func realHive(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(samples.Unpack(t, t.TempDir(), "hives/"+name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A hive gets the service, and nothing else of it changes, in what another program reads.
func TestAddService(t *testing.T) {
	addsService(t, smallHive(t, nil), "ControlSet002")
}

// Hives of Windows get it as well. With TROY_SOAK=1 all of them is compared, which takes seconds.
func TestAddServiceReal(t *testing.T) {
	for _, name := range []string{"replayed-by-us-win10-1709-SYSTEM", "regipy-win7-SYSTEM"} {
		t.Run(name, func(t *testing.T) {
			hive := realHive(t, name)
			before, err := openHive(hive)
			if err != nil {
				t.Fatal(err)
			}
			key, err := services(before)
			if err != nil {
				t.Fatal(err)
			}
			if os.Getenv("TROY_SOAK") == "1" {
				addsService(t, hive, strings.TrimSuffix(key, `\Services`))
				return
			}
			dir := t.TempDir()
			edited, err := addService(t.Context(), hive, dir)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "hive")
			if err := os.WriteFile(path, edited, 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command("hivexget", path, `\`+key+`\troytrial`, "ImagePath").CombinedOutput()
			if err != nil || strings.TrimSpace(string(out)) != `C:\Troy\GATES.EXE up --service` {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

func addsService(t *testing.T, hive []byte, set string) {
	dir := t.TempDir()
	edited, err := addService(t.Context(), hive, dir)
	if err != nil {
		t.Fatal(err)
	}
	before, after := hivextest.Read(t, hive), hivextest.Read(t, edited)
	services := after.Key(set).Key("Services")
	if services == nil {
		services = after.Key(set).Key("services") // as Windows 7 writes it
	}
	service := services.Key("troytrial")
	if service == nil {
		t.Fatal("the service is not there")
	}
	got := map[string]string{}
	for _, v := range service.Values {
		got[v.Name] = v.Data(t)
	}
	want := map[string]string{"Type": "16", "Start": "2", "ErrorControl": "1", "ImagePath": `C:\Troy\GATES.EXE up --service`,
		"DisplayName": "Troy trial", "ObjectName": "LocalSystem"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the service is %v, want %v", got, want)
	}
	services.Keys = slices.DeleteFunc(services.Keys, func(k hivextest.Key) bool { return k.Name == "troytrial" })
	if !reflect.DeepEqual(before, after) {
		t.Error("something else of the hive changed")
	}
	again, err := addService(t.Context(), edited, dir) // an image that was in a trial before
	if err != nil {
		t.Fatal(err)
	}
	twice := hivextest.Read(t, again)
	if n := len(twice.Key(set).Keys); n != len(after.Key(set).Keys) {
		t.Errorf("the second time the set has %d keys, want %d", n, len(after.Key(set).Keys))
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) != 0 {
		t.Errorf("left behind: %v, %v", list, err)
	}
}

func TestAddServiceRefused(t *testing.T) {
	dirty := smallHive(t, nil)
	dirty[4]++ // the first sequence number; the checksum is wrong as well
	for name, c := range map[string]struct {
		hive []byte
		says string
	}{
		"empty":          {nil, "hive SYSTEM"},
		"no select":      {smallHive(t, func(root *regf.Key) { root.Keys = root.Keys[1:] }), "no such key"},
		"odd select":     {smallHive(t, func(root *regf.Key) { root.Key("Select").Set("Default", regf.SZ, regf.EncodeSZ("1")) }), "no control set"},
		"other set":      {smallHive(t, func(root *regf.Key) { root.Key("Select").Set("Default", regf.DWORD, regf.EncodeDWORD(9)) }), "ControlSet009"},
		"not closed":     {dirty, "hive SYSTEM"},
		"cut in the end": {smallHive(t, nil)[:5000], "hive SYSTEM"},
	} {
		dir := t.TempDir()
		b, err := addService(t.Context(), c.hive, dir)
		if !errors.Is(err, ErrHive) || !strings.Contains(err.Error(), c.says) || b != nil {
			t.Errorf("%s: %v", name, err)
		}
		if list, err := os.ReadDir(dir); err != nil || len(list) != 0 {
			t.Errorf("%s: left behind: %v, %v", name, list, err)
		}
	}
	t.Run("dirty, real", func(t *testing.T) {
		hive := realHive(t, "regipy-win10-1709-dirty-SYSTEM")
		if _, err := addService(t.Context(), hive, t.TempDir()); !errors.Is(err, ErrHive) || !strings.Contains(err.Error(), "not closed in order") {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := addService(ctx, smallHive(t, nil), t.TempDir()); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// What an edit must not do is found.
func TestCheck(t *testing.T) {
	const key = `ControlSet002\Services`
	good, err := addService(t.Context(), smallHive(t, nil), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"disk", "zz"}
	if err := check(good, key, names); err != nil {
		t.Fatal(err)
	}
	for name, edited := range map[string][]byte{
		"nothing done":   smallHive(t, nil),
		"other start":    hivextest.Edit(t, good, `cd \ControlSet002\Services\troytrial`, "setval 1", "Start", "dword:0x3"),
		"value missing":  hivextest.Edit(t, good, `cd \ControlSet002\Services\troytrial`, "setval 0"),
		"service gone":   hivextest.Edit(t, good, `cd \ControlSet002\Services\disk`, "del"),
		"one more":       hivextest.Edit(t, good, `cd \ControlSet002\Services`, "add more"),
		"other kind":     hivextest.Edit(t, good, `cd \ControlSet002\Services\troytrial`, "setval 1", "ImagePath", `string:C:\Troy\GATES.EXE up --service`),
		"cut":            good[:4096],
		"key is another": smallHive(t, func(root *regf.Key) { root.Key("ControlSet002").Keys = nil }),
	} {
		if err := check(edited, key, names); !errors.Is(err, ErrHive) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
