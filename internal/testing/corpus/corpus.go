package corpus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"

	"troy/diskwriter/pcdisk"
)

// VolumeStart is where the NTFS volume begins on the disks, in bytes.
const VolumeStart = 1 << 20

// Options say how large the disks are. The zero value is the small corpus.
type Options struct {
	// VolumeSize is that of the NTFS volume in bytes, 0 for 384 MiB; the disks are 2 MiB larger.
	VolumeSize int64
	// Programs is up to how many bytes of Wine's DLLs are installed, 0 for 32 MiB.
	Programs int64
	// PageFile is the size of the page file in bytes, 0 for 48 MiB; the swap file has a sixth of
	// it, hiberfil.sys 5/3.
	PageFile int64
}

// Pair is two versions of one disk as raw images, each with its volume by itself.
type Pair struct{ V1, V2, Volume1, Volume2 string }

type builder struct {
	ctx      context.Context
	programs string
	volume   string
	o        Options
	r        *rand.Rand
	root     string // while mounted
	sample   []byte // of programs, for what memory holds
}

// Make writes the pair into dir. programs is the folder with old, new and wine. The programs
// mkntfs, ntfs-3g, sgdisk, tar and dd are needed, and leave to mount.
func Make(ctx context.Context, dir, programs string, o *Options) (*Pair, error) {
	b := &builder{ctx: ctx, programs: programs, volume: filepath.Join(dir, "volume2.img"), r: rand.New(rand.NewPCG(20, 26))}
	if o != nil {
		b.o = *o
	}
	for _, d := range []struct {
		v *int64
		n int64
	}{{&b.o.VolumeSize, 384 << 20}, {&b.o.Programs, 32 << 20}, {&b.o.PageFile, 48 << 20}} {
		if *d.v == 0 {
			*d.v = d.n
		}
	}
	p := &Pair{V1: filepath.Join(dir, "v1.raw"), V2: filepath.Join(dir, "v2.raw"), Volume1: filepath.Join(dir, "volume1.img"), Volume2: b.volume}
	return p, errors.Join(b.first(p), b.second(p))
}

func (b *builder) first(p *Pair) error {
	if err := sparse(b.volume, b.o.VolumeSize); err != nil {
		return err
	}
	if err := b.run("mkntfs", "-q", "-Q", "-F", "-s", "512", "-c", "4096", "-p", "2048", "-H", "255", "-S", "63", "-L", "Windows", b.volume); err != nil {
		return err
	}
	err := b.mounted(b.garbage, b.wine, func() error { return b.packages("old", "Program Files") }, b.hives, b.logs, b.memoryFiles, b.removeGarbage)
	if err != nil {
		return err
	}
	if err := b.run("cp", "--sparse=always", b.volume, p.Volume1); err != nil {
		return err
	}
	return b.disk(p.V1)
}

func (b *builder) second(p *Pair) error {
	err := b.mounted(
		b.download,
		func() error { return b.packages("new", "Temp") },
		b.backup,
		func() error { return b.packages("new", "Program Files") },
		b.copies, b.writeHives, b.logs, b.memoryFiles, b.deleted)
	if err != nil {
		return err
	}
	return b.disk(p.V2)
}

func (b *builder) mounted(steps ...func() error) error {
	return pcdisk.Mounted(b.ctx, b.volume, func(root string) error {
		b.root = root
		for _, do := range steps {
			if err := do(); err != nil {
				return err
			}
		}
		return nil
	})
}

func (b *builder) run(name string, args ...string) error {
	out, err := exec.CommandContext(b.ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("corpus: %s: %w\n%s", name, err, out)
	}
	return nil
}

func sparse(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Close())
}

// disk puts a GPT around the volume as it is.
func (b *builder) disk(path string) error {
	if err := sparse(path, b.o.VolumeSize+2*VolumeStart); err != nil {
		return err
	}
	err := b.run("sgdisk", "-U", "6E1F7D0C-6A1E-4B55-9C55-0D2C6E0B7A11", "-n", fmt.Sprintf("1:%d:+%dK", VolumeStart/512, b.o.VolumeSize>>10),
		"-t", "1:0700", "-u", "1:6E1F7D0C-6A1E-4B55-9C55-0D2C6E0B7A12", "-c", "1:Basic data partition", path)
	if err != nil {
		return err
	}
	return b.run("dd", "if="+b.volume, "of="+path, "bs=1M", "seek=1", "conv=notrunc,sparse", "status=none")
}

// wine installs DLLs in the order of their names, and keeps some bytes of them.
func (b *builder) wine() error {
	files, err := filepath.Glob(filepath.Join(b.programs, "wine/usr/lib/*/wine/x86_64-windows/*.dll"))
	if err != nil || len(files) < 100 {
		return fmt.Errorf("corpus: %d DLLs in %s, run make deps", len(files), b.programs)
	}
	slices.Sort(files)
	var total int64
	for _, f := range files {
		c, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		if total += int64(len(c)); total > b.o.Programs {
			return nil
		}
		if len(b.sample) < 8<<20 {
			b.sample = append(b.sample, c...)
		}
		if err := b.write("Windows/System32/"+filepath.Base(f), c); err != nil {
			return err
		}
	}
	return nil
}

var versionSuffix = regexp.MustCompile(`-[0-9]+\.[0-9]+\.[0-9]+\.tgz$`)

// packages unpacks a release under a folder, over what is there, as new files.
func (b *builder) packages(release, folder string) error {
	list, err := filepath.Glob(filepath.Join(b.programs, release, "*.tgz"))
	if err != nil || len(list) == 0 {
		return fmt.Errorf("corpus: no packages in %s/%s, run make deps", b.programs, release)
	}
	for _, p := range list {
		target := b.path(folder, versionSuffix.ReplaceAllString(filepath.Base(p), ""))
		if err := os.MkdirAll(target, 0o755); err != nil {
			return err
		}
		if err := b.run("tar", "-xzf", p, "-C", target, "--strip-components=1", "--no-same-owner", "--no-same-permissions"); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) path(parts ...string) string {
	return filepath.Join(append([]string{b.root}, parts...)...)
}

func (b *builder) write(name string, c []byte) error {
	if err := os.MkdirAll(filepath.Dir(b.path(name)), 0o755); err != nil {
		return err
	}
	return os.WriteFile(b.path(name), c, 0o644)
}
