package secureboot

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"troy/internal/digest"
	"troy/internal/errline"
)

// Names of the certificates that Windows Boot Manager is signed under.
const (
	PCA2011 = "Microsoft Windows Production PCA 2011"
	CA2023  = "Windows UEFI CA 2023"
)

// ErrRefused is the class of reasons why a program does not start on a machine.
var ErrRefused = errors.New("the firmware refuses it")

// CA is a certificate of db or dbx.
type CA struct {
	Name   string // common name
	SHA256 digest.Sum
}

// Firmware is what the firmware of a machine trusts. The zero value is that of a machine without
// Secure Boot.
type Firmware struct {
	On      bool       // Secure Boot is
	CAs     []CA       // in db
	Revoked []CA       // in dbx
	SVN     SVN        // the least that dbx asks of a Windows Boot Manager
	Level   string     // SbatLevelRT, as it is
	DBX     digest.Sum // of the whole dbx; zero: there is none
	DBXTime time.Time  // the newest time of revocation in dbx; zero: none is stated
	// Digest names the state of Secure Boot, db and dbx.
	Digest digest.Sum

	allowed, forbidden map[digest.Sum]bool // hashes of programs
}

// Names of the variables in efivarfs.
const (
	variableDB         = "db-d719b2cb-3d3a-4596-a3bc-dad00e67656f"
	variableDBX        = "dbx-d719b2cb-3d3a-4596-a3bc-dad00e67656f"
	variableSecureBoot = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
	variableSBAT       = "SbatLevelRT-605dab50-e046-4300-abb6-3dd810dd8b23"
)

// attributes is the length of the attributes in front of the data in efivarfs.
const attributes = 4

// Read reads the variables of a machine from efivarfs, os.DirFS("/sys/firmware/efi/efivars"). A
// variable that is not there is an empty one. Errors: ErrSignatures, and those of reading; what
// could be read is in the result.
func Read(vars fs.FS) (*Firmware, error) {
	f := &Firmware{allowed: map[digest.Sum]bool{}, forbidden: map[digest.Sum]bool{}}
	var errs []error
	read := func(name string) []byte {
		b, err := fs.ReadFile(vars, name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("secureboot: %w", err))
		}
		return b[min(len(b), attributes):]
	}
	on, db, dbx := read(variableSecureBoot), read(variableDB), read(variableDBX)
	f.On, f.Level = len(on) == 1 && on[0] == 1, string(read(variableSBAT))
	f.Digest = digest.Sum(sha256.Sum256(fmt.Appendf(nil, "%t %x %x", f.On, db, dbx)))
	if dbx != nil {
		f.DBX = digest.Sum(sha256.Sum256(dbx))
	}
	errs = append(errs, f.readDB(db), f.readDBX(dbx))
	return f, errline.Join(errs...)
}

func (f *Firmware) readDB(b []byte) error {
	list, err := parseSignatures(b)
	if err != nil {
		return fmt.Errorf("db: %w", err)
	}
	for _, s := range list {
		if s.kind == typeX509 {
			f.CAs = appendCA(f.CAs, s.data)
		} else if s.kind == typeSHA256 && len(s.data) == sha256.Size {
			f.allowed[digest.Sum(s.data)] = true
		}
	}
	return nil
}

func (f *Firmware) readDBX(b []byte) error {
	list, err := parseSignatures(b)
	if err != nil {
		return fmt.Errorf("dbx: %w", err)
	}
	for _, s := range list {
		switch {
		case s.kind == typeX509:
			f.Revoked = appendCA(f.Revoked, s.data)
		case s.kind == typeX509SHA256 && len(s.data) == sha256.Size+16:
			if t := efiTime(s.data[sha256.Size:]); t.After(f.DBXTime) {
				f.DBXTime = t
			}
		case s.kind != typeSHA256 || len(s.data) != sha256.Size:
		case s.data[0] == 1 && bytes.Equal(s.data[1:17], bootManager[:]) && allZero(s.data[21:]):
			f.SVN = max(f.SVN, SVN(binary.LittleEndian.Uint32(s.data[17:])))
		default:
			f.forbidden[digest.Sum(s.data)] = true
		}
	}
	return nil
}

func allZero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

// appendCA adds a certificate; vendors put odd ones there, which are not Microsoft's.
func appendCA(all []CA, der []byte) []CA {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return all
	}
	return append(all, CA{nameOf(c.Subject), digest.Sum(sha256.Sum256(der))})
}

// Trusts tells whether programs signed under a CA start: it is in db and not in dbx.
func (f *Firmware) Trusts(name string) bool { return has(f.CAs, name) && !has(f.Revoked, name) }

func has(all []CA, name string) bool {
	return slices.ContainsFunc(all, func(c CA) bool { return c.Name == name })
}

// Refuses says why the firmware does not start a program; nil: it does, or Secure Boot is off. A
// nil program is one that could not be read.
func (f *Firmware) Refuses(p *Program) error {
	if !f.On {
		return nil
	}
	if p == nil {
		return fmt.Errorf("%w: it is not an EFI program", ErrRefused)
	}
	if p.Damaged {
		return fmt.Errorf("%w: it is damaged, its signature is of other content", ErrRefused)
	}
	if err := f.Revokes(p); err != nil {
		return err
	}
	if f.allowed[p.Hash] {
		return nil
	}
	var names []string
	for _, chain := range p.Signers {
		for _, name := range chain {
			if has(f.CAs, name) {
				return nil
			}
		}
		names = append(names, chain[0])
	}
	if len(names) == 0 {
		return fmt.Errorf("%w: it is not signed", ErrRefused)
	}
	return fmt.Errorf("%w: it is signed under %s, which db does not hold", ErrRefused, strings.Join(names, " and "))
}

// Revokes says by what dbx refuses a program, whether Secure Boot is on or not; nil: by nothing.
func (f *Firmware) Revokes(p *Program) error {
	if f.forbidden[p.Hash] {
		return fmt.Errorf("%w: dbx revokes this program by its hash", ErrRefused)
	}
	for _, chain := range p.Signers {
		for _, name := range chain {
			if has(f.Revoked, name) {
				return fmt.Errorf("%w: dbx revokes %s", ErrRefused, name)
			}
		}
	}
	// Others have no security version: shim, and stand-ins.
	if p.SBAT == nil && p.Version.SVN < f.SVN {
		return fmt.Errorf("%w: its security version is %s, the least that dbx allows is %s", ErrRefused, p.Version.SVN, f.SVN)
	}
	return nil
}

// ShimRefuses says why shim does not start a program on the machine, shim itself included; nil: it
// does, or Secure Boot is off.
func (f *Firmware) ShimRefuses(p *Program) error {
	switch {
	case !f.On:
		return nil
	case p == nil:
		return fmt.Errorf("%w: it is not an EFI program", ErrRefused)
	case p.SBAT == nil:
		return fmt.Errorf("%w: it has no section .sbat", ErrRefused)
	case f.forbidden[p.Hash]:
		return fmt.Errorf("%w: dbx revokes this program by its hash", ErrRefused)
	}
	return ParseSBAT(f.Level).refuses(p.SBAT)
}
