package trial

import (
	"context"
	"fmt"
	"math/rand/v2"
	"regexp"
	"time"

	"troy/trial/inside"
)

// cuts is what came of cutting the power.
type cuts struct {
	Seed   uint64         `json:"seed"`
	Tries  int            `json:"tries"`  // starts that were to be cut; some PCs were through before
	Done   int            `json:"done"`   // that were
	Closed int            `json:"closed"` // of the tries, those after which Windows came up
	Torn   bool           `json:"torn"`   // the last of them was in Windows: its session is what it is until it is reset
	During map[string]int `json:"during"` // by what the PC was doing
}

// moment is one in which the power is cut: some time after a line of the agent.
type moment struct {
	name string
	line *regexp.Regexp
	most time.Duration
}

// moments are those of a PC that gets a version. The longest times are those of a virtual PC with little to write; on one with more, the later moments are met by the
// lines that follow.
var moments = []moment{
	{"stage", regexp.MustCompile(`deploy: .* version \d+ → \d+`), 3 * time.Second},
	{"commit", regexp.MustCompile(`deploy: fetch: .* in .* s,`), 600 * time.Millisecond},
	{"merge", regexp.MustCompile(`deploy: merge: `), 600 * time.Millisecond},
	{"reset", regexp.MustCompile(`deploy: disk: `), 1500 * time.Millisecond},
	{"hand-off", regexp.MustCompile(`deploy: (version \d+ is committed|the machine is reset)`), 1500 * time.Millisecond},
	{inWindows, nil, 3 * time.Second},
}

// making are the moments in which the power is cut while a bare PC is made.
var making = []moment{
	{"making the disk", regexp.MustCompile(`deploy: provision: .* becomes this machine's disk`), 400 * time.Millisecond},
	{"the first version", regexp.MustCompile(`deploy: reinstall: .* until it is finished`), 400 * time.Millisecond},
}

// inWindows is the moment in which Windows is up and writes.
const inWindows = "Windows"

// perVersion is how many cuts a version gets at most before Windows has to come up with it: three
// hand-offs that come to nothing would make a good version a failing one.
const perVersion = 2

// cutPower cuts the power of PC B while it gets versions. After each cut the disk shows a whole
// version, and after some of them Windows comes up with the newest.
func (t *Trial) cutPower(ctx context.Context) error {
	_, b := t.pcs()
	c := t.cuts()
	t.say("    seed %d", c.Seed)
	for c.Closed < c.Tries || c.Done < t.o.Cuts {
		version := t.state.Good
		if c.Closed == c.Tries { // else this was interrupted before Windows came up
			var err error
			if version, err = t.next(ctx); err != nil {
				return err
			}
		}
		for n := c.Tries - c.Closed; n < perVersion && c.Done < t.o.Cuts; n++ {
			hit, err := t.cutOnce(ctx, b, version)
			if err != nil {
				return err
			}
			if !hit { // it has the version, and would have nothing more to do
				break
			}
		}
		if _, _, err := t.up(ctx, b, power{}, version, expect{}); err != nil {
			return err
		}
		c.Torn = false
		if c.Closed = c.Tries; c.Tries > mostTries*t.o.Cuts {
			t.find("cuts", false, "of %d tries to cut the power only %d came before the PC was through", c.Tries, c.Done)
			return nil
		}
	}
	t.find("cuts", true, "%d cuts of the power: %v", c.Done, c.During)
	return nil
}

// mostTries is how many tries a cut takes at most, on average.
const mostTries = 4

// cuts are those of the trial. Their moments come from a seed that is drawn once.
func (t *Trial) cuts() *cuts {
	c := &t.state.Cuts
	if c.During == nil {
		c.Seed, c.During = rand.Uint64(), map[string]int{}
	}
	return c
}

// cutMaking cuts the power of a bare PC while it is made, from the stick.
func (t *Trial) cutMaking(ctx context.Context, p *pc, m moment) error {
	c := t.cuts()
	r := rand.New(rand.NewPCG(c.Seed, uint64(m.most)+uint64(len(m.name))))
	o, err := t.start(ctx, p, power{stick: true, cutAt: m.line, after: time.Duration(r.Int64N(int64(m.most))), agentOnly: true})
	if err != nil {
		return err
	}
	if o.cut {
		c.During[m.name]++
	}
	t.find("provision", o.cut, "the power was cut in %s", m.name)
	return t.save()
}

// cutOnce cuts the power once, unless the PC is through before, and looks at what is there then.
func (t *Trial) cutOnce(ctx context.Context, p *pc, version int) (hit bool, err error) {
	c := &t.state.Cuts
	r := rand.New(rand.NewPCG(c.Seed, uint64(c.Tries)))
	m := moments[r.IntN(len(moments))]
	after := time.Duration(r.Int64N(int64(m.most)))
	how := power{cutAt: m.line, after: after, agentOnly: true}
	if m.name == inWindows {
		how = power{cutUp: true, after: after, order: inside.Order{Do: []inside.Action{inside.Fill, inside.Stay}, Stamp: 1<<21 + uint32(c.Tries)}}
	}
	o, err := t.start(ctx, p, how)
	if err != nil {
		return false, err
	}
	v, err := Look(p.disk(), o.order)
	if err != nil {
		return false, err
	}
	what := "no cut: the PC was through"
	if o.cut {
		what = fmt.Sprintf("cut %.1f s into %s", after.Seconds(), m.name)
		c.During[m.name]++
		c.Done++
		c.Torn = c.Torn || m.name == inWindows
	}
	c.Tries++
	t.find("cuts", t.whole(v, version, c.Torn), "%d: %s: %s", c.Tries, what, v)
	return o.cut, t.save()
}

// whole reports whether a disk shows one version, the wanted one or the one that it had. A Windows
// whose power was cut may have written any part of the ballast.
func (t *Trial) whole(v *View, version int, windows bool) bool {
	if len(v.Faults) > 0 || v.State.Version > version || v.State.Version < 1 {
		return false
	}
	return windows || v.Ballast.Blocks > 0 && v.Ballast.Strange == 0 && v.Ballast.Low == v.Ballast.High
}
