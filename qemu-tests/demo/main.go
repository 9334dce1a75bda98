// Command demo shows Troy's main job on one PC: a machine that holds version 1 of a Windows image
// is started from a boot stick, fetches only the blocks that version 2 changed, puts them in place
// and starts Windows Boot Manager.
//
// `make demo` runs it. The lab is that of package lab: everything but Windows itself is real. It
// ends with a table of what was moved and how long it took, after every byte of the PC's disk was
// compared with version 2.
package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"troy/image/fields"
	"troy/internal/testing/fixture"
	"troy/internal/testing/testlab"
	"troy/server/protocol"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := demo(ctx, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		os.Exit(1)
	}
}

func demo(ctx context.Context, out io.Writer) (err error) {
	dir, err := os.MkdirTemp(os.Getenv("TROY_CACHE"), "demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	start := time.Now()
	l, err := testlab.New(ctx, testlab.Options{Dir: dir, Out: out})
	if err != nil {
		return err
	}
	defer l.Close()
	fmt.Fprintf(out, "lab: ready after %.0f s\n\n", time.Since(start).Seconds())
	f, err := deploy(ctx, l, out)
	if err != nil {
		return err
	}
	return f.print(out)
}

// figures are what the table shows.
type figures struct {
	full, changed, served int64
	starts                time.Duration
	report                protocol.Report
}

// deploy starts the PC from the stick and checks what it holds afterwards.
func deploy(ctx context.Context, l *testlab.Lab, out io.Writer) (*figures, error) {
	f := new(figures)
	pc, err := l.NewPC(ctx, "pc")
	if err != nil {
		return nil, err
	}
	file, err := editLab(l, pc)
	if err != nil {
		return nil, err
	}
	server, err := l.ServeRooms(ctx, file)
	if err != nil {
		return nil, err
	}
	if _, err := l.Admin(ctx, "promote", "--room", "default", testlab.Image+"@2"); err != nil {
		return nil, err
	}
	fmt.Fprintln(out, "a PC that holds version 1 is started from the boot stick:")
	begin := time.Now()
	if err := fromStick(ctx, pc, out); err != nil {
		return nil, err
	}
	f.starts = time.Since(begin)
	if f.served, err = server.Stop(); err != nil {
		return nil, err
	}
	reports, err := server.Reports()
	if err != nil {
		return nil, err
	}
	if len(reports) != 1 || reports[0].Outcome != protocol.OutcomeDone || reports[0].Version != 2 {
		return nil, fmt.Errorf("the PC did not report version 2: %+v", reports)
	}
	f.report = reports[0]
	if err := compare(ctx, l, pc, out); err != nil {
		return nil, err
	}
	if f.full, err = used(l.Windows.V2); err != nil {
		return nil, err
	}
	f.changed, err = changed(l.Windows)
	return f, err
}

// pcName is the PC in lab.yaml, and in Windows.
const pcName = "demo-01"

// compare wants the PC's disk to be version 2 with the PC's name in it.
func compare(ctx context.Context, l *testlab.Lab, pc *testlab.PC, out io.Writer) error {
	raw, err := l.WithOwn(ctx, l.Windows.V2, 2, &fields.Values{Name: pcName, Machine: fields.MachineJSON(pcName, pcName, "default", nil)})
	if err != nil {
		return err
	}
	defer os.Remove(raw)
	chain, err := pc.Holds(ctx, raw)
	if err != nil {
		return err
	}
	is, err := pc.InWindows(ctx)
	if err == nil && is != testlab.Called(pcName, pcName, "default") {
		err = fmt.Errorf("the PC is called %+v", is)
	}
	fmt.Fprintf(out, "\nflattened by 7zz, %s is version 2 byte for byte, but for the PC's own:\nits registry, read by hivexget, calls it %s\n\n",
		strings.Join(chain, " over "), is.Computer)
	return err
}

// editLab changes the lab.yaml that troy init wrote, as an admin does: the PC is listed, and a version
// is merged before Windows starts.
func editLab(l *testlab.Lab, pc *testlab.PC) (path string, err error) {
	path = filepath.Join(l.Store, "lab.yaml")
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	text := strings.Replace(string(b), "# merge: now ", "merge: now ", 1) + fmt.Sprintf("hosts:\n  - {name: %s, room: default, uuid: %s}\n", pcName, pc.UUID)
	return path, os.WriteFile(path, []byte(text), 0o644)
}

// print writes the table and the last line.
func (f *figures) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', tabwriter.AlignRight)
	row := func(what string, bytes int64) {
		fmt.Fprintf(w, "%s\t%d\t%.1f MB\t\n", what, bytes, float64(bytes)/1e6)
	}
	row("bytes of the full image", f.full)
	row("bytes changed", f.changed)
	row("bytes fetched (all the server sent)", f.served)
	written, bootFiles := int64(0), int64(0)
	for _, s := range f.report.Steps {
		if s.Kind == "boot files" {
			bootFiles = s.Written
			continue
		}
		if written += s.Written; s.Kind == "commit" {
			row("bytes written before version 2 could boot", written)
		}
	}
	row("bytes written in all (with the merge)", written)
	row("bytes of boot files written to the ESP", bootFiles)
	for _, s := range f.report.Steps {
		fmt.Fprintf(w, "seconds: %s\t%.2f\t\t\n", s.Kind, s.Seconds)
	}
	fmt.Fprintf(w, "seconds: power on to Windows Boot Manager\t%.0f\t\t\n", f.starts.Seconds())
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\ndemo: done: version 2 booted, %d of %d bytes fetched\n", f.served, f.full)
	return err
}

// used counts the bytes of a raw image that are not in pages of zeros.
func used(path string) (int64, error) {
	return countPages(path, "/dev/zero")
}

// changed counts the bytes of pages that the second release changed.
func changed(w *fixture.Windows) (int64, error) {
	return countPages(w.V2, w.V1)
}

// countPages counts the bytes of the 4 KiB pages of a file that differ from the same pages of old.
func countPages(path, old string) (n int64, err error) {
	const page = 4096
	now, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer now.Close()
	before, err := os.Open(old)
	if err != nil {
		return 0, err
	}
	defer before.Close()
	a, b := make([]byte, page), make([]byte, page)
	readNow, readBefore := bufio.NewReaderSize(now, 1<<20), bufio.NewReaderSize(before, 1<<20)
	for {
		if _, err := io.ReadFull(readNow, a); err == io.EOF {
			return n, nil
		} else if err != nil {
			return n, err
		}
		if _, err := io.ReadFull(readBefore, b); err != nil {
			return n, err
		}
		if !bytes.Equal(a, b) {
			n += page
		}
	}
}
