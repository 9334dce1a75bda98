package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troy/image/trust"
	"troy/image/trust/sign"
	"troy/internal/cli"
	"troy/server/signing"
)

// wipes are the permissions that "key wipe list" tells.
func wipes(t *testing.T) []trust.WipeEntry {
	t.Helper()
	return wantJSON[[]trust.WipeEntry](t, exitOK, "key", "wipe", "list")
}

// TestKeyWipe: permissions are added, listed and withdrawn; what is no permission changes nothing.
func TestKeyWipe(t *testing.T) {
	store := filepath.Join(t.TempDir(), "store")
	t.Setenv("TROY_STORE", store)
	wantTroy(t, exitOK, "init", store)
	if res := wantTroy(t, exitOK, "key", "wipe", "list"); !strings.Contains(res.out, "no disk") || len(wipes(t)) != 0 {
		t.Errorf("at first: %s", res.out)
	}
	wantTroy(t, exitOK, "key", "wipe", "--serial", "S1234", "--serial", "WD-77")
	wantTroy(t, exitOK, "key", "wipe", "--machine", "52-54-00-12-34-56", "--until", "2099-12-31")
	if res := wantTroy(t, exitOK, "key", "wipe", "--machine", "52:54:00:12:34:57", "--serial", "S999"); !strings.Contains(res.out, `disk "S999" of machine 52:54:00:12:34:57`) {
		t.Errorf("list says %s", res.out)
	}
	list := wipes(t)
	if end := time.Date(2099, 12, 31, 23, 59, 59, 0, time.Local); len(list) != 4 || !list[2].Until.Equal(end) || list[2].Machine != "52:54:00:12:34:56" {
		t.Errorf("list: %+v", list)
	}
	for _, args := range [][]string{
		{}, {"all"}, {"--none", "--serial", "S1"}, {"--none", "list"}, {"list", "--serial", "S1234"}, {"--none", "--until", "2099-01-01"}, {"--until", "2099-01-01"},
		{"--serial", "S1234", "--until", "tomorrow"}, {"--serial", "S1234", "--until", "2001-01-01"}, {"--serial", "0000"}, {"--machine", "pc-17"},
		{"--serial", "S1234", "--serial", "S1235", "--machine", "52:54:00:12:34:56"},
	} {
		wantTroy(t, exitUsage, append([]string{"key", "wipe"}, args...)...)
	}
	stick := t.TempDir()
	moveKeys(t, store, stick)
	if res := wantTroy(t, exitFailed, "key", "wipe", "--none"); !strings.Contains(res.errOut, "--keys") {
		t.Errorf("without the key: %s", res.errOut)
	}
	t.Setenv("TROY_KEYS", stick)
	if len(wipes(t)) != 4 {
		t.Error("withdrawn without the key")
	}
	wantTroy(t, exitOK, "key", "wipe", "--none")
	if len(wipes(t)) != 0 {
		t.Error("not withdrawn")
	}
}

// TestKeyWipeForeign: what somebody put into the store is not signed along with a permission or an
// order.
func TestKeyWipeForeign(t *testing.T) {
	store, boot := filepath.Join(t.TempDir(), "store"), t.TempDir()
	t.Setenv("TROY_STORE", store)
	wantTroy(t, exitOK, "init", store)
	must(t, os.WriteFile(filepath.Join(boot, "vmlinuz"), []byte("his kernel"), 0o644))
	_, err := sign.PublishAgent(t.Context(), mustStore(t, store), "6.6.6", boot, "vmlinuz")
	must(t, err)
	for _, args := range [][]string{{"key", "wipe", "--serial", "S1234"}, {"key", "order", "pc", "0"}, {"agent", "publish", "--version", "1", boot}} {
		if res := wantTroy(t, exitFailed, args...); !strings.Contains(res.errOut, "release 6.6.6 of the agent: new") {
			t.Errorf("%q says %s", args, res.errOut)
		}
	}
	wantTroy(t, exitFailed, "agent", "rm", "6.6.6")
	if res := wantTroy(t, exitOK, "key", "sign", "--yes"); !strings.Contains(res.errOut, "release 6.6.6 of the agent: new") {
		t.Errorf("key sign says %s", res.out)
	}
}

// TestAgentCommands goes through the life of the agent's releases.
func TestAgentCommands(t *testing.T) {
	store, boot := filepath.Join(t.TempDir(), "store"), t.TempDir()
	t.Setenv("TROY_STORE", store)
	wantTroy(t, exitOK, "init", store)
	for _, name := range []string{"vmlinuz", "initramfs.cpio.zst", "usb.img"} {
		must(t, os.WriteFile(filepath.Join(boot, name), []byte("content of "+name), 0o644))
	}
	if res := wantTroy(t, exitOK, "agent", "list"); !strings.Contains(res.out, "no release") {
		t.Errorf("at first: %s", res.out)
	}
	wantTroy(t, exitOK, "agent", "publish", "--version", "1.0", boot)
	wantTroy(t, exitOK, "agent", "publish", "--version", "1.1", boot, "vmlinuz", "initramfs.cpio.zst")
	if res := wantTroy(t, exitFailed, "agent", "publish", "--version", "1.1", boot); !strings.Contains(res.errOut, "never changes") {
		t.Errorf("twice: %s", res.errOut)
	}
	wantTroy(t, exitUsage, "agent", "publish", boot)
	wantTroy(t, exitUsage, "agent", "publish", "--version", "../x", boot)
	wantTroy(t, exitFailed, "agent", "publish", "--version", "2", boot, "nothing")
	list := wantJSON[[]jsonAgent](t, exitOK, "agent", "list")
	if len(list) != 2 || list[0].Current || !list[1].Current || len(list[0].Files) != 3 || len(list[1].Files) != 2 {
		t.Errorf("list: %+v", list)
	}
	wantTroy(t, exitFailed, "agent", "rm", "1.1")
	wantTroy(t, exitFailed, "agent", "use", "3")
	if res := wantTroy(t, exitOK, "agent", "use", "1.0"); !strings.Contains(res.out, "1.0") {
		t.Errorf("use says %s", res.out)
	}
	wantTroy(t, exitOK, "agent", "rm", "1.1")
	if res := wantTroy(t, exitOK, "key", "sign"); !strings.Contains(res.out, "nothing to do") {
		t.Errorf("what was done is not signed: %s", res.out)
	}
}

// TestExpiryWarnings: what ends soon is told where the admin looks.
func TestExpiryWarnings(t *testing.T) {
	h := newHistory(t, seeded(t))
	for _, dir := range []string{"metadata", "keys"} {
		must(t, os.RemoveAll(filepath.Join(h.store, dir)))
	}
	_, err := sign.Init(h.store, time.Now().AddDate(-2, 0, 30), nil) // what the admin key signs holds two years
	must(t, err)
	list := wantJSON[[]jsonExpiry](t, exitOK, "key", "list")
	if len(list) != 2 || !list[0].Soon || !list[1].Soon {
		t.Errorf("key list: %+v", list)
	}
	res := wantTroy(t, exitOK, "key", "list")
	if n := strings.Count(res.out, "SOON"); n != 2 || !strings.Contains(res.out, "'troy key sign' renews them") {
		t.Errorf("key list says %s", res.out)
	}
	if res := wantTroy(t, exitOK, "image", "list"); !strings.Contains(res.errOut, "the admin key end") {
		t.Errorf("image list says %s", res.errOut)
	}
	var out strings.Builder
	signing.NewKeeper(h.store, newCall(cli.New("troy", &out, &out)).warn).Refresh(t.Context())
	if s := out.String(); !strings.Contains(s, "the admin key end") || strings.Contains(s, "the server key") { // which it has renewed
		t.Errorf("serve says %s", s)
	}
	wantTroy(t, exitOK, "key", "sign", "--yes")
	if res := wantTroy(t, exitOK, "key", "list"); strings.Contains(res.out, "SOON") {
		t.Errorf("renewed: %s", res.out)
	}
}
