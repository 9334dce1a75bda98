package corpus

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// The parts that are no real programs: what Windows writes besides.

func (b *builder) noise(n int) []byte {
	c := make([]byte, n)
	for i := 0; i < n; i += 8 {
		v := b.r.Uint64()
		for j := i; j < min(n, i+8); j++ {
			c[j], v = byte(v), v>>8
		}
	}
	return c
}

const garbageFile = "Temp/garbage"

// garbage fills clusters that are free in version 1.
func (b *builder) garbage() error { return b.write(garbageFile, b.noise(8<<20)) }

func (b *builder) removeGarbage() error { return os.Remove(b.path(garbageFile)) }

var hiveSizes = map[string]int{"SOFTWARE": 20 << 20, "SYSTEM": 8 << 20, "COMPONENTS": 12 << 20, "NTUSER": 2 << 20}

// hives writes files that look like registry hives: bins of 4 KiB with cells of names and values.
func (b *builder) hives() error {
	for _, name := range hiveNames() {
		c := make([]byte, 0, hiveSizes[name]+4096)
		for len(c) < hiveSizes[name] {
			c = append(c, b.cell()...)
		}
		if err := b.write("Windows/System32/config/"+name, c[:hiveSizes[name]]); err != nil {
			return err
		}
	}
	return nil
}

func hiveNames() (names []string) {
	for n := range hiveSizes {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

var words = []string{"CurrentVersion", "Classes", "Component", "Package", "InstallState", "Windows", "Policy", "Driver", "Service", "ImagePath", "Catalog"}

// cell is a key or a value: some names, some numbers, some noise.
func (b *builder) cell() []byte {
	c := fmt.Appendf(nil, "nk \x2c%s\\%s~%x\x00", words[b.r.IntN(len(words))], words[b.r.IntN(len(words))], b.r.Uint32())
	c = append(c, b.noise(8+b.r.IntN(24))...)
	c = append(c, make([]byte, b.r.IntN(60))...)
	return append(c, make([]byte, -len(c)&7)...)
}

// writeHives changes cells in place.
func (b *builder) writeHives() error {
	for _, name := range hiveNames() {
		f, err := os.OpenFile(b.path("Windows/System32/config", name), os.O_RDWR, 0)
		if err != nil {
			return err
		}
		for range hiveSizes[name] >> 16 { // one in 16 pages, often beside one another
			at := b.r.Int64N(int64(hiveSizes[name] - 8192))
			for range 1 + b.r.IntN(3) {
				var c []byte
				for len(c) < 60 {
					c = append(c, b.cell()...)
				}
				if _, err := f.WriteAt(c, at); err != nil {
					return errors.Join(err, f.Close())
				}
				at += int64(b.r.IntN(2000))
			}
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

// logs makes event logs, or lets them grow.
func (b *builder) logs() error {
	for _, name := range []string{"System.evtx", "Application.evtx", "Setup.evtx"} {
		p := b.path("Windows/System32/winevt/Logs", name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			return err
		}
		f, err := os.OpenFile(p, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		for range 1500 {
			if _, err := fmt.Fprintf(f, "**\x00\x00%08x%08x The service %s entered the state %d. %s", b.r.Uint32(), b.r.Uint32(),
				words[b.r.IntN(len(words))], b.r.IntN(5), b.noise(16)); err != nil {
				return errors.Join(err, f.Close())
			}
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

// memoryFiles makes the files that Windows keeps memory in, or writes parts of them again: three
// quarters of the page file, a quarter of the swap file, and half of what an earlier hibernation
// left behind a head of zeros (it was resumed).
func (b *builder) memoryFiles() error {
	return errors.Join(b.memoryFile("pagefile.sys", b.o.PageFile, 1, 4), b.memoryFile("swapfile.sys", b.o.PageFile/6, 3, 4),
		b.memoryFile("hiberfil.sys", b.o.PageFile*5/3, 1, 2))
}

// memoryFile writes a file whole if it is not there, else but for skip of each of pieces: parts of
// programs, some noise, some zeros.
func (b *builder) memoryFile(name string, size int64, skip, pieces int) error {
	f, err := os.OpenFile(b.path(name), os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	if st.Size() == 0 {
		skip = 0
	}
	const part = 32 << 10
	for at := int64(0); at < size; at += part {
		c := make([]byte, part)
		if at >= 64<<10 { // the heads stay zeros
			switch b.r.IntN(4) {
			case 0:
				copy(c, b.noise(part/2))
			default:
				copy(c, b.sample[b.r.IntN(len(b.sample)-part):])
			}
		}
		if b.r.IntN(pieces) < skip {
			continue
		}
		if _, err := f.WriteAt(c, at); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return f.Close()
}

func (b *builder) download() error {
	list, err := filepath.Glob(filepath.Join(b.programs, "new", "*.tgz"))
	if err != nil {
		return err
	}
	for _, p := range list {
		c, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		if err := b.write("Windows/SoftwareDistribution/Download/"+filepath.Base(p), c); err != nil {
			return err
		}
	}
	return nil
}

// backup keeps what the update will replace.
func (b *builder) backup() error {
	return b.copyTree("Program Files", "Windows/WinSxS/Backup")
}

func (b *builder) copyTree(from, to string) error {
	return filepath.WalkDir(b.path(from), func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(b.path(from), p)
		if err != nil {
			return err
		}
		c, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		return b.write(filepath.Join(to, rel), c)
	})
}

// dlls returns some installed DLLs: each n-th from the first.
func (b *builder) dlls(first, n int) (list []string, err error) {
	all, err := filepath.Glob(b.path("Windows/System32/*.dll"))
	if err != nil {
		return nil, err
	}
	slices.Sort(all)
	for i := first; i < len(all); i += n {
		list = append(list, all[i])
	}
	return list, nil
}

// copies puts some DLLs beside the programs, and writes others again elsewhere while the old place
// is given up.
func (b *builder) copies() error {
	for i, folder := range []string{"Program Files/Shared", "Windows/SysWOW64"} {
		list, err := b.dlls(1+i, 11)
		if err != nil {
			return err
		}
		for _, p := range list {
			if err := copyFile(p, b.path(folder, filepath.Base(p))); err != nil {
				return err
			}
			if i == 1 {
				if err := os.Remove(p); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func copyFile(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func (b *builder) deleted() error {
	list, err := b.dlls(3, 13)
	if err != nil {
		return err
	}
	for _, p := range list {
		err = errors.Join(err, os.Remove(p))
	}
	return errors.Join(err, os.RemoveAll(b.path("Windows/SoftwareDistribution/Download")), os.RemoveAll(b.path("Temp")))
}
