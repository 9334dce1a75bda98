package testlab

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"troy/initramfs"
	"troy/internal/testing/vmlab"
)

// ServerURL is where the lab's server is for its PCs; FilesURL is where it gives files without TLS.
const (
	ServerURL = "https://10.77.0.1:" + tlsPort
	FilesURL  = "http://10.77.0.1:" + serverPort
)

// Building plugs the lab into a network of its own with that many sockets, whose DHCP server is
// another machine than Troy's and gives addresses only, but for what further arguments of dnsmasq
// say. The caller must close l.Net.
func (l *Lab) Building(ctx context.Context, sockets int, dhcp ...string) (err error) {
	l.Net, err = vmlab.NewNetwork(ctx, &vmlab.NetworkConfig{Dir: l.o.Dir, Taps: sockets, Apart: true, DHCP: dhcp})
	return err
}

// NetTree writes the boot files for PXE and UEFI HTTP boot, with the lab's kernel and initramfs, as
// `troy media` does.
func (l *Lab) NetTree(ctx context.Context) (dir string, err error) {
	dir = filepath.Join(l.o.Dir, "net")
	boot := &initramfs.Boot{Bundle: l.bundle, Site: l.site, Cmdline: arguments + " troy.server=" + ServerURL}
	iso := filepath.Join(l.o.Dir, "net.iso")
	if err := initramfs.ISO(ctx, &initramfs.ISOOptions{Boot: boot, Out: iso}); err != nil {
		return "", err
	}
	return dir, initramfs.Net(ctx, &initramfs.NetOptions{Boot: boot, ISO: iso, URL: FilesURL + "/boot/", Out: dir})
}

// Kill ends the server as a power cut does.
func (s *Server) Kill() {
	s.cmd.Process.Kill() // fails only if it has ended by itself
	s.cmd.Wait()
}

// Said is what the server has printed so far.
func (s *Server) Said() string { return s.out.String() }

// Admin runs troy on the server's machine, as an admin does, and returns what it prints. --store is
// added.
func (l *Lab) Admin(ctx context.Context, command string, args ...string) (string, error) {
	cmd := l.Net.Command(ctx, l.troy, append([]string{command, "--store", l.Store}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	fmt.Fprintf(l.o.Out, "  admin: troy %s %s\n", command, strings.Join(args, " "))
	err := cmd.Run()
	for line := range bytes.Lines(out.Bytes()) {
		if !bytes.HasPrefix(line, []byte("{")) && !bytes.HasPrefix(line, []byte("[")) {
			fmt.Fprintf(l.o.Out, "    %s", line)
		}
	}
	if err != nil {
		return out.String(), fmt.Errorf("troy %s: %w: %s", command, err, bytes.TrimSpace(errs.Bytes()))
	}
	return out.String(), nil
}

// AdminJSON is Admin with --json, decoded into v.
func (l *Lab) AdminJSON(ctx context.Context, v any, command string, args ...string) error {
	cmd := l.Net.Command(ctx, l.troy, append([]string{command, "--store", l.Store, "--json"}, args...)...)
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, v)
	}
	if err != nil {
		return fmt.Errorf("troy %s --json: %w: %s", command, err, out)
	}
	return nil
}

// Login lets a user sign in on the status page.
func (l *Lab) Login(ctx context.Context, name, password string) error {
	file := filepath.Join(l.o.Dir, "password")
	defer os.Remove(file)
	if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
		return err
	}
	return l.command(ctx, "login", "--password-file", file, name, l.Store)
}

// Page forwards a loopback address to the server, as seen on the server's own machine. stop ends
// it.
func (l *Lab) Page() (url string, stop func(), err error) {
	addr, stop, err := l.Net.Forward("127.0.0.1:" + serverPort)
	return "http://" + addr, stop, err
}

// ToWindows is FromKernel, after which the firmware takes BootNext as it does at the reset. It
// fails if there is none, for then Windows would not be started. Nothing runs in place of Windows.
func (p *PC) ToWindows(ctx context.Context) (serial string, err error) {
	if serial, err = p.FromKernel(ctx, "troy.server="+ServerURL); err != nil {
		return serial, err
	}
	vars, err := os.ReadFile(p.vars)
	if err != nil {
		return serial, err
	}
	if !deleteVariable(vars, "BootNext") {
		return serial, fmt.Errorf("%s: BootNext is not set: Windows would not be started", p.name)
	}
	return serial, os.WriteFile(p.vars, vars, 0o644)
}

// deleteVariable marks a variable in the image of OVMF's flash as deleted (edk2,
// AUTHENTICATED_VARIABLE_HEADER).
func deleteVariable(flash []byte, name string) (found bool) {
	const header, added, deleted = 60, 0x3f, 0x3d // bytes before the name; states
	var utf16 []byte
	for _, c := range []byte(name + "\x00") {
		utf16 = append(utf16, c, 0)
	}
	for at := 0; ; {
		i := bytes.Index(flash[at:], utf16)
		if i < 0 {
			return found
		}
		if h := at + i - header; h >= 0 && flash[h] == 0xaa && flash[h+1] == 0x55 && flash[h+2] == added {
			flash[h+2], found = deleted, true
		}
		at += i + len(utf16)
	}
}
