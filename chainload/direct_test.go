package chainload

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"troy/chainload/internal/grubenv"
	"troy/internal/testing/grubtest"
)

// On the ESP: allowed, counted by GRUB, taken back, counted anew after a hand-off.
func TestDirect(t *testing.T) {
	m := newMachine(t)
	if err := AllowDirect(m.opts); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a copy of the agent: %v", err)
	}
	if made, err := TakeDirect(m.opts); made != 0 || err != nil {
		t.Errorf("without a copy of the agent: %d, %v", made, err)
	}
	env := m.withAgent(t)
	start := func(want string) {
		t.Helper()
		b, err := os.ReadFile(env)
		if err != nil {
			t.Fatal(err)
		}
		got, after := grubtest.Start{Copy: "a"}.Boot(b)
		if err := os.WriteFile(env, after, 0o600); err != nil || got != want {
			t.Errorf("GRUB starts %s, want %s; %v", got, want, err)
		}
	}
	take := func(want int) {
		t.Helper()
		if made, err := TakeDirect(m.opts); made != want || err != nil {
			t.Errorf("%d direct starts, %v; want %d", made, err, want)
		}
		start("a")
	}
	start("a")
	take(0)
	m.handOff(t)
	must(t, AllowDirect(m.opts))
	for range MaxDirect {
		start(grubtest.Direct)
	}
	start("a")
	take(MaxDirect)
	take(MaxDirect) // this start was cut off: the count is still known
	m.handOff(t)
	take(0)
	m.handOff(t)
	must(t, AllowDirect(m.opts))
	start(grubtest.Direct)
	must(t, AllowDirect(m.opts)) // twice in one start
	start(grubtest.Direct)
	m.handOff(t) // takes it back, too
	start("a")
	// GRUB is asked by the hand-off, then by direct starts.
	m.opts.Methods = []Method{ByGRUB}
	m.handOff(t)
	must(t, AllowDirect(m.opts))
	start(grubtest.Windows)
	start(grubtest.Direct)
	take(1)
	// A file that cannot be written, nor can the folder: only the caller knows what that means.
	must(t, AllowDirect(m.opts))
	must(t, os.Remove(env))
	must(t, os.Mkdir(env, 0o700))
	if _, err := TakeDirect(m.opts); err == nil {
		t.Error("taken back from a folder")
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// What a person presses, what woke the machine, and a block that GRUB cannot write: the agent.
func TestDirectOrAgent(t *testing.T) {
	block, err := allowed(grubenv.New())
	must(t, err)
	for _, s := range []grubtest.Start{{Copy: "b", Key: true}, {Copy: "b", Woken: true}, {Copy: "b", ReadOnly: true}} {
		if got, after := s.Boot(block); got != "b" || !bytes.Equal(after, block) {
			t.Errorf("%+v: GRUB starts %s", s, got)
		}
	}
	text := string(block)
	for _, change := range []string{"direct=y\ndirect=n", "direct=yes", "direct=", "direct=n", "Direct=y"} {
		if got, _ := (grubtest.Start{Copy: "a"}).Boot([]byte(strings.Replace(text, "direct=y", change, 1))); got != "a" {
			t.Errorf("%s: GRUB starts %s", change, got)
		}
	}
	for _, count := range []string{"", "4", "5", "00", "-1", "a"} {
		if got, _ := (grubtest.Start{Copy: "a"}).Boot([]byte(strings.Replace(text, "made=0", "made="+count, 1))); got != "a" {
			t.Errorf("made=%s: GRUB starts %s", count, got)
		}
	}
}

// torn calls f with what may lie on the disk when the write of a block was cut off: any of its
// sectors old, new, or damaged, and any number of bytes new and the others old.
func torn(rnd *rand.Rand, before, after []byte, f func(block []byte)) {
	const sector = 512
	damaged := make([]byte, sector)
	for i := range damaged {
		damaged[i] = byte(rnd.Uint32())
	}
	line := bytes.Clone(damaged) // GRUB takes a block that ends so
	line[sector-1] = '\n'
	kinds := func(at int) [][]byte {
		return [][]byte{before[at : at+sector], after[at : at+sector], make([]byte, sector), bytes.Repeat([]byte{0xff}, sector), damaged, line}
	}
	for _, one := range kinds(0) {
		for _, two := range kinds(sector) {
			f(append(bytes.Clone(one), two...))
		}
	}
	for n := range before {
		f(append(bytes.Clone(after[:n]), before[n:]...))
	}
}

// Wherever a write to the block is cut off, by the agent or by GRUB, the next starts are the
// agent's, or direct ones that were allowed and are counted.
func TestDirectCutOff(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	change := func(f func([]byte) ([]byte, error), block []byte) []byte {
		t.Helper()
		b, err := f(block)
		must(t, err)
		return b
	}
	full, err := grubenv.Set(grubenv.New(), "of_another", strings.Repeat("x", 700)) // over both sectors
	must(t, err)
	states := 0
	for _, block := range [][]byte{grubenv.New(), full} {
		for _, next := range []string{"", grubenv.Windows} {
			handed := change(forgotten, block)
			if next != "" {
				handed, err = grubenv.Set(handed, grubenv.Next, next)
				must(t, err)
			}
			granted := change(allowed, handed)
			cutOff(t, rnd, &states, "allow", handed, granted, 0, 0)
			for made := range MaxDirect + 1 {
				took := change(taken, granted)
				cutOff(t, rnd, &states, "take", granted, took, made, made)
				forgot := change(forgotten, took)
				torn(rnd, took, forgot, func(b []byte) {
					states++
					if n, _, _ := play(b); n != 0 {
						t.Fatalf("forget: a direct start\n%q", b)
					}
				})
				var counted []byte
				for want := ""; want != grubtest.Direct && want != "a"; {
					want, counted = grubtest.Start{Copy: "a"}.Boot(granted)
					if want == grubtest.Windows {
						granted = counted
					}
				}
				cutOff(t, rnd, &states, "count", granted, counted, made, min(made+1, MaxDirect))
				granted = counted
			}
		}
	}
	t.Logf("%d states", states)
}

// cutOff judges all states of a write between a block that tells of so many direct starts and one
// that tells of so many.
func cutOff(t *testing.T, rnd *rand.Rand, states *int, name string, before, after []byte, least, most int) {
	t.Helper()
	torn(rnd, before, after, func(b []byte) {
		*states++
		n, made, believed := play(b)
		if !believed && n == 0 {
			return // the agent comes, and says that it knows of no count
		}
		if !believed || made-n != least && made-n != most || made > MaxDirect {
			t.Fatalf("%s: %d direct starts, the agent reads %d (%v), before it was %d or %d\n%q", name, n, made, believed, least, most, b)
		}
	})
}

// play starts the machine until the agent comes. It tells how often Windows was started directly,
// and how often the agent believes that it was.
func play(block []byte) (n, made int, believed bool) {
	for {
		var to string
		switch to, block = (grubtest.Start{Copy: "a"}).Boot(block); to {
		case grubtest.Direct:
			n++
		case "a":
			count, err := grubenv.Get(block, grubenv.Made)
			return n, directMade(block), err == nil && count != ""
		}
	}
}
