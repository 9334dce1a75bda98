package onwindows

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"troy/gates"
	"troy/gates/testdisk"
	"troy/gates/winpc"
	"troy/internal/durable"
	"troy/internal/tool"
	"troy/internal/version"
	"troy/trial/inside"
)

// system is the Windows that the program runs in.
type system struct {
	dir   string        // \Troy of drive C
	grace time.Duration // before it shuts down
}

// Do implements inside.System.
func (s *system) Do(ctx context.Context, a inside.Action) error {
	switch a {
	case inside.Retrim:
		return tool.Run(ctx, &tool.Command{Name: "powershell.exe", Args: []string{"-NoProfile", "-NonInteractive", "-Command",
			"Optimize-Volume -DriveLetter " + drive()[:1] + " -ReTrim -ErrorAction Stop"}})
	case inside.Stuff:
		return fill(ctx, filepath.Join(s.dir, "stuff"), diskFull)
	case inside.Disks:
		_, all := drives()
		dir, err := testDisks(all)
		if err != nil {
			return err
		}
		return tryDisks(ctx, dir)
	}
	return fmt.Errorf("%w: %s", inside.ErrOrder, a)
}

// tryDisks tries a folder of test disks, and leaves the result there.
func tryDisks(ctx context.Context, dir string) error {
	pc, names := winpc.Look()
	r := gates.New(time.Now(), version.Get().Short(), pc)
	r.Names = names
	if err := testdisk.Run(ctx, dir, winpc.Disks{}, r, nil); err != nil {
		return err
	}
	b, err := r.Encode()
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(dir, gates.FileName), b, 0o644)
}

// ShutDown implements inside.System. Windows counts the time of grace by itself. Programs are closed
// by force: nobody is there to be asked.
func (s *system) ShutDown() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return tool.Run(ctx, &tool.Command{Name: "shutdown.exe", Args: []string{"/s", "/f",
		"/t", fmt.Sprint(int(s.grace.Seconds())), "/d", "p:0:0"}})
}

// Look implements inside.System.
func (s *system) Look(ctx context.Context) (seen inside.Seen) {
	fail := func(what string, err error) {
		if err != nil {
			seen.Failed = append(seen.Failed, what+": "+err.Error())
		}
	}
	var err error
	if !winpc.Elevated() {
		fail("rights", errors.New("the program does not run as administrator"))
	}
	seen.PC, _ = winpc.Look()
	seen.Name, err = os.Hostname()
	fail("name", err)
	volume, letter, err := hostVolume()
	fail("host volume", err)
	seen.Facts.HostLetter = letter
	if volume != "" {
		seen.Facts.Mailbox, seen.Facts.Chain, seen.Facts.ChainTried = tryHost(volume, openForWriting)
	}
	files, err := pageFiles()
	fail("page files", err)
	for _, f := range files {
		where := pageFilePlace(volumeOf(pageFileVolume(f)), volumeOf(drive()+`\`), volume)
		if !slices.Contains(seen.Facts.PageFiles, where) {
			seen.Facts.PageFiles = append(seen.Facts.PageFiles, where)
		}
	}
	printed, err := tool.Output(ctx, "wevtutil.exe", "qe", "System", "/q:"+query(uptime()+time.Minute), "/f:RenderedXml", "/uni:true",
		fmt.Sprintf("/c:%d", mostEvents), "/rd:true")
	fail("event log", err)
	seen.Events, err = events(printed)
	fail("event log", err)
	return seen
}

// Files of the host volume that are tried, in its folder \Troy.
var (
	mailbox = "mailbox"
	chain   = []string{"base.vhdx", "layer-a.vhdx", "layer-b.vhdx", "boot.vhdx"}
)

// tryHost opens files of the host volume for writing, and closes them.
func tryHost(volume string, try func(path string) error) (box string, opened []string, tried int) {
	box = "opened"
	if err := try(volume + `Troy\` + mailbox); err != nil {
		box = err.Error()
	}
	for _, name := range chain {
		if try(volume+`Troy\`+name) == nil {
			opened = append(opened, name)
		}
	}
	return box, opened, len(chain)
}
