package media

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"troy/image/trust"
	"troy/image/trust/sign"
	"troy/initramfs"
	"troy/internal/blank"
	"troy/internal/kernelargs"
	"troy/netfetch/params"
)

// ErrSources is returned where a Config does not say once whose signatures machines take.
var ErrSources = errors.New("want one of --store and --root: machines take only what the keys of your store signed")

// Config is what the media carry for one place. Root or Store is needed. The signed list of the
// store's servers counts more than Servers; where neither names a URL, DHCP does.
type Config struct {
	Servers   []string `yaml:"servers"`   // URLs, mirrors in their order
	Root      string   `yaml:"root"`      // TUF root metadata; the machine fetches the list of servers by itself then
	Store     string   `yaml:"store"`     // or the store to take it and the list of servers from
	Keys      string   `yaml:"keys"`      // what the admin trusts, where that is not in the store
	Arguments []string `yaml:"arguments"` // further troy.* words
	Append    string   `yaml:"append"`    // kernel arguments
	BootURL   string   `yaml:"boot_url"`  // where the tree for PXE will be served by HTTP
	Rescue    bool     `yaml:"rescue"`    // with a shell, for whoever sits at the machine
}

// DefaultAppend are the kernel arguments where a Config has none: people see what the last console
// shows.
const DefaultAppend = "console=ttyS0,115200 console=tty0"

// ReadConfig reads a YAML or JSON file. Paths in it are relative to it.
func ReadConfig(file string) (*Config, error) {
	b, err := readFile("the config", file)
	if err != nil {
		return nil, err
	}
	c := &Config{}
	if err := yaml.NewDecoder(bytes.NewReader(b), yaml.Strict()).Decode(c); err != nil && !errors.Is(err, io.EOF) {
		text := strings.Join(strings.Fields(yaml.FormatError(err, false, false)), " ")
		if strings.Contains(text, `unknown field "unsigned"`) {
			text += ": it was removed, every store is signed"
		}
		return nil, fmt.Errorf("config %s: %s", file, text)
	}
	for _, p := range []*string{&c.Root, &c.Store, &c.Keys} {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(filepath.Dir(file), *p)
		}
	}
	return c, nil
}

// Under is what c says, with what it leaves open from below. Lists are joined: c's servers come
// first, its arguments last, for later ones override earlier ones.
func (c Config) Under(below *Config) *Config {
	if c.Root == "" && c.Store == "" { // one of the two
		c.Root, c.Store = below.Root, below.Store
	}
	c.Keys = cmp.Or(c.Keys, below.Keys)
	c.Servers, c.Arguments = slices.Concat(c.Servers, below.Servers), slices.Concat(below.Arguments, c.Arguments)
	c.Append, c.BootURL = cmp.Or(c.Append, below.Append), cmp.Or(c.BootURL, below.BootURL)
	c.Rescue = c.Rescue || below.Rescue
	return &c
}

// complete takes off the blanks that people write around values, and fills in what follows from the
// rest.
func (c Config) complete() *Config {
	c.Servers, c.Arguments, c.BootURL = trimmed(c.Servers), trimmed(c.Arguments), blank.Trim(c.BootURL)
	c.Append = cmp.Or(c.Append, DefaultAppend)
	return &c
}

// trimmed returns a copy without the blanks around each text.
func trimmed(texts []string) []string {
	out := slices.Clone(texts)
	for i := range out {
		out[i] = blank.Trim(out[i])
	}
	return out
}

// fileMost bounds what is read of each of the admin's files: they lie in the memory of every
// machine.
const fileMost = 1 << 20

// readFile reads a file that the admin named.
func readFile(what, file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, fileMost+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if len(b) > fileMost {
		return nil, fmt.Errorf("%s: %s has more than %d bytes: that is another file", what, file, fileMost)
	}
	return b, nil
}

// Site checks everything and returns the archive of what the site adds to the initramfs.
func (c *Config) Site(now time.Time) ([]byte, error) {
	files, err := c.files(now)
	if err != nil {
		return nil, err
	}
	return initramfs.Site(files)
}

// files checks everything and returns what the machine finds in /etc/troy.
func (c *Config) files(now time.Time) ([]initramfs.File, error) {
	words, err := c.words()
	if err != nil {
		return nil, err
	}
	built, err := buildTime(now)
	if err != nil {
		return nil, err
	}
	files := []initramfs.File{{Name: agentFolder + "config", Data: []byte(words)}, {Name: agentFolder + "built", Data: []byte(built)}}
	root, servers, err := c.trusted()
	if err != nil {
		return nil, err
	}
	files = append(files, initramfs.File{Name: inArchive(trust.RootFile), Data: root})
	if servers == nil {
		return files, nil
	}
	list, err := servers.Encode()
	return append(files, initramfs.File{Name: inArchive(trust.ServersFile), Data: list}), err
}

// inArchive is the name of a file of the machine in its initramfs.
func inArchive(path string) string { return strings.TrimPrefix(path, "/") }

// agentFolder is where the agent looks.
const agentFolder = "etc/troy/"

// words are the lines of the file config.
func (c *Config) words() (string, error) {
	var lines []string
	for _, s := range c.Servers {
		if strings.HasPrefix(s, "http://") {
			return "", fmt.Errorf("%s: machines check in by TLS only: want https://HOST[:PORT]", s)
		}
	}
	if len(c.Servers) > 0 {
		lines = append(lines, "troy.server="+strings.Join(c.Servers, ","))
	}
	for _, w := range c.Arguments {
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

// buildTime is when the media were made: machines believe no earlier time. SOURCE_DATE_EPOCH makes
// it repeatable.
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

// trusted is the checked root metadata, and the list of servers if there is one.
func (c *Config) trusted() (root []byte, servers *trust.Servers, err error) {
	switch {
	case (c.Root != "") == (c.Store != ""):
		return nil, nil, ErrSources
	case c.Store != "":
		var repo *sign.Repository
		if repo, err = sign.Open(c.Store, &sign.Options{Keys: c.Keys}); err == nil {
			root, err = repo.Root()
		}
		if err == nil {
			servers, err = repo.Servers(context.Background())
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", c.Store, err)
		}
	default:
		if root, err = readFile("the root metadata", c.Root); err != nil {
			return nil, nil, err
		}
	}
	if err := trust.CheckRoot(root); err != nil {
		return nil, nil, fmt.Errorf("%s%s: %w", c.Root, c.Store, err)
	}
	return root, servers, nil
}
