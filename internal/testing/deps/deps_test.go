package deps

import (
	"slices"
	"strings"
	"testing"
)

// TestHouse checks the packages of this module against all rules.
func TestHouse(t *testing.T) {
	g := load(t)
	if n := len(g.ours()); n < 50 {
		t.Fatalf("found only %d packages: the rules would prove nothing", n)
	}
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			if faults := r.faults(g); len(faults) > 0 {
				t.Errorf("%s\n%s", strings.Join(faults, "\n"), r.why)
			}
		})
	}
}

// sound is a small house that keeps every rule. A line is a package with its flags, what it imports
// and, after a bar, what its tests import. Flags: p = program, t = only tests, 0 or 2 = that many
// package comments, s = standard library, x = another module.
const sound = `
qemu-tests t: | internal/testing/vm server/daemon
qemu-tests/demo p: internal/testing/vm
packaging t: | internal/testing/vm
cmds/troy p: server/daemon image/publish netfetch
cmds/deploy p: agent netfetch/link
cmds/vhdx p: vhdx
agent: image chainload diskwriter netfetch server/protocol | server internal/testing/vm
server/daemon: server server/rooms
server: server/protocol netfetch | image
server/rooms: server/protocol
server/protocol: internal/guid
initramfs: chainload
image/publish: image
image/trust/sign: image
image: vhdx | netfetch
chainload: diskwriter
gates: diskwriter
diskwriter: vhdx
netfetch/link: netfetch github.com/vishvananda/netlink
netfetch: internal/guid | internal/testing/vm
vhdx: internal/guid io
trial/vm: internal/guid
internal/guid: io
internal/testing/vm: initramfs
io s:
github.com/vishvananda/netlink x: io
`

// read makes a graph of such lines. A later line about a package replaces an earlier one.
func read(t *testing.T, lines string) graph {
	g := graph{}
	for line := range strings.Lines(lines) {
		head, uses, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok {
			continue
		}
		name, flags, _ := strings.Cut(head, " ")
		product, tests, _ := strings.Cut(uses, "|")
		p := &pkg{Name: "x", Imports: strings.Fields(product), Tests: strings.Fields(tests), Comments: 1, Product: true, Ours: true}
		for _, flag := range flags {
			switch flag {
			case 'p':
				p.Name = "main"
			case 't':
				p.Product = false
			case '0', '2':
				p.Comments = int(flag - '0')
			case 's':
				p.Standard, p.Ours = true, false
			case 'x':
				p.Ours = false
			default:
				t.Fatalf("flag %q in line %q", flag, line)
			}
		}
		g[name] = p
	}
	return g
}

// ruleTest is a house with one fault.
type ruleTest struct {
	name  string
	lines string // replace or add packages
	less  string // the package to remove
	rule  string // the rule that has to fail; empty = none
	says  string // a part of what it says
}

// TestRulesCanFail breaks each rule in a house that keeps them all, and asks what they say.
func TestRulesCanFail(t *testing.T) {
	tests := []ruleTest{
		{name: "sound"},
		{name: "beside the floors", lines: "internal/testing/vm: server/daemon image/publish"},
		{"import goes up", "chainload: image", "", "downwards", "chainload imports image, which"},
		{"import goes up from a subpackage", "diskwriter/ntfs: chainload/esp\nchainload/esp:", "", "downwards", "diskwriter/ntfs imports chainload/esp"},
		{"tests go up", "vhdx: io | image", "", "downwards", "the tests of vhdx import image"},
		{"no floor", "util:", "", "one floor each", "util is on no floor"},
		{"a floor's name is only a part", "imagery:", "", "one floor each", "imagery is on no floor"},
		{"test support in product code", "image: vhdx internal/testing/vm", "", "no test support", "image → internal/testing/vm"},
		{"agent publishes", "image: vhdx image/publish\nimage/publish:", "", "small agent", "cmds/deploy → agent → image → image/publish"},
		{"agent signs", "image: vhdx image/trust/sign\nimage/trust/sign:", "", "small agent", "cmds/deploy → agent → image → image/trust/sign"},
		{"agent makes media", "agent: initramfs", "", "small agent", "cmds/deploy → agent → initramfs"},
		{"agent serves", "agent: server", "", "small agent", "cmds/deploy → agent → server"},
		{"agent knows rooms", "server/protocol: server/rooms\nserver/rooms:", "", "small agent", "server/protocol → server/rooms"},
		{"vhdx uses a module", "vhdx: io github.com/vishvananda/netlink", "", "vhdx alone", "vhdx → github.com/vishvananda/netlink"},
		{"vhdx's leaf uses a module", "internal/guid: golang.org/x/sys/unix\ngolang.org/x/sys/unix x:", "", "vhdx alone", "vhdx → internal/guid → golang.org/x/sys/unix"},
		{"vhdx uses another module's internals", "vhdx: internal/abi\ninternal/abi x:", "", "vhdx alone", "vhdx → internal/abi"},
		{"vhdx's program uses a module", "cmds/vhdx p: vhdx github.com/vishvananda/netlink", "", "vhdx's program alone", "cmds/vhdx → github.com/vishvananda/netlink"},
		{"vhdx's program knows images", "cmds/vhdx p: vhdx image", "", "vhdx's program alone", "cmds/vhdx → image"},
		{"a command compiles", "initramfs: golang.org/x/tools/go/packages\ngolang.org/x/tools/go/packages x:\nserver/daemon: initramfs", "",
			"no compiler in commands", "cmds/troy → server/daemon → initramfs → golang.org/x/tools/go/packages"},
		{"netfetch knows vhdx", "netfetch/link: vhdx", "", "netfetch knows no formats", "netfetch/link → vhdx"},
		{"netfetch knows images", "netfetch: diskwriter\ndiskwriter: image", "", "netfetch knows no formats", "netfetch → diskwriter → image"},
		{"admin sets up links", "server/rooms: netfetch/link", "", "links belong to the agent", "cmds/troy → server/daemon → server/rooms → netfetch/link"},
		{"admin links netlink", "server/rooms: github.com/vishvananda/netlink", "", "links belong to the agent", "server/rooms → github.com/vishvananda/netlink"},
		{"a disk sets up links", "diskwriter: netfetch/link", "", "links belong to the agent", "diskwriter imports netfetch/link"},
		{"a room starts the server", "server: server/daemon", "", "server starts in one place", "server imports server/daemon"},
		{"a floor is gone", "", "packaging", "names exist", "packaging does not exist"},
		{"a named package is gone", "", "image/publish", "names exist", "image/publish does not exist"},
		{"another module is gone", "", "github.com/vishvananda/netlink", "names exist", "netlink does not exist"},
		{"no comment", "vhdx 0: io", "", "one package comment", "vhdx has 0 package comments"},
		{"two comments", "vhdx 2: io", "", "one package comment", "vhdx has 2 package comments"},
		{"a leaf imports a leaf", "internal/guid: internal/block\ninternal/block:", "", "leaves", "internal/guid imports internal/block"},
		{"a program on a floor", "server/tool p:", "", "programs", "server/tool is a program"},
		{"a package beside the programs", "qemu-tests/util:", "", "programs", "qemu-tests/util is not a program"},
		{"logic in cmds", "cmds/flags:", "", "programs", "cmds/flags is not a program"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := read(t, sound+test.lines)
			if test.less != "" {
				delete(g, test.less)
			}
			for _, r := range rules {
				said := strings.Join(r.faults(g), "\n")
				switch {
				case r.name != test.rule && test.rule == "" && said != "":
					t.Errorf("rule %q fails: %s", r.name, said)
				case r.name == test.rule && (said == "" || !strings.Contains(said, test.says)):
					t.Errorf("rule %q says %q, want %q in it", r.name, said, test.says)
				}
			}
		})
	}
	for _, r := range rules {
		if !slices.ContainsFunc(tests, func(c ruleTest) bool { return c.rule == r.name }) {
			t.Errorf("no case shows that rule %q can fail", r.name)
		}
		if r.why == "" {
			t.Errorf("rule %q has no reason", r.name)
		}
	}
}
