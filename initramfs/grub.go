package initramfs

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/u-root/mkuimage/cpio"
)

// Boot is what media with signed boot loaders start: GRUB loads kernel and
// initramfs and lays the site's files into the latter.
type Boot struct {
	Loaders string // folder below which the boot loaders are, see [HasLoaders]; empty = "/"
	Kernel  string // bzImage; with Secure Boot on it has to be signed by the same distribution as shim
	Initrd  string
	Cmdline string // kernel command line; printable ASCII without quotes
	// Site are the files of the admin that a stick carries readable, too, in /troy: what is
	// there is laid over the initramfs into /etc/troy, so they can be changed by any editor.
	// Only their last names count, and they are among config, ca.pem, root.json and built.
	Site []File
}

// Names on every medium of a [Boot].
const (
	mediaDir    = "troy"
	kernelName  = mediaDir + "/vmlinuz"
	initrdName  = mediaDir + "/initramfs.cpio.zst"
	siteDir     = "etc/troy"
	sitePrefix  = "site."                // of the true files, see siteRecords
	loaderName  = "EFI/BOOT/grubx64.efi" // what shim starts
	grubConfig  = "EFI/debian/grub.cfg"  // built into GRUBDisk
	cdConfig    = "boot/grub/grub.cfg"   // built into GRUBCD
	netConfig   = "grub/grub.cfg"        // built into GRUBNet
	cdMark      = ".disk/info"           // by which GRUBCD finds its medium
	cmdlineSafe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._=,:/@+-"
)

func (b *Boot) loader(l Loader) ([]byte, error) {
	root := b.Loaders
	if root == "" {
		root = "/"
	}
	return l.read(root)
}

// payload are kernel and initramfs as they lie on the medium.
func (b *Boot) payload() ([]File, error) {
	if err := checkGRUBCmdline(b.Cmdline); err != nil {
		return nil, err
	}
	if _, err := KernelRelease(b.Kernel); err != nil {
		return nil, err
	}
	kernel, err := os.ReadFile(b.Kernel)
	if err != nil {
		return nil, fmt.Errorf("kernel: %w", err)
	}
	initrd, err := os.ReadFile(b.Initrd)
	if err != nil {
		return nil, fmt.Errorf("initramfs: %w", err)
	}
	return []File{{Name: kernelName, Data: kernel}, {Name: initrdName, Data: initrd}}, nil
}

// mediaFiles are all files of a medium but the boot loaders.
func (b *Boot) mediaFiles(config string) ([]File, error) {
	files, err := b.payload()
	if err != nil {
		return nil, err
	}
	for _, f := range b.Site {
		files = append(files, File{Name: path.Join(mediaDir, path.Base(f.Name)), Data: f.Data})
	}
	return append(files, File{Name: config, Data: []byte(b.diskConfig())}), nil
}

// checkGRUBCmdline refuses what would not come out of GRUB as it went in.
func checkGRUBCmdline(s string) error {
	if err := checkCmdline(s); err != nil {
		return err
	}
	if i := strings.IndexAny(s, `'"\`); i >= 0 {
		return fmt.Errorf("%w: %q at byte %d: quotes and backslashes do not pass through the boot loader", ErrCmdline, s[i], i)
	}
	return nil
}

// grubWords quotes each word, so that GRUB takes nothing in it for its own.
func grubWords(cmdline string) string {
	words := strings.Fields(cmdline)
	for i, w := range words {
		if strings.Trim(w, cmdlineSafe) != "" {
			words[i] = "'" + w + "'"
		}
	}
	return strings.Join(words, " ")
}

// siteNames are the files that an admin may add to a stick or change there.
func siteNames() []string { return []string{"config", "ca.pem", "root.json", "built"} }

// siteRecords lay the site's files into the initramfs. In /etc/troy are links: the files
// lie at the top, because that is the only place where GRUB can lay others over them (the
// directories that GRUB 2.06 adds to a path have names that Linux 6.12 refuses).
func siteRecords(site []File) []cpio.Record {
	var records []cpio.Record
	names := siteNames()
	for _, f := range site {
		name := path.Base(f.Name)
		records = append(records, File{Name: sitePrefix + name, Data: f.Data, Mode: f.Mode}.record())
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, name := range names {
		records = append(records, cpio.Symlink(path.Join(siteDir, name), "/"+sitePrefix+name))
	}
	return records
}

// diskConfig is grub.cfg of sticks and ISO images. The site's files are taken as
// they are found there, so that an admin can change them by any editor. After a
// failure GRUB ends, and the firmware goes on with what it starts otherwise.
func (b *Boot) diskConfig() string {
	return fmt.Sprintf(`# Troy. The files config, ca.pem, root.json in /troy may be changed; the machine finds them in /etc/troy.
set pager=0
set site=
for name in %[2]s; do
	if [ -s /%[1]s/$name ]; then
		set site="$site newc:%[7]s$name:/%[1]s/$name"
	fi
done
echo "Troy: loading from this medium"
if linux /%[3]s %[4]s; then
	if initrd /%[5]s $site; then
		boot
	fi
fi
%[6]s`, mediaDir, strings.Join(siteNames(), " "), kernelName, grubWords(b.Cmdline), initrdName, grubFailure("the medium is damaged or incomplete: write it again"), sitePrefix)
}

func grubFailure(what string) string {
	return fmt.Sprintf(`echo "Troy: %s."
echo "No disk was touched. What this machine starts otherwise comes in 10 seconds."
sleep 10
exit
`, what)
}
