package netboot

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"

	"troy/chainload/release"
)

var (
	selfAddr = netip.MustParseAddr("10.77.0.2")
	mac      = net.HardwareAddr{0x52, 0x54, 0, 1, 2, 3}
	guid     = append([]byte{0}, bytes.Repeat([]byte{0xa5}, 16)...)
)

// bootFolder writes a folder as troy media does, with a different content in each file.
func bootFolder(t testing.TB, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, content(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// content is long enough for several blocks, and no multiple of one.
func content(name string) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < 70_001; i++ {
		b.WriteString(name)
		b.WriteByte(byte(i))
	}
	return b.Bytes()[:70_001]
}

func newServer(t testing.TB, o Options) *Server {
	t.Helper()
	if o.Dir == "" {
		o.Dir = bootFolder(t, release.Shim, release.GRUB, release.IPXE, release.IPXEScript, release.ISO, "troy/vmlinuz", "grub/grub.cfg", ".hidden")
	}
	s, err := New(&o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func question(t testing.TB, class string, arch iana.Arch, more ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	t.Helper()
	q, err := dhcpv4.NewDiscovery(mac, dhcpv4.PrependModifiers(more,
		dhcpv4.WithOption(dhcpv4.OptClassIdentifier(class)),
		dhcpv4.WithOption(dhcpv4.OptClientArch(arch)),
		dhcpv4.WithGeneric(dhcpv4.OptionClientMachineIdentifier, guid))...)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

const pxeClass = "PXEClient:Arch:00007:UNDI:003016"

func TestAnswer(t *testing.T) {
	request := dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest)
	user := dhcpv4.WithGeneric(dhcpv4.OptionUserClassInformation, []byte("iPXE"))
	for _, c := range []struct {
		name string
		o    Options
		q    *dhcpv4.DHCPv4
		port int
		file string // "" = no answer
	}{
		{"PXE 7", Options{}, question(t, pxeClass, 7), PortDHCP, "snponly.efi"},
		{"PXE 9", Options{}, question(t, "PXEClient", 9), PortDHCP, "snponly.efi"},
		{"PXE, shim wanted", Options{Shim: true}, question(t, pxeClass, 7), PortDHCP, "shimx64.efi"},
		{"boot server", Options{}, question(t, pxeClass, 7, request), PortProxy, "snponly.efi"},
		{"iPXE", Options{HTTPPort: 8080}, question(t, pxeClass, 7, user), PortDHCP, "http://10.77.0.2:8080/boot/boot.ipxe"},
		{"HTTP", Options{}, question(t, "HTTPClient:Arch:00016:UNDI:003001", 16), PortDHCP, "http://10.77.0.2/boot/troy.iso"},
		{"HTTP, Secure Boot", Options{Shim: true}, question(t, "HTTPClient", 16), PortDHCP, "http://10.77.0.2/boot/troy.iso"},
		{"HTTP, only an ISO", Options{Dir: bootFolder(t, release.ISO)}, question(t, "HTTPClient", 16), PortDHCP, "http://10.77.0.2/boot/troy.iso"},
		{"no file", Options{Dir: bootFolder(t, release.ISO)}, question(t, pxeClass, 7), PortDHCP, ""},
		{"BIOS", Options{}, question(t, "PXEClient:Arch:00000:UNDI:002001", 0), PortDHCP, ""},
		{"ARM", Options{}, question(t, "PXEClient", 11), PortDHCP, ""},
		{"HTTP with PXE's architecture", Options{}, question(t, "HTTPClient", 7), PortDHCP, ""},
		{"Windows", Options{}, question(t, "MSFT 5.0", 7), PortDHCP, ""},
		{"no class", Options{}, question(t, "", 7), PortDHCP, ""},
		{"short GUID", Options{}, question(t, pxeClass, 7, dhcpv4.WithGeneric(dhcpv4.OptionClientMachineIdentifier, guid[:9])), PortDHCP, ""},
		{"GUID of another type", Options{}, question(t, pxeClass, 7, dhcpv4.WithGeneric(dhcpv4.OptionClientMachineIdentifier, bytes.Repeat([]byte{1}, 17))), PortDHCP, ""},
		{"request on 67", Options{}, question(t, pxeClass, 7, request), PortDHCP, ""},
		{"discover on 4011", Options{}, question(t, pxeClass, 7), PortProxy, ""},
		{"release", Options{}, question(t, pxeClass, 7, dhcpv4.WithMessageType(dhcpv4.MessageTypeRelease)), PortDHCP, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newServer(t, c.o).answer(c.q, selfAddr, c.port)
			if a == nil || c.file == "" {
				if (a == nil) != (c.file == "") {
					t.Errorf("answer %v, want file %q", a, c.file)
				}
				return
			}
			wantAnswer(t, c.name, c.q, a, c.file)
		})
	}
}

// wantAnswer checks an answer as it would travel.
func wantAnswer(t testing.TB, name string, q, a *dhcpv4.DHCPv4, file string) {
	t.Helper()
	a, err := dhcpv4.FromBytes(a.ToBytes())
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if got := a.BootFileNameOption(); got != file || a.BootFileName != file {
		t.Errorf("%s: file %q, %q, want %q", name, got, a.BootFileName, file)
	}
	server := selfAddr.String() + "\x00"
	if strings.HasPrefix(q.ClassIdentifier(), "HTTP") {
		server = ""
	}
	for code, want := range map[dhcpv4.OptionCode]string{dhcpv4.OptionBootfileName: file + "\x00", dhcpv4.OptionTFTPServerName: server} {
		if got := string(a.GetOneOption(code)); got != want { // firmware reads it up to a zero byte
			t.Errorf("%s: %v is %q, want %q", name, code, got, want)
		}
	}
	if !a.YourIPAddr.IsUnspecified() || a.SubnetMask() != nil || a.Router() != nil || a.GetOneOption(dhcpv4.OptionIPAddressLeaseTime) != nil {
		t.Errorf("%s: the answer gives an address: %s", name, a.Summary())
	}
	if a.OpCode != dhcpv4.OpcodeBootReply || a.TransactionID != q.TransactionID || !bytes.Equal(a.ClientHWAddr, q.ClientHWAddr) ||
		!bytes.Equal(a.GetOneOption(dhcpv4.OptionClientMachineIdentifier), guid) || !a.ServerIdentifier().Equal(selfAddr.AsSlice()) || !a.ServerIPAddr.Equal(selfAddr.AsSlice()) {
		t.Errorf("%s: %s", name, a.Summary())
	}
	control := a.GetOneOption(dhcpv4.OptionVendorSpecificInformation)
	if strings.HasPrefix(q.ClassIdentifier(), "HTTP") {
		if a.ClassIdentifier() != "HTTPClient" || control != nil {
			t.Errorf("%s: class %q, option 43 %x", name, a.ClassIdentifier(), control)
		}
	} else if a.ClassIdentifier() != "PXEClient" || !bytes.Equal(control, []byte{6, 1, 8, 255}) {
		t.Errorf("%s: class %q, option 43 %x", name, a.ClassIdentifier(), control)
	}
}

func TestDestination(t *testing.T) {
	from := &net.UDPAddr{IP: net.IPv4(10, 77, 0, 50), Port: 4011}
	for _, c := range []struct {
		change func(*dhcpv4.DHCPv4)
		port   int
		want   string
	}{
		{func(*dhcpv4.DHCPv4) {}, PortDHCP, "255.255.255.255:68"},
		{func(*dhcpv4.DHCPv4) {}, PortProxy, "10.77.0.50:4011"},
		{func(q *dhcpv4.DHCPv4) { q.ClientIPAddr = net.IPv4(10, 77, 0, 51) }, PortDHCP, "10.77.0.51:68"},
		{func(q *dhcpv4.DHCPv4) { q.GatewayIPAddr = net.IPv4(10, 78, 0, 1) }, PortDHCP, "10.78.0.1:67"},
	} {
		t.Run(c.want, func(t *testing.T) {
			q := question(t, pxeClass, 7)
			c.change(q)
			if got := destination(q, from, c.port).String(); got != c.want {
				t.Errorf("port %d: %s, want %s", c.port, got, c.want)
			}
		})
	}
}

func TestNewWantsBootFiles(t *testing.T) {
	if _, err := New(&Options{Dir: bootFolder(t, "dnsmasq.conf")}); err == nil || !strings.Contains(err.Error(), "troy media") {
		t.Errorf("a folder without boot files: %v", err)
	}
	if _, err := New(&Options{Dir: filepath.Join(t.TempDir(), "none")}); err == nil {
		t.Error("no folder: no error")
	}
	if a := DHCPAdvice(selfAddr, 8080); !strings.Contains(a, "10.77.0.2\n") || !strings.Contains(a, "http://10.77.0.2:8080/boot/troy.iso\n") {
		t.Errorf("advice: %s", a)
	}
}

// FuzzDHCP sends any packet to both ports: an answer goes to PXE and HTTP clients only, and never
// holds an address.
func FuzzDHCP(f *testing.F) {
	s := newServer(f, Options{})
	seeds := [][]byte{question(f, pxeClass, 7).ToBytes(), question(f, "HTTPClient", 16).ToBytes(), question(f, "MSFT 5.0", 7).ToBytes(),
		question(f, pxeClass, 7, dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest)).ToBytes()}
	for _, b := range seeds {
		if len(b) < 240 {
			f.Fatalf("seed of %d bytes", len(b))
		}
		f.Add(b, false)
		f.Add(b, true)
	}
	f.Fuzz(func(t *testing.T, b []byte, proxy bool) {
		q, err := dhcpv4.FromBytes(b)
		if err != nil {
			return
		}
		port := PortDHCP
		if proxy {
			port = PortProxy
		}
		a := s.answer(q, selfAddr, port)
		if a == nil {
			return
		}
		class := q.ClassIdentifier()
		if !strings.HasPrefix(class, "PXEClient") && !strings.HasPrefix(class, "HTTPClient") {
			t.Errorf("class %q is answered", class)
		}
		again, err := dhcpv4.FromBytes(a.ToBytes())
		if err != nil || !again.YourIPAddr.IsUnspecified() || again.OpCode != dhcpv4.OpcodeBootReply || len(again.ToBytes()) > 2*len(b)+600 {
			t.Errorf("answer %x: %v", a.ToBytes(), err)
		}
	})
}
