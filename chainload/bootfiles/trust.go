package bootfiles

import (
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"

	"troy/internal/guid"
)

// Subjects of the certificates that Windows Boot Manager is signed under.
const (
	pca2011 = "Microsoft Windows Production PCA 2011"
	ca2023  = "Windows UEFI CA 2023"
)

// Trust is what the firmware of a machine trusts. The zero value is that of a machine without
// Secure Boot.
type Trust struct {
	secureBoot bool // it is on
	pca2011    bool // programs signed under Microsoft Windows Production PCA 2011 start: in db and not in dbx
	CA2023     bool // programs signed under Windows UEFI CA 2023 start
	revoked    bool // dbx holds the PCA of 2011
}

// Names of the variables in efivarfs.
const (
	variableDB         = "db-d719b2cb-3d3a-4596-a3bc-dad00e67656f"
	variableDBX        = "dbx-d719b2cb-3d3a-4596-a3bc-dad00e67656f"
	variableSecureBoot = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
)

// attributes is the length of the attributes in front of the data in efivarfs.
const attributes = 4

// ErrSignatures is the class of db and dbx variables that break their format.
var ErrSignatures = errors.New("bootfiles: corrupt EFI signature list")

// ReadTrust reads the variables of a machine from efivarfs, os.DirFS("/sys/firmware/efi/efivars").
// A variable that is not there is an empty one. Errors: ErrSignatures, and those of reading.
func ReadTrust(vars fs.FS) (Trust, error) {
	var t Trust
	on, err := readVariable(vars, variableSecureBoot)
	if err != nil {
		return t, err
	}
	t.secureBoot = len(on) == 1 && on[0] == 1
	db, err := subjects(vars, variableDB)
	if err != nil {
		return t, err
	}
	dbx, err := subjects(vars, variableDBX)
	if err != nil {
		return t, err
	}
	t.revoked = dbx[pca2011]
	t.pca2011 = db[pca2011] && !dbx[pca2011]
	t.CA2023 = db[ca2023] && !dbx[ca2023]
	return t, nil
}

// readVariable returns the data of a variable, nil if there is none.
func readVariable(vars fs.FS, name string) ([]byte, error) {
	b, err := fs.ReadFile(vars, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("bootfiles: %w", err)
	}
	return b[min(len(b), attributes):], nil
}

// subjects returns the common names of the X.509 certificates in a variable.
func subjects(vars fs.FS, name string) (map[string]bool, error) {
	b, err := readVariable(vars, name)
	if err != nil {
		return nil, err
	}
	list, err := parseSignatures(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	names := map[string]bool{}
	for _, s := range list {
		if s.kind != typeX509 {
			continue
		}
		if c, err := x509.ParseCertificate(s.data); err == nil { // vendors put odd ones there; those are not Microsoft's
			names[c.Subject.CommonName] = true
		}
	}
	return names, nil
}

// typeX509 is EFI_CERT_X509_GUID: Data is a certificate in DER.
var typeX509 = guid.GUID{0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72}

// signature is one entry of db or dbx.
type signature struct {
	kind  guid.GUID // of the list that it stands in
	owner guid.GUID
	data  []byte // of the variable's own memory
}

// parseSignatures reads the data of db or dbx: lists of signatures one after the other (UEFI 2.10,
// 32.4.1). Errors: ErrSignatures.
func parseSignatures(b []byte) ([]signature, error) {
	const header, owner = 28, 16
	var out []signature
	for at := 0; at < len(b); {
		rest := b[at:]
		if len(rest) < header {
			return nil, fmt.Errorf("%w: %d bytes behind the last list, at %d", ErrSignatures, len(rest), at)
		}
		le := binary.LittleEndian
		size, skip, each := int64(le.Uint32(rest[16:])), int64(le.Uint32(rest[20:])), int64(le.Uint32(rest[24:]))
		room := size - header - skip
		if size > int64(len(rest)) || room < 0 || each < owner || room%each != 0 {
			return nil, fmt.Errorf("%w: list at %d of %d bytes with a header of %d and signatures of %d", ErrSignatures, at, size, skip, each)
		}
		kind := guid.GUID(rest[:16])
		for p := rest[header+skip : size]; len(p) > 0; p = p[each:] {
			out = append(out, signature{kind: kind, owner: guid.GUID(p[:owner]), data: p[owner:each:each]})
		}
		at += int(size)
	}
	return out, nil
}
