package gates

import "slices"

// Place is where a gate can be tried.
type Place string

// Places.
const (
	Virtual  Place = "virtual PC"
	Firmware Place = "real firmware"
	Both     Place = "both"
)

// Source is who answers a gate.
type Source string

// Sources.
const (
	Disks Source = "test disks" // troy-gates.exe on the disks of troy gates make, then troy gates judge
	Trial Source = "troy try"   // real Windows in a virtual PC
	Hand  Source = "by hand"    // a person, with troy gates record
)

// Gate is a question that only a real Windows can settle.
type Gate struct {
	ID       string
	Question string
	Where    Place
	By       []Source // whose pass is an answer
	How      string   // what is done to find out, in one line
}

// SettledBy reports whether a pass of that source is an answer.
func (g *Gate) SettledBy(s Source) bool { return slices.Contains(g.By, s) }

// All returns the gates, in the order of their numbers.
func All() []Gate { return slices.Clone(list[:]) }

// Find returns a gate by its id; nil: there is none.
func Find(id string) *Gate {
	for i := range list {
		if list[i].ID == id {
			g := list[i]
			return &g
		}
	}
	return nil
}

// list is a table of text: nothing changes it.
var list = [...]Gate{
	{"W1", "Does Windows boot natively from a chain of three (base, slot, boot child)?", Both, []Source{Trial, Hand},
		"a version is deployed into a slot and started; the test disks attach such a chain"},
	{"W2", "Does the boot manager read a boot child whose log is not closed as if it were replayed?", Virtual, []Source{Trial},
		"the power is cut in Windows and the next start is not the agent's; the test disks attach such a child"},
	{"W3", "Is parent_linkage2 honoured as note 12 of MS-VHDX says?", Virtual, []Source{Disks},
		"a merge that was cut off is attached, and finished by MergeVirtualDisk"},
	{"W4", "Does Windows take a file that holds space which no block uses?", Virtual, []Source{Disks},
		"such a child is attached, read, written and checked, beside one without"},
	{"W5", "Does VirtualDiskExpandOnMount=4 keep a dynamic disk from growing at boot?", Virtual, []Source{Trial},
		"a dynamic disk is booted; its size is looked at from outside; the test disks attach one"},
	{"W6", "Does the boot child keep its size and its blocks their places while Windows runs, and through Optimize-Volume -ReTrim?", Virtual,
		[]Source{Trial}, "size and BAT are looked at from outside after Windows ran; the test disks write to such children"},
	{"W7", "Is the BCD store that Troy writes accepted?", Both, []Source{Trial, Hand}, "Windows comes up by it"},
	{"W8", "Does bit 63 keep the host partition without a drive letter, and does the pagefile lie outside of the boot child?", Virtual,
		[]Source{Trial}, "the program inside Windows looks"},
	{"W9", "Is an anchored child (every block PARTIALLY_PRESENT at its own place, bitmaps zero) accepted for writing?", Virtual, []Source{Disks, Trial},
		"such a child is attached, read, written and checked, beside a fixed disk, and over a merged parent"},
	{"W10", "Does Windows start under a new name after its SYSTEM hive was edited from outside?", Virtual, []Source{Trial},
		"the program inside Windows tells its name"},
	{"W11", "Is a boot child with a few sectors set before the first start accepted?", Virtual, []Source{Disks, Trial},
		"such a child is attached, read, written and checked"},
	{"W12", "Can a service reach the host volume by its GUID path, open the mailbox, and not the files of the running chain?", Virtual,
		[]Source{Trial}, "the program inside Windows tries each of them"},
	{"W13", "Does event 6167 come between clones only?", Virtual, []Source{Trial, Hand}, "two PCs of one image open a share of each other, and of a third"},
	{"W14", "Does specialise run inside a differencing child that was booted natively?", Virtual, []Source{Trial},
		"the setup of a generalised image runs to its end in the boot child"},
	{"W15", "Does Windows boot natively from a chain of four?", Both, []Source{Trial, Hand},
		"two versions lie in the two slots; the test disks attach such a chain"},
	{"W16", "Does a captured native installation boot natively from a VHDX?", Both, []Source{Trial, Hand}, "an installed PC is captured, published and deployed"},
	{"W17", "Does an enablement package install on the golden PC like a monthly update?", Both, []Source{Hand}, "the package is installed, captured, published and deployed"},
	{"W18", "Does a cumulative update that services the boot manager find the ESP and the BCD store of Troy?", Both, []Source{Hand},
		"the update is installed; the boot manager on the ESP is compared"},
	{"W19", "Does a WSL2 distribution start inside a chain of three, and of four?", Firmware, []Source{Hand}, "wsl --install, then a command inside"},
}
