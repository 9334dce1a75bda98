package initramfs

// biosText is what a PC says that boots a medium of Troy as a BIOS does.
const biosText = "\r\nTroy needs UEFI, and this PC started the medium in BIOS (legacy, CSM) mode.\r\n" +
	"Choose the UEFI entry of the medium in the boot menu, or switch UEFI on in the\r\n" +
	"setup. Windows 11 needs it as well. No disk was touched. Remove the medium to go on.\r\n"

// biosCode prints the text behind it by the BIOS and stops. It runs at 0x7c00
// whatever CS:IP the BIOS chose, from a boot sector or from a CD (El Torito without emulation).
var biosCode = [...]byte{
	0xfa,       // cli
	0x31, 0xc0, // xor ax, ax
	0x8e, 0xd8, // mov ds, ax
	0x8e, 0xd0, // mov ss, ax
	0xbc, 0x00, 0x7c, // mov sp, 0x7c00
	0xfb,             // sti
	0xfc,             // cld
	0xbe, 0x20, 0x7c, // mov si, text
	0xac,       // next: lodsb
	0x84, 0xc0, // test al, al
	0x74, 0x09, // jz stop
	0xb4, 0x0e, // mov ah, 0x0e (teletype output)
	0xbb, 0x07, 0x00, // mov bx, 7
	0xcd, 0x10, // int 0x10
	0xeb, 0xf2, // jmp next
	0xf4,       // stop: hlt
	0xeb, 0xfd, // jmp stop
}

// biosStubSize is the code area of a master boot record: what lies before the
// disk signature and the partition table (UEFI specification, 5.2.1).
const biosStubSize = 440

// biosStub is what goes there.
func biosStub() []byte {
	b := make([]byte, biosStubSize)
	n := copy(b, biosCode[:])
	copy(b[n:], biosText+"\x00")
	return b
}
