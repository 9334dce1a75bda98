package doctor

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"troy/server/netboot"
)

func checkPorts(ports []port, fresh bool) (all []Finding) {
	for _, p := range ports {
		all = append(all, p.check(fresh))
	}
	return all
}

func (p port) check(fresh bool) Finding {
	name := fmt.Sprintf("%s %d (%s)", p.network, p.number, p.what)
	err := p.open()
	switch {
	case err == nil:
		return Finding{"ports", Good, name + " is free", ""}
	case errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EPERM):
		return Finding{"ports", Fault, name + ": this user may not open it", "run as root, or give the program CAP_NET_BIND_SERVICE as the systemd unit does"}
	case !errors.Is(err, syscall.EADDRINUSE):
		return Finding{"ports", Fault, name + ": " + err.Error(), ""}
	}
	who := holders(p)
	switch {
	case len(who) == 0:
		return Finding{"ports", Doubt, name + " is in use, by an unknown program", "run as root to see it"}
	case !fresh && !slices.ContainsFunc(who, func(s string) bool { return s != ours }):
		return Finding{"ports", Good, name + " is served by troy", ""}
	}
	f := Finding{"ports", Fault, name + " is in use by " + strings.Join(who, ", "), "stop that program, or give troy another port"}
	if p.number == netboot.PortDHCP || p.number == netboot.PortProxy || p.number == netboot.PortTFTP {
		f.Do = "a DHCP or TFTP server on this machine: serve with --no-dhcp and set the two options that it prints, or stop that program"
	}
	return f
}

// open tries whether the port is free.
func (p port) open() error {
	addr := fmt.Sprintf(":%d", p.number)
	if p.network == "udp" {
		c, err := net.ListenPacket("udp4", addr)
		if err == nil {
			c.Close()
		}
		return err
	}
	l, err := net.Listen("tcp", addr)
	if err == nil {
		l.Close()
	}
	return err
}

// holders are the names of the programs that have a port; none if they cannot be seen.
func holders(p port) (names []string) {
	sockets := map[string]bool{}
	for _, table := range []string{p.network, p.network + "6"} {
		b, err := os.ReadFile("/proc/net/" + table)
		if err != nil {
			continue
		}
		for _, inode := range inodes(string(b), p.number, p.network == "tcp") {
			sockets["socket:["+inode+"]"] = true
		}
	}
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return nil
	}
	for _, link := range links {
		to, err := os.Readlink(link)
		if err != nil || !sockets[to] {
			continue
		}
		b, err := os.ReadFile(filepath.Join(filepath.Dir(filepath.Dir(link)), "comm"))
		if name := strings.TrimSpace(string(b)); err == nil && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// inodes reads a table of /proc/net: those of the sockets on a port, for TCP that listen.
func inodes(table string, port int, listening bool) (all []string) {
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 10 {
			continue
		}
		_, hex, ok := strings.Cut(f[1], ":")
		n, err := strconv.ParseUint(hex, 16, 16)
		if ok && err == nil && int(n) == port && (!listening || f[3] == "0A") {
			all = append(all, f[9])
		}
	}
	return all
}

// ours is what the kernel calls a troy that serves.
const ours = "troy"

const firewallTime = 10 * time.Second

func checkFirewall(ctx context.Context, ports []port) (all []Finding) {
	ctx, cancel := context.WithTimeout(ctx, firewallTime)
	defer cancel()
	found := false
	for _, list := range [][]string{{"nft", "list", "ruleset"}, {"iptables", "-S"}} {
		if _, err := exec.LookPath(list[0]); err != nil {
			continue
		}
		found = true
		out, err := exec.CommandContext(ctx, list[0], list[1:]...).Output()
		if err != nil {
			all = append(all, Finding{"firewall", Doubt, "the rules cannot be read with " + list[0] + ": " + err.Error(), "run as root"})
			continue
		}
		all = append(all, judge(list[0], string(out), ports)...)
	}
	if !found {
		all = append(all, Finding{"firewall", Doubt, "neither nft nor iptables is installed: it is not known whether a firewall is active", ""})
	} else if len(all) == 0 {
		all = append(all, Finding{"firewall", Good, "no rule on this machine drops incoming packets", ""})
	}
	return all
}

// drops finds a chain of input that drops by default: nft's "hook input … policy drop" or a bare
// drop or reject at its end, iptables' "-P INPUT DROP", "-A INPUT -j REJECT".
var drops = regexp.MustCompile(`(?m)hook input[^\n]*policy drop|^-P INPUT (DROP|REJECT)|^-A INPUT -j (DROP|REJECT)|hook input[^}]*\n\s*(counter [^\n]*)?(drop|reject)[^\n]*\n\s*}`)

// judge reads the rules as text.
func judge(program, rules string, ports []port) (all []Finding) {
	if !drops.MatchString(rules) {
		return nil
	}
	for _, p := range ports {
		number := regexp.MustCompile(fmt.Sprintf(`\b%d\b`, p.number))
		named := false
		for line := range strings.Lines(rules) {
			named = named || number.MatchString(line) && strings.Contains(line, p.network) && strings.Contains(strings.ToLower(line), "accept")
		}
		if !named {
			all = append(all, Finding{"firewall", Doubt, fmt.Sprintf("%s drops incoming packets, and no rule accepts %s %d (%s)", program, p.network, p.number, p.what),
				fmt.Sprintf("nft add rule inet filter input %s dport %d accept (or what your firewall's front end says)", p.network, p.number)})
		}
	}
	return all
}

// foreignAddress says if none of the names in a certificate is one of this machine.
func foreignAddress(c *x509.Certificate) []Finding {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	host, _ := os.Hostname() // without a name, addresses decide
	for _, a := range all {
		n, ok := a.(*net.IPNet)
		if ok && !n.IP.IsLoopback() && slices.ContainsFunc(c.IPAddresses, n.IP.Equal) {
			return nil
		}
	}
	if slices.ContainsFunc(c.DNSNames, func(s string) bool { return s == host || strings.HasPrefix(s, host+".") && host != "" }) {
		return nil
	}
	return []Finding{{"cert", Doubt, "it has no address or name of this machine", "troy certs renew --name NAME …, unless machines use another name of this server"}}
}
