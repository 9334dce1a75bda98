package bcd

// elementType is the type of an element: what it is and how it is stored.
type elementType uint32

// Elements that New writes, with their names in Microsoft's BCD reference.
// First those of the library, for any application; then those of a loader;
// then those of the boot manager.
const (
	applicationDevice        elementType = 0x11000001
	applicationPath          elementType = 0x12000002
	description              elementType = 0x12000004
	preferredLocale          elementType = 0x12000005
	inheritedObjects         elementType = 0x14000006
	autoRecoveryEnabled      elementType = 0x16000009
	isolatedExecutionContext elementType = 0x16000060
	allowedInMemory          elementType = 0x17000077

	osDevice          elementType = 0x21000001
	systemRootElement elementType = 0x22000002
	nxPolicy          elementType = 0x25000020
	bootMenuPolicy    elementType = 0x250000c2
	bootStatusPolicy  elementType = 0x250000e0

	displayOrder    elementType = 0x24000001
	defaultObject   elementType = 0x23000003
	timeout         elementType = 0x25000004
	displayBootMenu elementType = 0x26000020
)

// objectType says what an object is.
type objectType uint32

// Types of the objects that New writes.
const (
	typeBootManager        objectType = 0x10100002
	typeLoader             objectType = 0x10200003
	typeBootLoaderSettings objectType = 0x20200003
	typeGlobalSettings     objectType = 0x20100000
)

// Objects that have the same identifier in every store.
const (
	bootManagerID        = "{9dea862c-5cdd-4e70-acc1-f32b344d4795}"
	bootLoaderSettingsID = "{6efb52bf-1766-41db-a6b3-0ee5eff72bd7}"
	globalSettingsID     = "{7ea2e1ac-2e61-4728-aaa3-896d9d0a9f0e}"
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
