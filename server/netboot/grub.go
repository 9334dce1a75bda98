package netboot

import (
	"fmt"

	"troy/chainload/grub"
	"troy/chainload/release"
)

// deafToProxy says which GRUB the folder has, if it is one that ignores proxyDHCP; "" = it
// does, or it is unknown.
func (s *Server) deafToProxy() string {
	f, _, err := s.open(release.GRUB)
	if err != nil {
		return ""
	}
	defer f.Close()
	have, err := grub.Version(f)
	if err != nil || grub.HearsProxy(have) {
		return ""
	}
	return have
}

// Advice is what the admin should know about the folder before machines start from it; nil =
// nothing.
func (s *Server) Advice() (lines []string) {
	if !s.o.Shim {
		return nil
	}
	if v := s.deafToProxy(); v != "" && !s.o.NoDHCP {
		lines = append(lines, fmt.Sprintf("GRUB %s ignores proxyDHCP: machines that start by PXE with --shim need the site's DHCP server to name this one as next-server, "+
			"or boot files made with GRUB %s or newer (a boot bundle with that of Debian 13)", v, grub.ProxyVersion))
	}
	if !s.has(release.ISO) {
		lines = append(lines, release.ISO+" is not there: UEFI HTTP boot works with Secure Boot off only; make the boot files again with troy media")
	}
	return lines
}
