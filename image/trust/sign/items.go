package sign

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"troy/chainload/release"
	"troy/image"
	"troy/image/trust"
	"troy/image/trust/internal/tree"
	"troy/internal/progress"
)

// Item is one thing under the admin's signature: what it is to a person, such as "pc version 3",
// and which one it is: the hash of the document that decides it, or a value. Is "" means that it is
// not there.
type Item struct{ What, Is string }

// VersionItem is a version as publishing made it.
func VersionItem(m *image.Manifest) Item {
	_, e, err := m.Encode()
	if err != nil {
		return Item{versionName(m.Image, m.Version), "a manifest that cannot be read"} // equal to nothing
	}
	return Item{versionName(m.Image, m.Version), e.Manifest.SHA256.String()}
}

// NoVersion is a version that was removed.
func NoVersion(image string, version int) Item { return Item{versionName(image, version), ""} }

// ReleaseItem is a release of the agent as publishing made it.
func ReleaseItem(r *trust.AgentRelease) Item {
	b, err := r.Encode()
	if err != nil {
		return Item{releaseName(r.Version), "a release that cannot be read"} // equal to nothing
	}
	return Item{releaseName(r.Version), hex.EncodeToString(sumOf(b))}
}

// NoRelease is a release of the agent that was removed.
func NoRelease(version string) Item { return Item{releaseName(version), ""} }

// CurrentRelease is which release of the agent is the current one; "" = none.
func CurrentRelease(version string) Item { return Item{currentRelease, version} }

const currentRelease = "the current release of the agent"

func versionName(image string, version int) string {
	return fmt.Sprintf("%s version %d", image, version)
}

func releaseName(version string) string { return "release " + version + " of the agent" }

func permitName(p trust.Permit) string { return "permit to " + p.String() }

// Difference is an item that two states do not have in common.
type Difference struct {
	// What is that of an Item.
	What string
	// Was and Is are what it is before and after; "" = not there.
	Was, Is string
	// Note says more about it to a person; may be empty.
	Note string
}

// Item returns the item after the change.
func (d Difference) Item() Item { return Item{d.What, d.Is} }

// String returns one line.
func (d Difference) String() string {
	text := d.What
	switch {
	case d.Is == "":
		text += ": gone"
	case d.Was == "":
		text += ": new" + said(d.Is)
	default:
		text += ": other than before:" + strings.TrimPrefix(said(d.Is), ",") + ", was" + strings.TrimPrefix(said(d.Was), ",")
	}
	if d.Note != "" {
		text += " (" + d.Note + ")"
	}
	return text
}

// permitted is what an item is that has no value.
const permitted = "permitted"

// said spells which one an item is.
func said(is string) string {
	switch {
	case is == permitted:
		return ""
	case len(is) == 64:
		return ", SHA-256 " + is[:16] + "…"
	}
	return ", " + is
}

// content is what is signed, or could be: the targets, and the documents among them by their names.
// Boot files and what lies under objects/ are not documents: other documents decide them by hashes.
type content struct {
	files map[string]*metadata.TargetFiles
	docs  map[string][]byte
}

func newContent() *content {
	return &content{files: map[string]*metadata.TargetFiles{}, docs: map[string][]byte{}}
}

// add takes a document.
func (c *content) add(name string, b []byte) {
	c.files[name], c.docs[name] = target(int64(len(b)), sumOf(b)), b
}

// fill takes documents that are missing from an older state that had the same.
func (c *content) fill(older *content) {
	for name, b := range older.docs {
		if f := c.files[name]; f != nil && c.docs[name] == nil && f.VerifyLengthHashes(b) == nil {
			c.docs[name] = b
		}
	}
}

// isDocument tells the targets that are kept whole from those that only count by their hashes.
func isDocument(name string) bool {
	switch {
	case strings.HasPrefix(name, "images/"):
		return true
	case strings.HasPrefix(name, tree.Agent+"/"):
		return path.Base(name) == release.Document && strings.Count(name, "/") <= 2
	}
	return tree.Signed(name)
}

// items names what there is, with a note about each where there is more to say.
func (c *content) items() (items, notes map[string]string) {
	items, notes = map[string]string{}, map[string]string{}
	for name, f := range c.files {
		c.item(name, f, items, notes)
	}
	return items, notes
}

func (c *content) item(name string, f *metadata.TargetFiles, items, notes map[string]string) {
	hash := f.Hashes["sha256"].String()
	dir, base := path.Split(name)
	switch {
	case name == tree.Permits:
		d, err := trust.ParsePermits(c.docs[name])
		if err != nil { // of a newer program
			items[name] = hash
			break
		}
		for _, p := range d.Permits {
			items[permitName(p)] = permitted
			notes[permitName(p)] = p.Scope.Losing()
		}
	case name == tree.Servers:
		list, err := trust.ParseServers(c.docs[name])
		if err != nil {
			items[name] = hash
			break
		}
		serverItems(list, items)
	case name == tree.Releases:
		r, err := trust.ParseRelease(c.docs[name])
		if err != nil {
			items[name] = hash
			break
		}
		items[currentRelease] = r.Version
	case strings.HasPrefix(name, tree.Agent+"/"):
		if isDocument(name) {
			items[releaseName(path.Base(dir))] = hash
		}
	case base == "versions.json", strings.HasPrefix(name, "objects/"): // follow from the versions
	case strings.HasPrefix(name, "images/"):
		what := path.Base(dir) + " version " + strings.TrimSuffix(base, ".json")
		items[what] = hash
		notes[what] = c.note(name)
	default:
		items[name] = hash
	}
}

// note says what a version is.
func (c *content) note(name string) string {
	img, number := path.Base(path.Dir(name)), strings.TrimSuffix(path.Base(name), ".json")
	n, err := strconv.Atoi(number)
	if err != nil {
		return ""
	}
	x, err := image.ParseIndex(c.docs[image.IndexName(img)], img)
	if err != nil {
		return ""
	}
	e, err := x.Entry(n)
	if err != nil {
		return ""
	}
	m, err := image.ParseManifest(c.docs[name], img, e)
	if err != nil {
		return ""
	}
	text := fmt.Sprintf("%s changed, %s packed", progress.Bytes(m.Figures.Changed), progress.Bytes(m.Pack.Size))
	if m.Parent > 0 {
		text = fmt.Sprintf("on version %d, %s", m.Parent, text)
	}
	return text
}

// differences lists what changes from one state to another, sorted.
func differences(from, to *content) []Difference {
	before, notes := from.items()
	after, more := to.items()
	maps.Copy(notes, more)
	return compare(before, after, notes)
}

func compare(before, after, notes map[string]string) (list []Difference) {
	all := maps.Clone(before)
	maps.Copy(all, after)
	for what := range all {
		if before[what] != after[what] {
			list = append(list, Difference{What: what, Was: before[what], Is: after[what], Note: notes[what]})
		}
	}
	slices.SortFunc(list, func(a, b Difference) int { return strings.Compare(a.What, b.What) })
	return list
}

// unasked lists what a state has, or lacks, beside what it had before and the items that a caller
// asked for.
func unasked(before, after *content, asked []Item) []Difference {
	want, _ := before.items()
	for _, i := range asked {
		if want[i.What] = i.Is; i.Is == "" {
			delete(want, i.What)
		}
	}
	have, notes := after.items()
	return compare(want, have, notes)
}

// follows refuses what no change may do: another content for a version or a release that was
// signed, and a list of versions that says more than which versions there are. The numbers up to
// those in reserved may be left out.
func (c *content) follows(before *content, reserved map[string]int) error {
	for name, old := range before.files {
		f := c.files[name]
		if f != nil && !tree.Changes(name) && (f.Length != old.Length || !f.Hashes.Equal(old.Hashes)) {
			return fmt.Errorf("%w: %s was changed after it was signed", ErrDoubt, name)
		}
	}
	for name, b := range c.docs {
		img, ok := indexOf(name)
		if !ok || bytes.Equal(b, before.docs[name]) {
			continue
		}
		if err := indexFollows(before.docs[name], b, img, reserved[img]); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrDoubt, name, err)
		}
	}
	return nil
}

// indexFollows checks the numbers of a new list of versions: each version that is new has the
// number that was the next one, and the next one follows it.
func indexFollows(before, after []byte, img string, reserved int) error {
	old := &image.Index{Next: 1}
	if before != nil {
		var err error
		if old, err = image.ParseIndex(before, img); err != nil {
			return err
		}
	}
	x, err := image.ParseIndex(after, img)
	if err != nil {
		return err
	}
	next := old.Next
	for _, e := range x.Versions {
		if _, err := old.Entry(e.Version); err == nil {
			continue
		}
		if e.Version != next {
			return fmt.Errorf("version %d is new, the next number is %d", e.Version, next)
		}
		next = e.Version + 1
	}
	if x.Next != next && x.Next != max(next, reserved+1) {
		return fmt.Errorf("the next version would be %d, but should be %d", x.Next, next)
	}
	return nil
}
