package winpc

import (
	"fmt"
	"os"
	"os/user"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"

	"troy/gates"
)

// Keys of HKLM that say what PC and Windows this is. None of them holds a serial number.
const (
	keyBIOS    = `HARDWARE\DESCRIPTION\System\BIOS`
	keyVersion = `SOFTWARE\Microsoft\Windows NT\CurrentVersion`
	keySecure  = `SYSTEM\CurrentControlSet\Control\SecureBoot\State`
)

var (
	firmwareType = windows.NewLazySystemDLL("kernel32.dll").NewProc("GetFirmwareType")
	wineVersion  = windows.NewLazySystemDLL("ntdll.dll").NewProc("wine_get_version")
	tpmInfo      = windows.NewLazySystemDLL("tbs.dll").NewProc("Tbsi_GetDeviceInfo")
)

// Elevated reports whether the program may attach disks.
func Elevated() bool { return windows.GetCurrentProcessToken().IsElevated() }

// Look tells what PC this is, and the names that no result may say.
func Look() (pc gates.PC, names []string) {
	bios, version, secure := values(keyBIOS), values(keyVersion), values(keySecure)
	pc = gates.PC{Maker: bios.text("SystemManufacturer"), Model: bios.text("SystemProductName"), TPM: tpm(), Cards: cards(),
		Firmware: join(", ", firmware(), join(" ", bios.text("BIOSVendor"), bios.text("BIOSVersion"))),
		Windows:  gates.Windows{Edition: version.text("EditionID"), Build: join(".", version.text("CurrentBuildNumber"), version.number("UBR"))}}
	switch secure.number("UEFISecureBootEnabled") {
	case "1":
		pc.SecureBoot = "on"
	case "0":
		pc.SecureBoot = "off"
	}
	pc.Windows.StandIn = wineVersion.Find() == nil
	pc.Virtual = hypervisor(pc.Maker, pc.Model)
	return pc, own()
}

// own lists the names of this PC and its user.
func own() (names []string) {
	if name, err := os.Hostname(); err == nil {
		names = append(names, name)
	}
	if u, err := user.Current(); err == nil {
		host, name, _ := strings.Cut(u.Username, `\`)
		names = append(names, host, name, u.Name)
	}
	return names
}

// join joins the words that are not empty.
func join(sep string, words ...string) string {
	return strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), sep)
}

// makers are those of virtual PCs, and what their hypervisor is called. Hyper-V has Microsoft's PCs
// beside it, so it goes by the model.
var makers = map[string]string{"qemu": "QEMU", "vmware, inc.": "VMware", "innotek gmbh": "VirtualBox", "xen": "Xen", "parallels international gmbh.": "Parallels"}

func hypervisor(maker, model string) string {
	if strings.EqualFold(model, "Virtual Machine") {
		return "Hyper-V"
	}
	if strings.Contains(model, "Q35 + ICH9") || strings.Contains(model, "i440FX") || strings.EqualFold(model, "KVM") {
		return "QEMU"
	}
	return makers[strings.ToLower(maker)]
}

// key is an open key of the registry; 0: there is none.
type key struct{ registry.Key }

func values(path string) key {
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, path, registry.QUERY_VALUE|registry.WOW64_64KEY)
	if err != nil {
		return key{}
	}
	return key{k}
}

func (k key) text(name string) string {
	s, _, err := k.GetStringValue(name)
	if err != nil {
		return "" // not known
	}
	return strings.TrimSpace(s)
}

func (k key) number(name string) string {
	n, _, err := k.GetIntegerValue(name)
	if err != nil {
		return "" // not known
	}
	return fmt.Sprint(n)
}

// firmware is the kind of firmware.
func firmware() string {
	if firmwareType.Find() != nil {
		return ""
	}
	var kind uint32
	if ok, _, _ := firmwareType.Call(uintptr(unsafe.Pointer(&kind))); ok == 0 {
		return ""
	}
	return map[uint32]string{1: "BIOS", 2: "UEFI"}[kind]
}

// tpm is the version of the TPM.
func tpm() string {
	if tpmInfo.Find() != nil {
		return ""
	}
	var info struct{ structVersion, tpmVersion, interfaceType, revision uint32 }
	const notFound = 0x8028400f // TBS_E_TPM_NOT_FOUND
	switch code, _, _ := tpmInfo.Call(unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info))); uint32(code) {
	case 0:
		return map[uint32]string{1: "1.2", 2: "2.0"}[info.tpmVersion]
	case notFound:
		return "none"
	}
	return ""
}

// cards are the names of the wired network cards.
func cards() (names []string) {
	size := uint32(32 << 10)
	for range 3 { // a card may come between two calls
		buffer := make([]byte, size)
		first := (*windows.IpAdapterAddresses)(unsafe.Pointer(&buffer[0]))
		err := windows.GetAdaptersAddresses(windows.AF_UNSPEC, windows.GAA_FLAG_SKIP_UNICAST|windows.GAA_FLAG_SKIP_ANYCAST|windows.GAA_FLAG_SKIP_MULTICAST|
			windows.GAA_FLAG_SKIP_DNS_SERVER, 0, first, &size)
		if err == windows.ERROR_BUFFER_OVERFLOW {
			continue
		}
		if err != nil {
			return nil
		}
		for a := first; a != nil; a = a.Next {
			name := windows.UTF16PtrToString(a.Description)
			if a.IfType == windows.IF_TYPE_ETHERNET_CSMACD && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
		return names
	}
	return nil
}
