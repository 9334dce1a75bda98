// Package efiprogram makes EFI programs and signature lists for tests: PE32+ files that carry what
// Windows Boot Manager, shim and GRUB carry, and variables as db and dbx are. They do not run, and
// their signatures are no proofs.
package efiprogram

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"math/big"
	"slices"
	"time"

	"troy/internal/guid"
	"troy/internal/utf16le"
)

// Options of a program. The zero value is one that says nothing about itself.
type Options struct {
	SVN  uint32 // security version of a boot manager, major in the upper half; 0: none
	File uint64 // file version; 0: none
	SBAT string // section .sbat; "": none
	CA   string // common name of who vouches for it; "": it is not signed
	Body []byte // anything
}

const (
	headers   = 0x400
	alignment = 0x200
)

// Make makes a program.
func Make(o Options) []byte {
	b := append(header(), make([]byte, headers)...)[:headers]
	sections := 0
	add := func(name string, address uint32, data []byte) {
		le := binary.LittleEndian
		h := b[0x80+24+240+40*sections:]
		copy(h, name)
		size := (len(data) + alignment - 1) &^ (alignment - 1)
		le.PutUint32(h[8:], uint32(len(data)))
		le.PutUint32(h[12:], address)
		le.PutUint32(h[16:], uint32(size))
		le.PutUint32(h[20:], uint32(len(b)))
		b = append(append(b, data...), make([]byte, size-len(data))...)
		sections++
		le.PutUint16(b[0x80+6:], uint16(sections))
	}
	add(".text", 0x1000, append([]byte("body "), o.Body...))
	if o.SBAT != "" {
		add(".sbat", 0x2000000, []byte(o.SBAT))
	}
	if o.SVN != 0 || o.File != 0 {
		add(".rsrc", resourcesAt, resources(o))
		binary.LittleEndian.PutUint32(b[0x80+24+112+16:], resourcesAt)
	}
	if o.CA == "" {
		return b
	}
	return sign(b, o.CA)
}

// header is DOS header, COFF header and optional header.
func header() []byte {
	b := make([]byte, 0x80+24+240)
	le := binary.LittleEndian
	copy(b, "MZ")
	le.PutUint32(b[0x3c:], 0x80)
	copy(b[0x80:], "PE\x00\x00")
	le.PutUint16(b[0x80+4:], 0x8664)
	le.PutUint16(b[0x80+20:], 240)
	le.PutUint16(b[0x80+24:], 0x20b)
	le.PutUint32(b[0x80+24+60:], headers)
	le.PutUint32(b[0x80+24+108:], 16)
	return b
}

const resourcesAt = 0x3000000

// resources is a section of two kinds of resources, each of one name and one language.
func resources(o Options) []byte {
	le := binary.LittleEndian
	name := append([]byte{28, 0}, utf16le.Append(nil, "BOOTMGRSECURITYVERSIONNUMBER")...)
	svn := le.AppendUint32(nil, o.SVN)
	info := utf16le.Append(nil, "\x00VS_VERSION_INFO")
	info = append(info, 0xbd, 0x04, 0xef, 0xfe, 0, 0, 1, 0)
	info = le.AppendUint32(le.AppendUint32(info, uint32(o.File>>32)), uint32(o.File))
	const folder, below = 0x18, 1 << 31 // a folder of one entry
	b := make([]byte, 0x400)
	entries := func(at int, list ...uint32) {
		le.PutUint16(b[at+14:], uint16(len(list)/2))
		for i, x := range list {
			le.PutUint32(b[at+16+4*i:], x)
		}
	}
	leaf := func(at, data int, content []byte) {
		le.PutUint32(b[at:], uint32(resourcesAt+data))
		le.PutUint32(b[at+4:], uint32(len(content)))
		copy(b[data:], content)
	}
	entries(0, 10, 0x40|below, 16, 0x80|below)
	entries(0x40, 0x200|below, (0x40+folder)|below)
	entries(0x40+folder, 1033, 0xc0)
	entries(0x80, 1, (0x80+folder)|below)
	entries(0x80+folder, 1033, 0xd0)
	copy(b[0x200:], name)
	leaf(0xc0, 0x280, svn)
	leaf(0xd0, 0x300, info)
	if o.SVN == 0 {
		le.PutUint32(b[16:], 11)
	}
	return b
}

// sign adds what a signature says: the Authenticode hash, and the names of signer and issuer.
func sign(b []byte, ca string) []byte {
	le := binary.LittleEndian
	const checksum, certs = 0x80 + 24 + 64, 0x80 + 24 + 112 + 32
	sum := sha256.Sum256(slices.Concat(b[:checksum], b[checksum+4:certs], b[certs+8:]))
	der := signature(sum[:], ca)
	size := 8 + len(der)
	le.PutUint32(b[certs:], uint32(len(b)))
	le.PutUint32(b[certs+4:], uint32((size+7)&^7))
	b = le.AppendUint32(b, uint32(size))
	b = append(b, 0, 2, 2, 0) // revision 2, PKCS signed data
	b = append(b, der...)
	return append(b, make([]byte, (size+7)&^7-size)...)
}

type (
	hashed struct {
		Algorithm pkix.AlgorithmIdentifier
		Digest    []byte
	}
	indirect struct {
		Data   asn1.ObjectIdentifier
		Digest hashed
	}
	content struct {
		Type    asn1.ObjectIdentifier
		Content asn1.RawValue
	}
	by struct {
		Issuer asn1.RawValue
		Serial *big.Int
	}
	signer struct {
		Version int
		By      by
	}
	signedData struct {
		Version      int
		Digests      []pkix.AlgorithmIdentifier `asn1:"set"`
		Content      content
		Certificates asn1.RawValue
		Signers      []signer `asn1:"set"`
	}
)

// signature is a SignedData of CMS as far as anybody reads it without verifying.
func signature(sum []byte, ca string) []byte {
	leaf, issuer := Certificate("Signer", ca), name(ca)
	wrap := func(tag int, der []byte) asn1.RawValue {
		return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: true, Bytes: der}
	}
	sha := pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}}
	data := marshal(signedData{
		Version: 1, Digests: []pkix.AlgorithmIdentifier{sha},
		Content: content{asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 4},
			wrap(0, marshal(indirect{asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 15}, hashed{sha, sum}}))},
		Certificates: wrap(0, leaf),
		Signers:      []signer{{1, by{asn1.RawValue{FullBytes: issuer}, big.NewInt(1)}}},
	})
	return marshal(content{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}, wrap(0, data)})
}

func marshal(v any) []byte {
	b, err := asn1.Marshal(v)
	if err != nil {
		panic(err) // of values that are fixed above
	}
	return b
}

func name(common string) []byte { return marshal(pkix.Name{CommonName: common}.ToRDNSequence()) }

// Certificate makes a certificate of that common name, issued by the other.
func Certificate(common, issuer string) []byte {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	of := func(common string) *x509.Certificate {
		return &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: common}, NotAfter: time.Now().Add(time.Hour)}
	}
	der, err := x509.CreateCertificate(rand.Reader, of(common), of(issuer), key.Public(), key)
	if err != nil {
		panic(err)
	}
	return der
}

// Types of signatures.
var (
	X509   = guid.GUID{0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72}
	SHA256 = guid.GUID{0x26, 0x16, 0xc4, 0xc1, 0x4c, 0x50, 0x92, 0x40, 0xac, 0xa9, 0x41, 0xf9, 0x36, 0x93, 0x43, 0x28}
)

// List makes an EFI_SIGNATURE_LIST with a header of so many bytes.
func List(kind guid.GUID, header int, data ...[]byte) []byte {
	var body []byte
	for _, d := range data {
		owner := guid.New()
		body = append(append(body, owner[:]...), d...)
	}
	le := binary.LittleEndian
	b := bytes.Clone(kind[:])
	b = le.AppendUint32(b, uint32(28+header+len(body)))
	b = le.AppendUint32(b, uint32(header))
	b = le.AppendUint32(b, uint32(16+len(data[0])))
	return append(append(b, make([]byte, header)...), body...)
}

// CA makes a list with a certificate of that name.
func CA(common string) []byte { return List(X509, 0, Certificate(common, common)) }

// SVN makes the hash in dbx by which Microsoft asks for a least security version.
func SVN(major uint16) []byte {
	b := append([]byte{1}, 0x61, 0x2b, 0x13, 0x9d, 0xd5, 0x59, 0x88, 0x43, 0xab, 0x1c, 0x18, 0x5c, 0x3c, 0xb2, 0xeb, 0x92)
	b = binary.LittleEndian.AppendUint16(append(b, 0, 0), major)
	return append(b, make([]byte, 32-len(b))...)
}
