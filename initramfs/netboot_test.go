package initramfs

import (
	"net"
	"net/http"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"troy/internal/testing/vmlab"
	"troy/trial/vm"
)

// bootServer is a site: a network whose DHCP server says what dnsmasq.conf of the tree says, after
// the given changes, and serves the tree by TFTP; an HTTP server also serves it.
func bootServer(t testing.TB, tree string, changes ...string) *vmlab.Network {
	t.Helper()
	args := []string{"--enable-tftp", "--tftp-root=" + tree}
	config := strings.NewReplacer(append(changes, "SERVER", "10.77.0.1")...).Replace(dhcpConfig)
	for line := range strings.Lines(config) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "# ") {
			args = append(args, "--"+line)
		}
	}
	args = deleteComments(args)
	n, err := vmlab.NewNetwork(t.Context(), &vmlab.NetworkConfig{Dir: t.TempDir(), DHCP: args})
	if err != nil {
		t.Fatal(err)
	}
	l, err := n.Listen("tcp", net.JoinHostPort(n.Host.String(), "80"))
	if err != nil {
		t.Fatal(err)
	}
	files := http.FileServer(http.Dir(tree))
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if kind := map[string]string{".efi": "application/efi", ".iso": "application/vnd.efi-iso"}[path.Ext(r.URL.Path)]; kind != "" {
			w.Header().Set("Content-Type", kind)
		}
		files.ServeHTTP(w, r)
	})}
	var done sync.WaitGroup
	done.Go(func() { _ = server.Serve(l) }) // until Close
	t.Cleanup(func() {
		server.Close()
		done.Wait()
		if t.Failed() {
			t.Log(n.DHCPLog())
		}
		n.Close()
	})
	return n
}

func deleteComments(args []string) []string {
	var kept []string
	for _, a := range args {
		if !strings.HasPrefix(a, "--#") {
			kept = append(kept, a)
		}
	}
	return kept
}

// withIPXE chooses iPXE in the sample of dnsmasq.conf, as its comment says.
var withIPXE = []string{"\n#dhcp-userclass", "\ndhcp-userclass", "\n#dhcp-boot", "\ndhcp-boot", "\ndhcp-boot=tag:pxe,shimx64.efi,,SERVER", ""}

// testURL is where bootServer has the tree by HTTP.
const testURL = "http://10.77.0.1:80/"

// testTree is what testBoot gives for network boot; GRUB looks at a URL first.
func testTree(t testing.TB, from string) string {
	t.Helper()
	dir, b := filepath.Join(t.TempDir(), "net"), testBoot(t)
	iso := filepath.Join(t.TempDir(), "troy.iso")
	if err := ISO(t.Context(), &ISOOptions{Boot: b, Out: iso}); err != nil {
		t.Fatal(err)
	}
	err := Net(t.Context(), &NetOptions{Boot: b, ISO: iso, URL: from, Out: dir})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// netBoot starts a PC that has nothing but a network card, until the agent's stand-in has said its
// first line.
func netBoot(t *testing.T, n *vmlab.Network, secure bool, lines ...string) {
	t.Helper()
	m := startVM(t, &vm.Config{Name: "netboot", Firmware: firmware(t, secure), Namespace: n.Namespace,
		MemoryMiB: 2048, NICs: []vm.NIC{{Tap: n.Taps[0], BootIndex: 1}}})
	expect(t, m, append(lines, `PROBE: started with`, `PROBE: interface eth0`)...)
	if secure {
		expect(t, m, `SecureBoot \[6 0 0 0 1\]`)
	}
	expect(t, m, `PROBE: site config`, `PROBE: done`)
}

// TFTP brings iPXE, iPXE brings the rest by HTTP.
func TestPXE(t *testing.T) {
	netBoot(t, bootServer(t, testTree(t, testURL), withIPXE...), false, `iPXE`, `PROBE: loaded by 01-52-54-00-54-52-01`)
}

// The other ways through a network.
func TestOtherNetworkBoot(t *testing.T) {
	if !soak() {
		t.Log("TROY_SOAK=1 tries GRUB with Secure Boot and UEFI HTTP boot")
		return
	}
	tree := testTree(t, testURL)
	t.Run("shim and GRUB with Secure Boot", func(t *testing.T) {
		netBoot(t, bootServer(t, tree), true, `Troy: loading from`, `PROBE: loaded by 01-52:54:00:54:52:01`)
	})
	for name, secure := range map[string]bool{"UEFI HTTP boot": false, "UEFI HTTP boot with Secure Boot": true} {
		t.Run(name, func(t *testing.T) { netBoot(t, bootServer(t, tree, "client-arch,7", "client-arch,77"), secure) })
	}
}

// BenchmarkNetLoad measures how long boot loaders take for kernel and initramfs by a network without
// delay: from their first word to the start of the kernel.
func BenchmarkNetLoad(b *testing.B) {
	for _, c := range []struct {
		name, from, first string
		changes           []string
	}{
		{"GRUB-TFTP", "", `Troy: loading from /troy`, nil},
		{"GRUB-HTTP", testURL, `Troy: loading from .http`, nil},
		{"iPXE-HTTP", testURL, `Troy|boot.ipxe`, withIPXE},
	} {
		b.Run(c.name, func(b *testing.B) {
			n := bootServer(b, testTree(b, c.from), c.changes...)
			var seconds float64
			for b.Loop() {
				m := startVM(b, &vm.Config{Name: "netload", Firmware: firmware(b, false), Namespace: n.Namespace,
					MemoryMiB: 2048, NICs: []vm.NIC{{Tap: n.Taps[0], BootIndex: 1}}})
				if _, err := m.Expect(b.Context(), c.first); err != nil {
					b.Fatal(err)
				}
				begun := time.Now()
				line, err := m.Expect(b.Context(), uptimeLine.String()+` .*\n`)
				if err != nil {
					b.Fatal(err)
				}
				seconds += time.Since(begun).Seconds() - uptime(b, line)
				m.Close()
			}
			b.ReportMetric(seconds/float64(b.N), "s-load")
			b.ReportMetric(0, "ns/op")
		})
	}
}
