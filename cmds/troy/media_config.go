package main

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"troy/image/trust"
	"troy/image/trust/sign"
	"troy/initramfs"
	"troy/internal/kernelargs"
	"troy/netfetch/params"
)

// mediaConfig is what the media carry for one site, from --config and flags.
type mediaConfig struct {
	Servers   []string `yaml:"servers"`   // URLs, mirrors in their order
	CA        string   `yaml:"ca"`        // PEM file with who signed the servers' certificates
	Root      string   `yaml:"root"`      // TUF root metadata
	Store     string   `yaml:"store"`     // or the store to take it from
	Unsigned  bool     `yaml:"unsigned"`  // machines take what the server gives them
	Arguments []string `yaml:"arguments"` // further troy.* words
	Append    string   `yaml:"append"`    // kernel arguments
	BootURL   string   `yaml:"boot_url"`  // where net/ will be served by HTTP
}

// defaultAppend: people see what the last console shows.
const defaultAppend = "console=ttyS0,115200 console=tty0"

func (m *mediaConfig) flags(fs flagSet) {
	fs.Var((*paths)(&m.Servers), "server", "`URL` of a server, may be repeated; without one DHCP has to name it")
	fs.StringVar(&m.CA, "ca", "", "PEM `file` with the certificate of who signed the servers' certificates")
	fs.StringVar(&m.Root, "root", "", "`file` with the root metadata of the store (troy key root)")
	fs.StringVar(&m.Store, "store", "", "the store's `folder`, to take the root metadata from")
	fs.BoolVar(&m.Unsigned, "unsigned", false, "machines do not check signatures")
	fs.Var((*paths)(&m.Arguments), "argument", "`word` for the agent such as troy.port=eth0, may be repeated")
	fs.StringVar(&m.Append, "append", "", "kernel `arguments` (default "+defaultAppend+"); people see what the last console shows")
	fs.StringVar(&m.BootURL, "boot-url", "", "`URL` at which the folder net will be served, so that GRUB loads by HTTP and not by TFTP (default: boot/ of the first server if that is http)")
}

// maxSiteFile bounds what is read of the admin's files: they lie in the memory of every machine.
const maxSiteFile = 1 << 20

// load adds what the config file says, unless flags have said it. Paths in it are relative to it.
func (m *mediaConfig) load(file string) error {
	var c mediaConfig
	if file != "" {
		b, err := readSiteFile("the config", file)
		if err != nil {
			return err
		}
		if err := yaml.NewDecoder(bytes.NewReader(b), yaml.Strict()).Decode(&c); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("config %s: %s", file, strings.Join(strings.Fields(yaml.FormatError(err, false, false)), " "))
		}
	}
	for _, p := range []*string{&c.CA, &c.Root, &c.Store} {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(filepath.Dir(file), *p)
		}
	}
	if m.Root == "" && m.Store == "" && !m.Unsigned { // one of the three
		m.Root, m.Store, m.Unsigned = c.Root, c.Store, c.Unsigned
	}
	m.Servers, m.Arguments = append(m.Servers, c.Servers...), append(c.Arguments, m.Arguments...)
	for _, p := range []struct{ flag, config *string }{{&m.CA, &c.CA}, {&m.Append, &c.Append}, {&m.BootURL, &c.BootURL}} {
		if *p.flag == "" {
			*p.flag = *p.config
		}
	}
	if m.BootURL == "" && len(m.Servers) > 0 && strings.HasPrefix(m.Servers[0], "http://") {
		m.BootURL = strings.TrimSuffix(m.Servers[0], "/") + "/boot/" // what troy serve has there
	}
	if m.Append == "" {
		m.Append = defaultAppend
	}
	return nil
}

// readSiteFile reads a file that the admin named.
func readSiteFile(what, file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSiteFile+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if len(b) > maxSiteFile {
		return nil, fmt.Errorf("%s: %s has more than %d bytes: that is another file", what, file, maxSiteFile)
	}
	return b, nil
}

// files checks everything and returns what the machine finds in /etc/troy.
func (m *mediaConfig) files(now time.Time) ([]initramfs.File, error) {
	words, err := m.words()
	if err != nil {
		return nil, err
	}
	built, err := buildTime(now)
	if err != nil {
		return nil, err
	}
	files := []initramfs.File{{Name: siteDir + "config", Data: []byte(words)}, {Name: siteDir + "built", Data: []byte(built)}}
	ca, err := m.certificates(now)
	if err != nil {
		return nil, err
	}
	if ca != nil {
		files = append(files, initramfs.File{Name: siteDir + "ca.pem", Data: ca})
	}
	root, err := m.rootMetadata()
	if err != nil {
		return nil, err
	}
	if root != nil {
		files = append(files, initramfs.File{Name: siteDir + "root.json", Data: root})
	}
	return files, nil
}

// siteDir is where the agent looks.
const siteDir = "etc/troy/"

// words are the lines of the file config.
func (m *mediaConfig) words() (string, error) {
	var lines []string
	if len(m.Servers) > 0 {
		lines = append(lines, "troy.server="+strings.Join(m.Servers, ","))
	}
	if m.Unsigned {
		lines = append(lines, "troy.unsigned")
	}
	for _, w := range m.Arguments {
		if !strings.HasPrefix(w, "troy.") || strings.Contains(w, " ") || kernelargs.Check(w) != nil {
			return "", fmt.Errorf("%q is no argument for the agent: want one word that begins with troy., such as troy.port=eth0", w)
		}
		lines = append(lines, w)
	}
	text := strings.Join(lines, "\n") + "\n"
	if _, err := params.Parse(text); err != nil {
		return "", err
	}
	return "# For the agent: words as on the kernel command line, which counts more.\n" + text, nil
}

// buildTime is when the media were made: machines believe no earlier time. SOURCE_DATE_EPOCH makes it repeatable.
func buildTime(now time.Time) (string, error) {
	if s := os.Getenv("SOURCE_DATE_EPOCH"); s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return "", fmt.Errorf("SOURCE_DATE_EPOCH is %q, want seconds since 1970", s)
		}
		now = time.Unix(n, 0)
	}
	return now.UTC().Format(time.RFC3339) + "\n", nil
}

// certificates is the checked content of the CA file; nil = none.
func (m *mediaConfig) certificates(now time.Time) ([]byte, error) {
	if m.CA == "" {
		for _, s := range m.Servers {
			if strings.HasPrefix(s, "https://") {
				return nil, fmt.Errorf("%s needs a CA certificate (--ca): the media carry no others", s)
			}
		}
		return nil, nil
	}
	b, err := readSiteFile("the CA certificate", m.CA)
	if err != nil {
		return nil, err
	}
	count := 0
	for rest := b; ; count++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("%s holds a %s: only certificates may go to the media", m.CA, block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: certificate %d: %w", m.CA, count+1, err)
		}
		if now.After(cert.NotAfter) {
			return nil, fmt.Errorf("%s: the certificate of %s ended on %s", m.CA, cert.Subject, cert.NotAfter.Format(time.DateOnly))
		}
	}
	if count == 0 {
		return nil, fmt.Errorf("%s holds no certificate in PEM form", m.CA)
	}
	return b, nil
}

// rootMetadata is the checked root metadata; nil = none.
func (m *mediaConfig) rootMetadata() (b []byte, err error) {
	sources := 0
	for _, given := range []bool{m.Root != "", m.Store != "", m.Unsigned} {
		if given {
			sources++
		}
	}
	switch {
	case sources > 1:
		return nil, &usageError{"only one of root, store and unsigned can be given"}
	case m.Store != "":
		repo, err := sign.Open(m.Store, nil)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.Store, err)
		}
		b, err = repo.Root()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.Store, err)
		}
	case m.Root != "":
		if b, err = readSiteFile("the root metadata", m.Root); err != nil {
			return nil, err
		}
	default:
		return nil, nil
	}
	if err := trust.CheckRoot(b); err != nil {
		return nil, fmt.Errorf("%s%s: %w", m.Root, m.Store, err)
	}
	return b, nil
}

// warning is what the admin should know before the media are carried away.
func (m *mediaConfig) warning() string {
	if m.Unsigned || m.Root != "" || m.Store != "" {
		return ""
	}
	return "these media name no keys (--store, --root) and do not say --unsigned: machines started from them take no image"
}
