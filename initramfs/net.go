package initramfs

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path"
	"strings"

	"troy/chainload/release"
	"troy/initramfs/bundle"
	"troy/internal/kernelargs"
)

// NetOptions say what a tree for network boot holds. Boot and Out are required.
type NetOptions struct {
	Boot *Boot
	ISO  string // what ISO made, for UEFI HTTP boot; empty = none
	// URL is where the tree will be served by HTTP, such as http://192.0.2.1:8080/boot/.
	// GRUB tries to load kernel and initramfs there, and then the way it came itself
	// (mostly TFTP, which is slower). Only http; empty = only the latter.
	URL string
	Out string // folder to write to; what else is in it stays
}

// ErrURL says that GRUB cannot load from there.
var ErrURL = errors.New("not usable for GRUB: want http://HOST[:PORT]/[PATH]")

// Net writes a tree to be served by TFTP and by HTTP:
//
//	shimx64.efi           what DHCP names for UEFI PXE; starts grubx64.efi (Secure Boot on or off)
//	grubx64.efi           GRUB's network build, reads grub/grub.cfg at the top of the server
//	snponly.efi           iPXE, for Secure Boot off; DHCP then names boot.ipxe to it
//	troy.iso              for UEFI HTTP boot
//	troy/                 vmlinuz, initramfs.cpio.zst, site.cpio
//	dnsmasq.conf          how a DHCP server names all this
func Net(ctx context.Context, o *NetOptions) error {
	files, err := o.files()
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := os.MkdirAll(o.Out, 0o755); err != nil {
		return err
	}
	return writeTree(o.Out, files)
}

func (o *NetOptions) files() ([]File, error) {
	device, err := grubURL(o.URL)
	if err != nil {
		return nil, err
	}
	files, err := o.Boot.payload()
	if err != nil {
		return nil, err
	}
	files = append(files,
		File{Name: release.NetConfig, Data: []byte(o.Boot.netConfig(device))},
		File{Name: release.IPXEScript, Data: []byte(o.Boot.ipxe())},
		File{Name: release.DHCPConfig, Data: []byte(dhcpConfig)})
	for name, l := range map[string]string{release.Shim: release.Shim, release.GRUB: bundle.GRUBNet, release.IPXE: bundle.IPXE} {
		data, err := o.Boot.Bundle.Read(l)
		if err != nil {
			return nil, err
		}
		files = append(files, File{Name: name, Data: data})
	}
	if o.ISO == "" {
		return files, nil
	}
	data, err := os.ReadFile(o.ISO)
	if err != nil {
		return nil, fmt.Errorf("boot image: %w", err)
	}
	return append(files, File{Name: release.ISO, Data: data}), nil
}

// grubURL writes an URL as GRUB does: (http,HOST,PORT)/PATH.
func grubURL(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	u, err := url.Parse(s)
	bad := err != nil || u.Scheme != "http" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != ""
	if bad || !kernelargs.Plain(u.Hostname()+u.Port()+u.Path) || strings.Contains(u.Host, ",") {
		return "", fmt.Errorf("%w: %.100q", ErrURL, s)
	}
	if ip := net.ParseIP(u.Hostname()); ip != nil && ip.To4() == nil {
		return "", fmt.Errorf("%w: %.100q: IPv4 only", ErrURL, s)
	}
	device := u.Hostname()
	if u.Port() != "" {
		device += "," + u.Port()
	}
	return "(http," + device + ")" + strings.TrimSuffix(path.Clean("/"+u.Path), "/") + "/", nil
}

// netConfig is grub.cfg for GRUB that came by the network. It tries to load from
// the given place, in GRUB's words, then from where GRUB itself came from (empty). The kernel is told
// by which port that was.
func (b *Boot) netConfig(from string) string {
	places := "''"
	if from != "" {
		places = "'" + strings.TrimSuffix(from, "/") + "' ''"
	}
	return fmt.Sprintf(`# Troy by network
set superusers=nobody
set pager=0
for from in %[1]s; do
	echo "Troy: loading from $from/%[2]s"
	if linux "$from/%[2]s" %[3]s %[6]s=01-$net_default_mac; then
		if initrd "$from/%[4]s" "$from/%[7]s"; then
			boot
		fi
	fi
done
%[5]s`, places, release.MediaKernel, kernelargs.ForGRUB(b.Cmdline), release.MediaInitrd, grubFailure("the boot server does not have it (see above)"), kernelargs.Port, release.MediaSite)
}

// ipxe is the script for iPXE. Its paths are relative to where the script came from.
func (b *Boot) ipxe() string {
	return fmt.Sprintf(`#!ipxe
# Troy by network
iseq ${platform} efi || goto bios
kernel %[1]s %[2]s %[5]s=01-${netX/mac:hexhyp} initrd=%[4]s initrd=%[7]s || goto failed
initrd %[3]s || goto failed
initrd %[6]s || goto failed
boot || goto failed
:bios
echo Troy needs UEFI, and this PC started in BIOS (legacy, CSM) mode. No disk was touched.
goto end
:failed
echo Troy: the boot server does not have it (see above). No disk was touched.
:end
echo What this machine starts otherwise comes in 10 seconds.
sleep 10
exit 1
`, release.MediaKernel, b.Cmdline, release.MediaInitrd, release.Initrd, kernelargs.Port, release.MediaSite, release.Site)
}

// dhcpConfig is what a DHCP server has to say, in the words of dnsmasq.
const dhcpConfig = `# For the DHCP server of the site, in dnsmasq's words. SERVER is where this folder is served by TFTP and HTTP.

# UEFI PXE. Shim and GRUB start with Secure Boot on and off.
dhcp-match=set:pxe,option:client-arch,7
dhcp-match=set:pxe,option:client-arch,9
dhcp-boot=tag:pxe,` + release.Shim + `,,SERVER

# Or iPXE in their place, for machines with Secure Boot off: instead of the dhcp-boot above
#dhcp-userclass=set:ipxe,iPXE
#dhcp-boot=tag:pxe,tag:!ipxe,` + release.IPXE + `,,SERVER
#dhcp-boot=tag:ipxe,http://SERVER/` + release.IPXEScript + `

# UEFI HTTP boot
dhcp-match=set:http,option:client-arch,16
dhcp-option-force=tag:http,60,HTTPClient
dhcp-boot=tag:http,http://SERVER/` + release.ISO + `
`
