package bcd

// ElementType is the type of an element: what it is and how it is stored.
type ElementType uint32

// Elements that New writes, with their names in Microsoft's BCD reference.
// First those of the library, for any application; then those of a loader;
// then those of the boot manager.
const (
	ApplicationDevice        ElementType = 0x11000001
	ApplicationPath          ElementType = 0x12000002
	Description              ElementType = 0x12000004
	PreferredLocale          ElementType = 0x12000005
	InheritedObjects         ElementType = 0x14000006
	AutoRecoveryEnabled      ElementType = 0x16000009
	IsolatedExecutionContext ElementType = 0x16000060
	AllowedInMemorySettings  ElementType = 0x17000077

	OSDevice         ElementType = 0x21000001
	SystemRoot       ElementType = 0x22000002
	NxPolicy         ElementType = 0x25000020
	BootMenuPolicy   ElementType = 0x250000c2
	BootStatusPolicy ElementType = 0x250000e0

	DisplayOrder    ElementType = 0x24000001
	DefaultObject   ElementType = 0x23000003
	Timeout         ElementType = 0x25000004
	DisplayBootMenu ElementType = 0x26000020
)

// ObjectType says what an object is.
type ObjectType uint32

// Types of the objects that New writes.
const (
	TypeBootManager        ObjectType = 0x10100002
	TypeLoader             ObjectType = 0x10200003
	TypeBootLoaderSettings ObjectType = 0x20200003
	TypeGlobalSettings     ObjectType = 0x20100000
)

// Objects that have the same identifier in every store.
const (
	BootManagerID        = "{9dea862c-5cdd-4e70-acc1-f32b344d4795}"
	BootLoaderSettingsID = "{6efb52bf-1766-41db-a6b3-0ee5eff72bd7}"
	GlobalSettingsID     = "{7ea2e1ac-2e61-4728-aaa3-896d9d0a9f0e}"
)

// Files that the elements of a UEFI store name.
const (
	// BootManagerPath is Windows Boot Manager on the ESP.
	BootManagerPath = `\EFI\Microsoft\Boot\bootmgfw.efi`
	loaderPath      = `\Windows\system32\winload.efi`
	systemRoot      = `\Windows`
)

const (
	// allowedInMemorySettings is what bcdboot writes for every loader.
	allowedInMemorySettings = 0x15000075
	nxOptIn                 = 0
	menuStandard            = 1
	ignoreAllFailures       = 1
)
