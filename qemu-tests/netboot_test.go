package qemutests

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troy/chainload/release"
	"troy/diskwriter/machine"
	"troy/internal/testing/testlab"
	"troy/server/netboot"
	"troy/server/protocol"
)

// bootSite is a site whose DHCP server knows nothing of Troy, and `troy serve --boot` beside it.
type bootSite struct {
	lab  *testlab.Lab
	tree string // boot files
	pcs  int
}

// newBootSite makes one whose PCs have a signed program in the place of Windows Boot Manager. It
// returns what the admin was told of the boot files with --shim.
func newBootSite(t *testing.T) (b *bootSite, advice []string) {
	t.Helper()
	b = &bootSite{lab: smallLab(t, testlab.Loader(release.Shim))}
	var err error
	if b.tree, err = b.lab.NetTree(t.Context()); err != nil {
		t.Fatal(err)
	}
	s, err := netboot.New(&netboot.Options{Dir: b.tree, Shim: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	return b, s.Advice()
}

// deploys starts a PC by the network, Secure Boot enforced or not, and fails unless it gets version
// 2. The boot files are those of the tree but for some.
func (b *bootSite) deploys(t *testing.T, secure bool, without []string, args []string, want ...string) {
	t.Helper()
	tree := filepath.Join(t.TempDir(), "net")
	if err := os.CopyFS(tree, os.DirFS(b.tree)); err != nil {
		t.Fatal(err)
	}
	for _, name := range without {
		if err := os.Remove(filepath.Join(tree, name)); err != nil {
			t.Fatal(err)
		}
	}
	server, err := b.lab.Serve(t.Context(), testlab.Room{Version: 2, Keys: "merge: now"}, append([]string{"--boot", tree}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Kill()
	b.pcs++
	pc, err := b.lab.NewPC(t.Context(), fmt.Sprint("net", b.pcs))
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(pc.Disk)
	pc.Secure = secure
	signBootManager(t, pc)
	serial, err := pc.FromNet(t.Context())
	if err != nil {
		t.Fatalf("%v\n%s\nthe server said:\n%s", err, serial, server.Said())
	}
	for _, line := range append(want, "version 2 is committed", windowsStarted) {
		if !strings.Contains(serial, line) {
			t.Errorf("the serial line does not say %q:\n%s\nthe server said:\n%s", line, serial, server.Said())
		}
	}
	if r := reported(t, server, 1); r.Outcome != protocol.OutcomeDone || r.ExitCode != 0 {
		t.Errorf("report: %+v", r)
	}
	holds(t, pc, b.lab.Windows.V2, machine.BootName, machine.BaseName)
}

// Beside the DHCP server of a site, `troy serve --boot` starts PCs whose firmware enforces Secure
// Boot, and such that start by HTTP. GRUB before 2.12 asks the server that the DHCP server of the
// site names as next-server: there it is named, and nothing else.
func TestServeBoot(t *testing.T) {
	if !soak() {
		t.Log("only with TROY_SOAK=1; package initramfs has PXE, package server/netboot proxyDHCP and TFTP")
		return
	}
	b, advice := newBootSite(t)
	t.Logf("advice on the boot files: %q", advice)
	var dhcp []string
	if len(advice) > 0 {
		dhcp = []string{"--dhcp-boot=,,10.77.0.1"}
	}
	if err := b.lab.Building(t.Context(), 1, dhcp...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(b.lab.Net.DHCPLog())
		}
		b.lab.Net.Close()
	})
	pxe := []string{release.Shim, release.IPXE}
	t.Run("PXE with Secure Boot", func(t *testing.T) { b.deploys(t, true, nil, []string{"--shim"}, "Troy: loading from") })
	t.Run("HTTP with Secure Boot", func(t *testing.T) { b.deploys(t, true, pxe, []string{"--shim"}, "Troy: loading from this medium") })
	t.Run("HTTP", func(t *testing.T) { b.deploys(t, false, pxe, nil) })
}

// A DHCP server may write the URL of the boot file with a slash too many. Firmware follows no
// redirect: it gets the file, or does not start.
func TestDoubledSlash(t *testing.T) {
	if !soak() {
		t.Log("only with TROY_SOAK=1; package server/netboot asks for such names as firmware does")
		return
	}
	b, _ := newBootSite(t)
	err := b.lab.Building(t.Context(), 1, "--dhcp-match=set:http,option:client-arch,16",
		"--dhcp-option-force=tag:http,60,HTTPClient", "--dhcp-boot=tag:http,"+testlab.FilesURL+"/boot//"+release.ISO)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.lab.Net.Close() })
	b.deploys(t, false, nil, []string{"--no-dhcp"})
}
