package startable

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"troy/diskwriter/pcdisk"
	"troy/internal/guid"
	"troy/internal/testing/fixture"
)

func secret(element string) []byte { return []byte("<unattend><a>" + element + "</a></unattend>") }

// TestCheck makes a disk of each kind that a PC cannot start, or should not get, beside those that
// look like one. Each is a sound disk with one change.
func TestCheck(t *testing.T) {
	le := binary.LittleEndian
	const system, software = "SYSTEM", "SOFTWARE"
	closed := func(more values) values {
		v := values{`Select\Current`: 2}
		for k, x := range more {
			v[k] = x
		}
		return v
	}
	for _, c := range []struct {
		name string
		make func(d *disk)
		want []Reason
		says string // in the first finding
	}{
		{"sound", func(*disk) {}, nil, ""},
		{"BitLocker", func(d *disk) { d.change(func(b []byte) { copy(b[3:], "-FVE-FS-") }) }, []Reason{BitLocker}, "partition 1: BitLocker"},
		{"BitLocker converts", func(d *disk) {
			id := guid.Must("4967d63b-2e29-4ad8-8399-f6a339e3d001")
			d.change(func(b []byte) { copy(b[0xa0:], id[:]) })
		}, []Reason{BitLocker}, "manage-bde -off"},
		{"hibernated", func(d *disk) { d.put("hiberfil.sys", append([]byte("HIBR"), make([]byte, 8192)...)) }, []Reason{Hibernated}, "Fast Startup"},
		{"never hibernated", func(d *disk) { d.put("hiberfil.sys", make([]byte, 8192)) }, nil, ""},
		{"volume larger than its partition", func(d *disk) {
			d.change(func(b []byte) { le.PutUint64(b[0x28:], le.Uint64(b[0x28:])+8) })
		}, []Reason{TooLarge}, "8392192 bytes in a partition of 8388608"},
		{"sectors of 4096 in the volume", func(d *disk) {
			d.change(func(b []byte) {
				le.PutUint16(b[0x0b:], 4096)
				b[0x0d] = 1
				le.PutUint64(b[0x28:], le.Uint64(b[0x28:])/8)
			})
		}, []Reason{SectorSize}, "sectors of 4096 bytes, the disk says 512"},
		{"damaged", func(d *disk) {
			d.change(func(b []byte) {
				for at := 0; at < len(b); at += 1024 {
					copy(b[at:], bytes.ReplaceAll(b[at:at+4], []byte("FILE"), []byte("GONE")))
				}
			})
		}, []Reason{Damaged}, "chkdsk"},
		{"dirty", func(d *disk) { tool(d.t, "ntfsfix", d.volumes[0]) }, []Reason{Unclean}, "dirty flag"},
		{"boot manager is text", func(d *disk) { d.put("Windows/Boot/EFI/bootmgfw.efi", []byte("this is text")) }, []Reason{BootFiles}, "bootmgfw.efi is no EFI program"},
		{"loader is text", func(d *disk) { d.put("Windows/System32/winload.efi", []byte("this is text")) }, []Reason{BootFiles}, "winload.efi is no program"},
		{"two", func(d *disk) { d.add(smallBytes) }, []Reason{ManyWindows}, "partitions 1 and 2"},
		{"a BitLocker volume beside it", func(d *disk) {
			d.add(append([]byte("\xeb\x58\x90-FVE-FS-"), make([]byte, 64<<10-11)...))
		}, []Reason{BitLocker}, "partition 2"},
		{"registry", func(d *disk) { d.put("Windows/System32/config/SYSTEM", []byte("regf and no more")) }, []Reason{NoRegistry}, "config\\SYSTEM"},
		{"registry not closed", func(d *disk) {
			d.put("Windows/System32/config/SYSTEM", unclosed(hiveOf(d.t, closed(nil))))
		}, []Reason{Unclosed}, "config\\SYSTEM"},
		{"SOFTWARE is damaged", func(d *disk) { d.put("Windows/System32/config/SOFTWARE", make([]byte, 9000)) }, []Reason{Unread}, "config\\SOFTWARE"},
		{"Entra", func(d *disk) {
			d.hive(system, closed(values{`ControlSet002\Control\CloudDomainJoin\JoinInfo\AB12\TenantId`: "contoso"}))
		}, []Reason{EntraJoined}, "certificate AB12, tenant contoso"},
		{"Entra, in controls that are not used", func(d *disk) {
			d.hive(system, closed(values{`ControlSet001\Control\CloudDomainJoin\JoinInfo\AB12\TenantId`: "contoso"}))
		}, nil, ""},
		{"left Entra", func(d *disk) { d.hive(system, closed(values{`ControlSet002\Control\CloudDomainJoin\JoinInfo`: nil})) }, nil, ""},
		{"Intune", func(d *disk) {
			d.hive(software, values{`Microsoft\Enrollments\{1}\EnrollmentState`: 1, `Microsoft\Enrollments\{1}\ProviderID`: "MS DM Server"})
		}, []Reason{Enrolled}, "enrolment {1}"},
		{"another MDM", func(d *disk) {
			d.hive(software, values{`Microsoft\Enrollments\{1}\EnrollmentState`: 1, `Microsoft\Enrollments\{1}\UPN`: "a@example.org"})
		}, []Reason{Enrolled}, "user \"a@example.org\""},
		{"enrolments of every Windows", func(d *disk) {
			d.hive(software, values{`Microsoft\Enrollments\{1}\EnrollmentState`: 1, `Microsoft\Enrollments\{1}\ProviderID`: "Local_Management",
				`Microsoft\Enrollments\{2}\UPN`: "left@example.org", `Microsoft\Enrollments\Context`: nil})
		}, nil, ""},
		{"domain", func(d *disk) {
			d.hive(system, closed(values{`ControlSet002\Services\Tcpip\Parameters\NV Domain`: "school.example"}))
		}, []Reason{DomainJoined}, "domain \"school.example\""},
		{"machine account", func(d *disk) { d.hive("SECURITY", values{`Policy\Secrets\$MACHINE.ACC\CurrVal`: nil}) }, []Reason{DomainJoined}, "machine account"},
		{"sysprep stopped", func(d *disk) { d.hive(system, closed(values{`Setup\Status\SysprepStatus\GeneralizationState`: 3})) }, []Reason{HalfGeneralised}, "GeneralizationState is 3"},
		{"generalised, setup not asked for", func(d *disk) { d.hive(software, values{imageState: "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE"}) },
			[]Reason{HalfGeneralised}, "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE"},
		{"between two states", func(d *disk) { d.hive(software, values{imageState: "IMAGE_STATE_UNDEPLOYABLE"}) }, []Reason{HalfGeneralised}, "sysprep /generalize"},
		{"audit mode", func(d *disk) {
			d.hive(software, values{imageState: "IMAGE_STATE_UNDEPLOYABLE"}).hive(system, closed(values{`Setup\Status\AuditBoot`: 1}))
		}, nil, ""},
		{"passwords", func(d *disk) {
			d.put("Windows/Panther/Unattend-Original.XML", secret("<AdministratorPassword><Value>x</Value></AdministratorPassword>"))
		}, []Reason{Secrets}, `\Windows\Panther\Unattend-Original.XML: AdministratorPassword/Value`},
		{"product key", func(d *disk) { d.put("autounattend.xml", secret("<ProductKey>AAAAA</ProductKey>")) }, []Reason{Secrets}, `\autounattend.xml: a/ProductKey`},
		{"placeholders", func(d *disk) {
			d.put("Windows/System32/Sysprep/unattend.xml", secret("<Password><Value>*SENSITIVE*DATA*DELETED*</Value></Password><ProductKey>   </ProductKey>"))
		}, nil, ""},
		{"answers that are no XML", func(d *disk) { d.put("Windows/Panther/Unattend/unattend.xml", []byte("<a")) }, []Reason{Unread}, "no XML"},
		{"several", func(d *disk) {
			d.put("unattend.xml", secret("<Password>x</Password>")).put("Windows/System32/winload.efi", nil)
			d.hive(software, values{`Microsoft\Enrollments\{1}\EnrollmentState`: 1, `Microsoft\Enrollments\{1}\UPN`: "x"})
			tool(d.t, "ntfsfix", d.volumes[0])
		}, []Reason{Enrolled, BootFiles, Secrets, Unclean}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDisk(t)
			c.make(d)
			compare(t, d.check(), c.want, c.says)
		})
	}
}

func compare(t *testing.T, v *Verdict, want []Reason, says string) {
	t.Helper()
	var got []Reason
	for _, f := range v.Findings {
		got = append(got, f.Reason)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("%d %q, want %d", got, v.Notes(), want)
	}
	if len(want) > 0 && !strings.Contains(v.Findings[0].String(), says) {
		t.Errorf("%q, want %q in it", v.Findings[0].String(), says)
	}
}

// TestCompressed: the boot manager and the loader, as CompactOS leaves them.
func TestCompressed(t *testing.T) {
	d := newDisk(t)
	must(t, pcdisk.Mounted(t.Context(), d.volumes[0], func(root string) error {
		return errors.Join(fixture.CompactOS(filepath.Join(root, "Windows/Boot/EFI/bootmgfw.efi"), 90000), fixture.CompactOS(filepath.Join(root, "Windows/System32/winload.efi"), 90000))
	}))
	v := d.check()
	compare(t, v, []Reason{Compressed, Compressed}, "winload.efi")
	if s := v.Findings[1].String(); !strings.Contains(s, "bootmgfw.efi") || !strings.Contains(s, "compact /u /exe") {
		t.Error(s)
	}
}

// TestDisks: what lies around the volumes.
func TestDisks(t *testing.T) {
	sound := newDisk(t).bytes()
	plain := bytes.Clone(sound) // the volume is no NTFS
	copy(plain[volumeAt+3:], "MSDOS5.0")
	elsewhere := make([]byte, 8*mib) // a disk of 4096-byte sectors
	elsewhere[450], elsewhere[510], elsewhere[511] = 0xee, 0x55, 0xaa
	copy(elsewhere[4096:], "EFI PART")
	for _, c := range []struct {
		name   string
		disk   []byte
		sector int
		want   []Reason
		says   string
	}{
		{"sound", sound, 512, nil, ""},
		{"MBR", asMBR(sound, 0x07), 512, nil, ""},
		{"MBR, a dynamic disk", asMBR(sound, 0x42), 512, []Reason{NoWindows}, ""},
		{"empty", make([]byte, 8*mib), 512, []Reason{NoTable}, "the disk has no partition table"},
		{"nothing", nil, 512, []Reason{NoTable}, ""},
		{"said to have sectors of 4096", sound, 4096, []Reason{SectorSize}, "sectors of 512 bytes, the disk says 4096"},
		{"4Kn, said to have sectors of 512", elsewhere, 512, []Reason{SectorSize}, "--logical-sector-size"},
		{"no NTFS", plain, 512, []Reason{NoWindows}, "no Windows is on the disk"},
		{"cut short", sound[:volumeAt+mib], 512, []Reason{NoTable}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			compare(t, Check(bytes.NewReader(c.disk), int64(len(c.disk)), c.sector), c.want, c.says)
		})
	}
}

// asMBR names the volume by an MBR.
func asMBR(disk []byte, typ byte) []byte {
	d := bytes.Clone(disk)
	clear(d[:volumeAt])
	clear(d[len(d)-mib:])
	e := d[446:]
	e[4] = typ
	binary.LittleEndian.PutUint32(e[8:], volumeAt/512)
	binary.LittleEndian.PutUint32(e[12:], smallSize/512)
	d[510], d[511] = 0x55, 0xaa
	return d
}

// TestSetup: an image whose setup is still to run is no half-way sysprep.
func TestSetup(t *testing.T) {
	d := newDisk(t).hive("SYSTEM", values{`Select\Current`: 1, `Setup\SystemSetupInProgress`: 1, `Setup\Status\SysprepStatus\GeneralizationState`: 3}).
		hive("SOFTWARE", values{imageState: "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE"})
	if v := d.check(); !v.Setup || len(v.Findings) > 0 || len(v.Notes()) != 1 {
		t.Errorf("%+v", v)
	}
	if newDisk(t).check().Setup {
		t.Error("a Windows that was set up is pending")
	}
}

// TestRefused: what may be forced, what may be allowed, and what may not.
func TestRefused(t *testing.T) {
	force, secrets, both := Allowed{Unbootable: true}, Allowed{Secrets: true}, Allowed{true, true}
	for _, c := range []struct {
		reasons   []Reason
		passes    []Allowed
		notLacked bool // nothing helps
	}{
		{nil, []Allowed{{}, force, secrets, both}, false},
		{[]Reason{DomainJoined, Unclean, Unclosed, Unread}, []Allowed{{}, force, secrets, both}, false},
		{[]Reason{NoTable}, []Allowed{force, both}, false},
		{[]Reason{HalfGeneralised, Unread}, []Allowed{force, both}, false},
		{[]Reason{Secrets}, []Allowed{secrets, both}, false},
		{[]Reason{Secrets, Compressed}, []Allowed{both}, false},
		{[]Reason{BitLocker}, nil, true},
		{[]Reason{Hibernated, NoTable}, nil, true},
		{[]Reason{EntraJoined}, nil, true},
		{[]Reason{Enrolled, Secrets}, nil, true},
	} {
		v := &Verdict{}
		for _, r := range c.reasons {
			v.add(r, "here", "")
		}
		for _, a := range []Allowed{{}, force, secrets, both} {
			err := v.Refused(a)
			if pass := slices.Contains(c.passes, a); (err == nil) != pass || err != nil && !errors.Is(err, ErrRefused) {
				t.Errorf("%d with %+v: %v", c.reasons, a, err)
			}
			var e *RefusedError
			if !errors.As(err, &e) {
				continue
			}
			need, possible := e.Lacks()
			if possible == c.notLacked || possible && v.Refused(Allowed{a.Unbootable || need.Unbootable, a.Secrets || need.Secrets}) != nil {
				t.Errorf("%d with %+v needs %+v, %v", c.reasons, a, need, possible)
			}
		}
	}
}

// TestTable: the page for admins shows each reason, what it means and what to do.
func TestTable(t *testing.T) {
	page, err := os.ReadFile("../../docs/startable.md")
	must(t, err)
	levels := map[Level]string{Warning: "warning", Secret: "`--secrets-in-image`", Unbootable: "`--force-unbootable`", Never: "no"}
	for i, r := range reasons {
		if row := "| " + r.what + " | " + levels[r.level] + " | " + strings.ReplaceAll(r.remedy, "'", "`") + " |"; !strings.Contains(string(page), row) {
			t.Errorf("reason %d: docs/startable.md has no row\n%s", i, row)
		}
	}
}
