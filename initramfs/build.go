package initramfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/u-root/mkuimage/cpio"

	"troy/initramfs/kmod"
)

// Options say what a bundle is made of. Kernel, Modules and Out are required.
type Options struct {
	Kernel  string // the kernel image (bzImage), signed by the same distribution as the boot loaders
	Modules string // its lib/modules/VERSION folder; a symbolic link will do
	Loaders string // folder below which the signed boot loaders are installed or unpacked; empty = "/"
	Out     string // the folder to write

	// Programs are programs of this machine to take along, by name or path, with the dynamic linker
	// and the shared libraries that they name. What they load by dlopen is not found, scripts are
	// refused.
	Programs []string
	Drivers  []string // kernel modules besides those of common PCs
	Version  string   // how a store spells the release of Troy

	Cache string // folder that keeps for the next time what is slow to make; empty = make it every time

	program string   // Go package of the program that init starts; empty = agentProgram
	args    []string // its arguments on rescue media
	drivers []string // all kernel modules; nil = defaultModules
}

func (o *Options) agent() string { return cmp.Or(o.program, agentProgram) }

// init is what the kernel starts: the agent, which starts u-root's init without its banner, or that
// itself.
func (o *Options) init() string {
	if o.program != "" {
		return "bbin/init"
	}
	return path.Join(agentDir, path.Base(agentProgram))
}

// File is one file of an archive or of a medium.
type File struct {
	Name string // path in the archive, relative
	Data []byte
	Mode uint32 // permission bits; 0 = 0644
}

// Info describes an initramfs that was built.
type Info struct {
	Release string   // kernel release it fits
	Modules []string // kernel modules in it, in an order in which they load
	RawSize int64    // bytes of the cpio archives
	Size    int64    // bytes of the file
	Parts   []Part   // what Size consists of
}

// ErrKernelMismatch says that the modules were built for another kernel.
var ErrKernelMismatch = errors.New("kernel and modules do not belong together")

// buildInitramfs builds the initramfs as the file out, which is replaced only by a finished one.
func buildInitramfs(ctx context.Context, o *Options, out string) (*Info, error) {
	release, err := kernelRelease(o.Kernel)
	if err != nil {
		return nil, err
	}
	modules, err := selectModules(o, release)
	if err != nil {
		return nil, err
	}
	programs, err := tools(ctx, o.Programs)
	if err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp("", "troy-initramfs-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	agent, err := agentFile(ctx, o, tmp)
	if err != nil {
		return nil, fmt.Errorf("initramfs: %w", err)
	}
	box, err := busybox(ctx, o.Cache, defaultCommands(false), tmp)
	if err != nil {
		return nil, fmt.Errorf("initramfs: %w", err)
	}
	info := &Info{Release: release}
	for _, m := range modules {
		info.Modules = append(info.Modules, m.Name)
	}
	// The agent supervises itself, by another name (agent.Supervise).
	start := cpio.Symlink("bin/uinit", path.Base(agent.Name))
	return info, info.write(ctx, o.Cache, out, []piece{
		{name: "u-root", records: append(append(skeleton(), box...), cpio.Symlink("init", o.init()))},
		{name: "drivers", records: moduleRecords(release, modules)},
		{name: "programs", records: fileRecords(programs)},
		{name: "agent", records: append(fileRecords([]File{agent}), start), latest: path.Base(agent.Name)},
	})
}

// buildRescue builds what rescue media lay over the initramfs: more commands of u-root, a shell,
// and a script that starts the agent and then the shell.
func buildRescue(ctx context.Context, o *Options, out string) error {
	tmp, err := os.MkdirTemp("", "troy-rescue-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	box, err := busybox(ctx, o.Cache, defaultCommands(true), tmp)
	if err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	box = append(box, cpio.Symlink("init", "bbin/init"), cpio.Symlink("bin/sh", "../bbin/gosh"))
	return new(Info).write(ctx, o.Cache, out, []piece{{name: "rescue", records: append(box, rescueScripts(o)...)}})
}

// selectModules returns the wanted modules and all that they need.
func selectModules(o *Options, release string) ([]*kmod.Module, error) {
	index, err := kmod.Open(o.Modules)
	if err != nil {
		return nil, err
	}
	names := o.drivers
	if names == nil {
		names = slices.DeleteFunc(defaultModules(), func(n string) bool { return !index.Has(n) })
	}
	names = slices.Concat(names, o.Drivers)
	modules, err := index.Closure(names...)
	if err != nil {
		return nil, err
	}
	for _, m := range modules {
		if m.Release() != release {
			return nil, fmt.Errorf("%w: kernel %s is %s, module %s is for %s", ErrKernelMismatch, o.Kernel, release, m.Name, m.Release())
		}
	}
	return modules, nil
}

// rescueShell runs a shell on the console for ever: the kernel panics when init
// has nothing left to run.
const rescueShell = `while true; do
	/bbin/gosh </dev/console >/dev/console 2>&1
done
`

// rescueScripts start the agent on rescue media. They are scripts, for two reasons. Init gives its
// programs a pipe as output and copies from there to the consoles; and when a program ends that
// init has started, the kernel hangs up the consoles, so that its last lines and all output of the
// next program are lost (u-root 0.16). The agent gets the console itself, where writing is done
// when write returns, and the script that init has started never ends.
func rescueScripts(o *Options) []cpio.Record {
	var start strings.Builder
	start.WriteString("#!/bbin/gosh\n/" + path.Join(agentDir, path.Base(o.agent())))
	for _, arg := range o.args {
		start.WriteString(" '" + strings.ReplaceAll(arg, "'", `'\''`) + "'")
	}
	start.WriteString(" </dev/console >/dev/console 2>&1\n" + rescueShell)
	return fileRecords([]File{
		{Name: "bin/uinit", Data: []byte(start.String()), Mode: 0o755},
		// Init comes to this one if the script above is interrupted (Ctrl-C).
		{Name: "bin/defaultsh", Data: []byte("#!/bbin/gosh\n" + rescueShell), Mode: 0o755},
	})
}

// moduleRecords are the kernel modules and the index files that go with them.
func moduleRecords(release string, modules []*kmod.Module) []cpio.Record {
	dir := path.Join("lib/modules", release)
	files := []File{
		{Name: path.Join(dir, "modules.dep"), Data: kmod.ModulesDep(modules)},
		{Name: path.Join(dir, "modules.alias"), Data: kmod.ModulesAlias(modules)},
		{Name: path.Join(dir, "modules.softdep"), Data: kmod.ModulesSoftdep(modules)},
	}
	for _, m := range modules {
		files = append(files, File{Name: path.Join(dir, m.Path), Data: m.Data})
	}
	return fileRecords(files)
}
