package deps

import (
	"fmt"
	"slices"
	"strings"
)

// floors are the floors of the house from top to bottom. A package is on the floor of the longest
// prefix that fits. It imports packages of its own floor and of the floors below.
var floors = [][]string{
	{"qemu-tests", "packaging"},
	{"cmds"},
	{"trial"},
	{"agent"},
	{"server/daemon"},
	{"server"},
	{"initramfs"},
	{"image"},
	{"chainload"},
	{"gates"},
	{"diskwriter"},
	{"netfetch"},
	{"vhdx"},
	{"trial/vm"},
	{"internal"},
}

// support is the test support. It stands beside the house: it may use every floor, and only tests
// and the programs of qemu-tests may use it.
const support = "internal/testing"

// Packages that the rules name.
const (
	troy     = "cmds/troy"
	deploy   = "cmds/deploy"
	vhdxCmd  = "cmds/vhdx"
	agent    = "agent"
	daemon   = "server/daemon"
	protocol = "server/protocol"
	server   = "server"
	media    = "initramfs"
	images   = "image"
	publish  = "image/publish"
	sign     = "image/trust/sign"
	fetch    = "netfetch"
	link     = "netfetch/link"
	vhdx     = "vhdx"
	netlink  = "github.com/vishvananda/netlink"
	xtools   = "golang.org/x/tools"
)

// rule is one rule of the house. Faults returns where a graph breaks it, in words.
type rule struct {
	name   string
	faults func(graph) []string
	why    string
}

// rules are all of them.
var rules = []rule{
	{"downwards", goesUp, "An arrow of imports goes only downwards: a change of one package can be felt only in " +
		"the packages above it."},
	{"one floor each", homeless, "Each package is on a floor; otherwise the rule about arrows does not cover it. " +
		"Add a new floor to the list and to docs/design.md."},
	{"no test support", usesTesting, "Product code does not use internal/testing: what tests need (QEMU, faults, " +
		"corpora) must not reach a server or a PC."},
	{"small agent", inAgent, "The agent is in every initramfs and runs on every PC. It needs no code " +
		"that publishes images, signs or makes media, and of the server only the messages between the two."},
	{"vhdx alone", inVHDX, "Other modules use package vhdx: it needs the standard library and leaves of ours, and " +
		"brings in no other module."},
	{"vhdx's program alone", inVHDXCmd, "People without Troy use the program vhdx: it needs no more than package vhdx " +
		"does."},
	{"netfetch knows no formats", inNetfetch, "netfetch moves bytes. It can be tested without disks and used for " +
		"other files only as long as it knows neither VHDX nor images."},
	{"no compiler in commands", inCommands, "Packages of golang.org/x/tools make folders in the user's home when a " +
		"program that links them starts. Media are made by programs that run as tools."},
	{"links belong to the agent", inTroy, "Only a machine that starts sets up its network interface. The server and " +
		"the admin's PC have a network; a program that cannot change it cannot break it."},
	{"server starts in one place", usesDaemon, "server/daemon joins the rooms of the server. A room that imports it " +
		"depends on all others."},
	{"names exist", gone, "A rule about a package that no longer exists finds nothing. Rename the package in the " +
		"rule, or delete the rule."},
	{"one package comment", comments, "A package says once what it is for. go doc joins several comments, and sooner " +
		"or later they contradict each other."},
	{"leaves", notLeaf, "internal holds leaves with one job each. A leaf that imports another package of this module " +
		"belongs on a floor."},
	{"programs", programs, "Programs are in cmds, in qemu-tests and in internal/testing, and the first two hold " +
		"nothing else but tests: other packages cannot use the code of a program."},
}

// in reports whether a package is one of the named ones or below it.
func in(name string, tops ...string) bool {
	return slices.ContainsFunc(tops, func(top string) bool { return name == top || strings.HasPrefix(name, top+"/") })
}

// floorOf returns the index of a package's floor in floors, or -1.
func floorOf(name string) int {
	floor, longest := -1, ""
	for i, tops := range floors {
		for _, top := range tops {
			if in(name, top) && len(top) > len(longest) {
				floor, longest = i, top
			}
		}
	}
	return floor
}

// product reports whether a package is neither test support nor a test of whole machines.
func product(name string) bool { return !in(name, support) && !in(name, floors[0]...) }

func goesUp(g graph) []string {
	var faults []string
	for _, name := range g.ours() {
		if in(name, support) {
			continue
		}
		up := func(to string) bool {
			return g[to] != nil && g[to].Ours && !in(to, support) && floorOf(to) >= 0 && floorOf(to) < floorOf(name)
		}
		for _, to := range g[name].Imports {
			if up(to) {
				faults = append(faults, fmt.Sprintf("%s imports %s, which is above it", name, to))
			}
		}
		for _, to := range g[name].Tests {
			if up(to) {
				faults = append(faults, fmt.Sprintf("the tests of %s import %s, which is above it", name, to))
			}
		}
	}
	return faults
}

func homeless(g graph) []string {
	var faults []string
	for _, name := range g.ours() {
		if floorOf(name) < 0 {
			faults = append(faults, name+" is on no floor")
		}
	}
	return faults
}

func usesTesting(g graph) []string {
	var faults []string
	for _, name := range g.ours() {
		if product(name) {
			faults = append(faults, g.linked(name, func(to string) bool { return in(to, support) })...)
		}
	}
	return faults
}

func inAgent(g graph) []string {
	return g.linked(deploy, func(to string) bool {
		return in(to, publish, sign, media) || in(to, server) && to != protocol
	})
}

func inVHDX(g graph) []string { return beyondVHDX(g, vhdx) }

func inVHDXCmd(g graph) []string { return beyondVHDX(g, vhdxCmd) }

// beyondVHDX returns what a package links besides the standard library, vhdx and leaves.
func beyondVHDX(g graph, name string) []string {
	return g.linked(name, func(to string) bool {
		p := g[to]
		return p == nil || !p.Standard && !(p.Ours && in(to, vhdx, "internal") && !in(to, support))
	})
}

func inCommands(g graph) []string {
	var faults []string
	for _, name := range g.ours() {
		if in(name, "cmds") {
			faults = append(faults, g.linked(name, func(to string) bool { return in(to, xtools) })...)
		}
	}
	return faults
}

func inNetfetch(g graph) []string {
	var faults []string
	for _, name := range g.ours() {
		if in(name, fetch) {
			faults = append(faults, g.linked(name, func(to string) bool { return in(to, vhdx, images) })...)
		}
	}
	return faults
}

func inTroy(g graph) []string {
	var faults []string
	for _, name := range g.ours() {
		if in(name, "cmds") && name != deploy {
			faults = append(faults, g.linked(name, func(to string) bool { return in(to, netlink, link) })...)
		}
	}
	return append(faults, importers(g, link, fetch, agent, deploy)...)
}

func usesDaemon(g graph) []string { return importers(g, daemon, daemon, "cmds") }

// importers returns the product packages that import a package, but for the allowed ones.
func importers(g graph, of string, allowed ...string) []string {
	var faults []string
	for _, name := range g.ours() {
		if product(name) && !in(name, allowed...) && slices.Contains(g[name].Imports, of) {
			faults = append(faults, fmt.Sprintf("%s imports %s", name, of))
		}
	}
	return faults
}

func gone(g graph) []string {
	var faults []string
	for _, top := range append(slices.Concat(floors...), support) {
		if !slices.ContainsFunc(g.ours(), func(name string) bool { return in(name, top) }) {
			faults = append(faults, top+" does not exist")
		}
	}
	for _, name := range []string{troy, deploy, agent, protocol, media, images, publish, sign, fetch, link, vhdx, vhdxCmd, netlink} {
		if g[name] == nil {
			faults = append(faults, name+" does not exist")
		}
	}
	return faults
}

func comments(g graph) []string {
	var faults []string
	for _, name := range g.ours() {
		if n := g[name].Comments; n != 1 {
			faults = append(faults, fmt.Sprintf("%s has %d package comments", name, n))
		}
	}
	return faults
}

func notLeaf(g graph) []string {
	var faults []string
	for _, name := range g.ours() {
		for _, to := range g[name].Imports {
			if in(name, "internal") && !in(name, support) && g[to] != nil && g[to].Ours {
				faults = append(faults, fmt.Sprintf("%s imports %s", name, to))
			}
		}
	}
	return faults
}

func programs(g graph) []string {
	var faults []string
	for _, name := range g.ours() {
		program := g[name].Name == "main"
		switch {
		case program && !in(name, "cmds", "qemu-tests", support):
			faults = append(faults, name+" is a program")
		case !program && g[name].Product && in(name, "cmds", "qemu-tests"):
			faults = append(faults, name+" is not a program")
		}
	}
	return faults
}
