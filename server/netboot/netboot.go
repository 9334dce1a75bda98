package netboot

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"troy/chainload/release"
	"troy/internal/absent"
	"troy/internal/blank"
	"troy/server/limit"
)

// Bounds.
const (
	fileMost       = 4 << 30 // bytes of a file
	transfersMost  = 256
	perAddressMost = 8

	// Transfers whose client has not answered yet: its address may be forged.
	unheardMost = 128
	unheardEach = 2

	// Answers of proxyDHCP to one address, in a second and at once. All broadcasts are one: a room
	// that starts together. One client gets few of them.
	answersRate, answersBurst = 50, 400
	clientRate, clientBurst   = 1, 20

	// Notes of one address, in a second and at once; broadcasts are one here, too.
	notesRate, notesBurst = 1, 400
)

// ErrNoBootFiles is returned for a folder in which nothing that a client could load lies.
var ErrNoBootFiles = errors.New("no boot files: want the folder net/ that troy media writes")

// Options of a Server. Dir is needed.
type Options struct {
	Dir string // what troy media wrote as net/
	// HTTPPort is where Handler is served at /boot/; 0 = 80.
	HTTPPort int
	// Shim sends clients to what starts with Secure Boot on: shim and GRUB by PXE in place of iPXE,
	// the ISO image by HTTP. See Advice about GRUB before 2.12.
	Shim bool
	// NoDHCP leaves ports 67 and 4011 alone: the DHCP server of the site names the files
	// (DHCPAdvice).
	NoDHCP bool
	// Interfaces are the network cards on which questions are answered; none = all.
	Interfaces []string
	// Address is the server's own, for machines that have several on one card; zero = that of the
	// card that heard the question.
	Address netip.Addr
	// OnNote, if set, is told in a line who was sent where; of one address not more than a log bears. Names and addresses in it are quoted or
	// parsed. May be called at the same time.
	OnNote func(line string)
}

// Server answers for one folder. Close it when done.
type Server struct {
	o    Options
	root *os.Root

	clients   *limit.Limiter // of proxyDHCP, by hardware address
	answers   *limit.Limiter // and by where they go
	notes     *limit.Limiter
	transfers limit.Places

	mu      sync.Mutex
	unheard []*unheard // transfers, the oldest first
}

// New opens the folder. Errors: ErrNoBootFiles.
func New(o *Options) (*Server, error) {
	root, err := os.OpenRoot(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("boot files: %w", err)
	}
	s := &Server{o: *o, root: root, clients: limit.New(clientRate, clientBurst), answers: limit.New(answersRate, answersBurst),
		notes: limit.New(notesRate, notesBurst), transfers: limit.Places{Most: transfersMost, Each: perAddressMost}}
	if s.o.HTTPPort == 0 {
		s.o.HTTPPort = 80
	}
	if s.o.OnNote == nil {
		s.o.OnNote = func(string) {}
	}
	for _, name := range []string{release.Shim, release.IPXE, release.ISO} {
		if s.has(name) {
			return s, nil
		}
	}
	root.Close()
	return nil, fmt.Errorf("%s: %w", o.Dir, ErrNoBootFiles)
}

// note tells what became of a client. Everybody can be one: who goes on must not fill the log.
func (s *Server) note(of netip.Addr, format string, args ...any) {
	if s.notes.Take(of, time.Now()) == 0 {
		s.o.OnNote("network boot: " + fmt.Sprintf(format, args...))
	}
}

// Close lets go of the folder.
func (s *Server) Close() error { return s.root.Close() }

// url is where the folder is served by HTTP.
func (s *Server) url(self netip.Addr) string {
	host := self.String()
	if s.o.HTTPPort != 80 {
		host = net.JoinHostPort(host, fmt.Sprint(s.o.HTTPPort))
	}
	return "http://" + host + "/boot/"
}

// has says whether a file is there to be served. One that cannot be looked at is there: who asks
// for it is told that it cannot be read, and does not go another way.
func (s *Server) has(name string) bool {
	info, err := s.root.Stat(name)
	if err != nil {
		return !absent.Is(err)
	}
	return info.Mode().IsRegular() && info.Size() > 0 && info.Size() <= fileMost
}

// find returns the name in the folder of what a client asks for; "" = there is no such file.
// Clients put slashes before a name, double them, or write them as Windows does; names come with
// blanks around them and with rubbish behind (see known).
func (s *Server) find(name string) string {
	name = blank.Trim(strings.ReplaceAll(name, `\`, "/"))
	for part := range strings.SplitSeq(name, "/") {
		if part != "." && strings.HasPrefix(part, ".") {
			return ""
		}
	}
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	for _, n := range []string{name, known(name)} {
		if fs.ValidPath(n) && !strings.ContainsRune(n, 0) && s.has(n) {
			return n
		}
	}
	return ""
}

// known cuts what follows one of the names that DHCP servers and shim give; "" = it is none of
// them. Firmware that reads option 67 past its end asks for "snponly.efia\x11". A dot, dash,
// underscore or slash makes another name of it, such as that of a signature.
func known(name string) string {
	for _, n := range []string{release.Shim, release.GRUB, release.IPXE, release.IPXEScript, release.ISO} {
		if rest, ok := strings.CutPrefix(name, n); ok && strings.Trim(rest[:min(1, len(rest))], ".-_/") != "" {
			return n
		}
	}
	return ""
}

// open opens a file by the name that a client gave, see find. The error is fs.ErrNotExist where
// there is none; every other one is trouble of this server.
func (s *Server) open(name string) (*os.File, int64, error) {
	if name = s.find(name); name == "" {
		return nil, 0, fs.ErrNotExist
	}
	f, err := s.root.Open(name)
	if err != nil {
		if absent.Is(err) {
			err = fs.ErrNotExist
		}
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// OwnAddress is the first IPv4 address of this machine that others can reach; the loopback if there
// is none.
func OwnAddress() netip.Addr {
	if c, err := net.Dial("udp4", "192.0.2.1:9"); err == nil { // sends nothing: it asks the routes
		defer c.Close()
		if a := c.LocalAddr().(*net.UDPAddr).AddrPort().Addr(); a.IsGlobalUnicast() {
			return a
		}
	}
	all, err := net.InterfaceAddrs()
	if err == nil {
		for _, a := range all {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && p.Addr().IsGlobalUnicast() {
				return p.Addr()
			}
		}
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// DHCPAdvice is what to set at the DHCP server of the site where no proxyDHCP runs (--no-dhcp).
// Without an address it names OwnAddress.
func DHCPAdvice(self netip.Addr, httpPort int) string {
	self = cmp.Or(self, OwnAddress())
	s := Server{o: Options{HTTPPort: httpPort}}
	if httpPort == 0 {
		s.o.HTTPPort = 80
	}
	return fmt.Sprintf(`set at the DHCP server, for clients of x86-64 UEFI (option 93 is 7 or 9):
  option 66 (TFTP server name, next-server)   %[1]s
  option 67 (boot file name)                  %[2]s
and for UEFI HTTP boot (option 93 is 16): option 60 HTTPClient, option 67 %[3]s%[4]s
`, self, release.Shim, s.url(self), release.ISO)
}
