package sign

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"troy/image"
	"troy/image/trust"
	"troy/image/trust/internal/tree"
)

// ErrOldRoot is returned for a store that was restored from a backup older than its newest keys.
var ErrOldRoot = errors.New("trust: the keys were replaced after this backup was made")

// Numbers returns those that the folder of the store has, which is believed: for comparing them with
// what machines have seen. Errors: ErrDoubt.
func (r *Repository) Numbers() (trust.Numbers, error) {
	st, err := r.load()
	if err == nil {
		err = r.loadDocuments(st)
	}
	if err != nil {
		return trust.Numbers{}, err
	}
	return st.numbers()
}

// indexOf returns the image of which a document is the list of versions.
func indexOf(name string) (img string, ok bool) {
	img, ok = strings.CutSuffix(strings.TrimPrefix(name, "images/"), "/versions.json")
	return img, ok
}

// numbers are those of a state: for an image the newest version that it ever had.
func (st *state) numbers() (trust.Numbers, error) {
	id, _ := st.root.Signed.UnrecognizedFields[tree.StoreField].(string)
	n := trust.Numbers{Store: id, Root: st.root.Signed.Version, Targets: st.targets.Signed.Version, Snapshot: st.snapshot.Signed.Version,
		Timestamp: st.timestamp.Signed.Version, Images: map[string]int{}}
	for name, b := range st.content.docs {
		img, ok := indexOf(name)
		if !ok {
			continue
		}
		x, err := image.ParseIndex(b, img)
		if err != nil {
			return n, fmt.Errorf("%w: %s: %w", ErrDoubt, name, err)
		}
		n.Images[img] = x.Next - 1
	}
	list, err := readServers(st.content.docs[tree.Servers])
	if list != nil {
		n.Servers = list.Version
	}
	return n, err
}

// Reserve makes the next version of an image, which need not exist, have a number above one.
type Reserve func(ctx context.Context, image string, newest int) error

// Continue signs what the store holds above numbers that machines have seen, so that they take it: it
// was restored from a backup, and what was signed since is lost. Of what the backup lacks, the copy
// beside the keys may know more than the store; Options.Confirm is shown all of it. Version numbers
// of images that were used since are not used again: reserve is called for each.
//
// The store must hold what it has signed, and nothing else. Interrupted, it may be called again.
// Errors: ErrOldRoot, and those of Sign.
func (r *Repository) Continue(ctx context.Context, store *image.Store, now time.Time, seen trust.Numbers, reserve Reserve) error {
	unlock, err := r.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	st, last, err := r.restored(ctx, &seen)
	if err != nil {
		return err
	}
	found, err := r.held(ctx, store, st, seen)
	if err != nil {
		return err
	}
	list, err := st.raises(seen)
	if err != nil {
		return err
	}
	if err := r.agreed("to be signed, above all that machines have seen", append(differences(last.content, found), list...)); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	signers, err := r.signers(&st.root.Signed, Admin, Server)
	if err != nil {
		return err
	}
	for _, img := range slices.Sorted(maps.Keys(seen.Images)) {
		if err := reserve(ctx, img, seen.Images[img]); err != nil {
			return err
		}
	}
	after, err := r.held(ctx, store, st, seen)
	if err == nil {
		err = after.raiseServers(seen.Servers)
	}
	if err != nil {
		return err
	}
	if err := r.putDocuments(after); err != nil {
		return err
	}
	st.content, st.targets.Signed.Targets = after, after.files
	raise := func(v *int64, n int64) { *v = max(*v, n) } // commit adds one
	raise(&st.targets.Signed.Version, seen.Targets)
	raise(&st.snapshot.Signed.Version, seen.Snapshot)
	raise(&st.timestamp.Signed.Version, seen.Timestamp)
	if err := (&commit{dir: r.path(""), now: now, state: st, signers: signers, targets: true}).run(); err != nil {
		return err
	}
	r.prune(st)
	return r.remember(st)
}

// restored is the state of the folder, which may be older than what was trusted last; that is
// returned as well, and its numbers count among those that were seen.
func (r *Repository) restored(ctx context.Context, seen *trust.Numbers) (st, last *state, err error) {
	t, err := r.trusted()
	if err != nil {
		return nil, nil, err
	}
	if last, _, err = t.state(ctx); err != nil {
		return nil, nil, err
	}
	st, err = follow(ctx, r.dir, folder(r.dir), t.root(), nil)
	if err != nil {
		return nil, nil, doubt(err)
	}
	if last == nil {
		last = st
	}
	st.content.fill(last.content)
	known, err := last.numbers()
	if err != nil {
		return nil, nil, err
	}
	seen.Raise(known)
	if seen.Root > st.root.Signed.Version {
		return nil, nil, fmt.Errorf("%w: root version %d was seen, the newest here is %d", ErrOldRoot, seen.Root, st.root.Signed.Version)
	}
	return st, last, r.own(&st.root.Signed)
}

// held is what the store holds, if that is what it has signed: only numbers may be reserved.
func (r *Repository) held(ctx context.Context, store *image.Store, st *state, seen trust.Numbers) (*content, error) {
	c := collector{store: store, before: st.content, hash: true}
	found, err := c.collect(ctx, &change{})
	if err == nil {
		err = found.follows(st.content, seen.Images)
	}
	if err != nil {
		return nil, err
	}
	if list := differences(st.content, found); len(list) > 0 {
		return nil, &UnaskedError{Store: r.dir, Differences: list}
	}
	return found, nil
}

// raises lists the numbers that go on above others. It refuses those that would leave no room.
func (st *state) raises(seen trust.Numbers) (list []Difference, err error) {
	have, err := st.numbers()
	if err != nil {
		return nil, err
	}
	for _, x := range []struct {
		what      string
		was, seen int64
	}{
		{"list of targets", have.Targets, seen.Targets}, {"snapshot", have.Snapshot, seen.Snapshot},
		{"timestamp", have.Timestamp, seen.Timestamp}, {"list of servers", int64(have.Servers), int64(seen.Servers)},
	} {
		if x.seen >= maxNumber/2 {
			return nil, fmt.Errorf("%w: number %d of the %s leaves no room for further ones", ErrRefused, x.seen, x.what)
		}
		if x.seen > x.was {
			list = append(list, Difference{What: "number of the " + x.what, Was: fmt.Sprint(x.was), Is: fmt.Sprint(x.seen + 1)})
		}
	}
	for _, img := range slices.Sorted(maps.Keys(seen.Images)) {
		was, n := have.Images[img], seen.Images[img]
		if image.CheckName(img) != nil || n >= image.MaxVersion {
			return nil, fmt.Errorf("%w: version %d of %.80q cannot be", ErrRefused, n, img)
		}
		if n > was {
			list = append(list, Difference{What: "next version of " + img, Was: fmt.Sprint(was + 1), Is: fmt.Sprint(n + 1)})
		}
	}
	return list, nil
}

// raiseServers gives the list of servers a number above one that was seen.
func (c *content) raiseServers(seen int) error {
	list, err := readServers(c.docs[tree.Servers])
	if err != nil || list == nil || list.Version >= seen {
		return err
	}
	list.Version = seen + 1
	b, err := list.Encode()
	if err == nil {
		c.add(tree.Servers, b)
	}
	return err
}
