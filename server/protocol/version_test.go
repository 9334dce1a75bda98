package protocol

import (
	"errors"
	"strings"
	"testing"
	"time"

	"troy/internal/format"
)

// What an agent and this server make of each other, by the protocols that the agent offers.
func TestCommon(t *testing.T) {
	for name, c := range map[string]struct {
		offers, oldest int
		want           int
		why            string
	}{
		"the same":               {Version, Oldest, Version, ""},
		"one that says no range": {Version, 0, Version, ""},
		"newer, and ours too":    {Version + 3, Version, Version, ""},
		"older, and spoken":      {Oldest, 1, Oldest, ""},
		"too old":                {Oldest - 1, 1, 0, "its agent is too old: it speaks protocol 4, this server 5"},
		"too new":                {Version + 3, Version + 2, 0, "install a newer Troy on the server"},
		"nothing is known":       {0, 0, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			in := CheckIn{Protocol: c.offers, Oldest: c.oldest}
			if got := in.Common(); got != c.want {
				t.Errorf("common: %d, want %d", got, c.want)
			}
			if got := in.Refused(); (got == "") != (c.why == "") || !strings.Contains(got, c.why) {
				t.Errorf("refused: %q, want %q", got, c.why)
			}
		})
	}
}

func whole() Order {
	return Order{Protocol: Version, Time: time.Unix(1795392000, 0).UTC(), Want: &Want{Image: "win11", Version: 2, Manifest: strings.Repeat("0f", HashSize/2)}, Rules: Rules{Reset: ResetBoot},
		Permits: Permits{Reinstall: true}, Wait: 4, Repo: "repo", Mirrors: []string{"http://m"}, Agent: "7", Servers: strings.Repeat("0a", HashSize/2), Name: "pc", Reason: "because"}
}

// An agent gets the order in its own protocol; one that this server cannot speak with gets what
// every protocol has, so that it gets a newer agent.
func TestFor(t *testing.T) {
	for name, c := range map[string]struct {
		in       CheckIn
		protocol int
		wants    bool
	}{
		"today's": {CheckIn{Protocol: Version, Oldest: Oldest}, Version, true},
		"newer":   {CheckIn{Protocol: Version + 1, Oldest: Oldest}, Version, true},
		"too old": {CheckIn{Protocol: 1}, 1, false},
		"too new": {CheckIn{Protocol: Version + 2, Oldest: Version + 1}, Version, false},
	} {
		t.Run(name, func(t *testing.T) {
			o, err := whole().For(&c.in)
			if err != nil || o.Validate() != nil || o.Protocol != c.protocol || o.Newest != Version {
				t.Fatalf("%+v, %v", o, err)
			}
			if o.Agent != "7" || o.Repo != "repo" || len(o.Mirrors) != 1 || o.Servers == "" || o.Time.IsZero() || o.Name != "pc" {
				t.Errorf("it gets no newer agent by %+v", o)
			}
			if kept := o.Want != nil && o.Rules.Reset != "" && o.Permits.Reinstall && o.Wait == 4 && o.Reason == "because"; kept != c.wants {
				t.Errorf("all of the order: %t, want %t: %+v", kept, c.wants, o)
			}
			if none := o.Want == nil && o.Rules.Reset == "" && !o.Permits.Reinstall && o.Wait == 0 && o.Reason != "because"; none == c.wants {
				t.Errorf("nothing but the base: %t: %+v", none, o)
			}
		})
	}
}

// An agent that does not understand an order takes of it what every protocol has.
func TestReadOrder(t *testing.T) {
	rest := `"want":{"image":"win11","version":2,"manifest":"` + strings.Repeat("0f", HashSize/2) + `"},"permits":{"reinstall":true},"agent":"7","repo":"repo"`
	for name, c := range map[string]struct {
		text    string
		refused string // part of why it is not followed; "" = it is
		err     string
	}{
		"today's":                      {`{"protocol":5,` + rest + `}`, "", ""},
		"with a member of later":       {`{"protocol":5,"later":{"a":1},` + rest + `}`, "", ""},
		"newer, nothing needed":        {`{"protocol":99,` + rest + `}`, "", ""},
		"a word that is not known":     {`{"protocol":5,"needs":["wipe-first"],` + rest + `}`, `the order needs "wipe-first"`, ""},
		"and members of another type":  {`{"protocol":99,"needs":["wipe-first"],"want":[1],"rules":7,"agent":"7","repo":"repo"}`, "wipe-first", ""},
		"of a server that is too old":  {`{"protocol":4,"want":1,"agent":"7","repo":"repo"}`, "install a newer Troy on the server", ""},
		"a member of another type":     {`{"protocol":5,"want":[1]}`, "", "array"},
		"a duplicate member":           {`{"protocol":5,"agent":"7","agent":"8"}`, "", "duplicate"},
		"a member in another case":     {`{"protocol":5,"Agent":"7"}`, "", `"Agent"`},
		"a word that no program has":   {`{"protocol":5,"needs":["Ä"]}`, "", "want words"},
		"out of its bounds":            {`{"protocol":5,"wait":99999}`, "", "wait 99999"},
		"the base is out of its bound": {`{"protocol":4,"agent":"\u0007"}`, "", "control character"},
	} {
		t.Run(name, func(t *testing.T) {
			o, err := ReadOrder([]byte(c.text))
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("%+v, %v, want %q", o, err, c.err)
				}
				return
			}
			if err != nil || (o.Refused == "") != (c.refused == "") || !strings.Contains(o.Refused, c.refused) {
				t.Fatalf("%+v, %v, want refused: %q", o, err, c.refused)
			}
			if follows := o.Want != nil && o.Permits.Reinstall; follows != (c.refused == "") || o.Agent != "7" {
				t.Errorf("%+v", o)
			}
			if lacks := strings.Contains(c.refused, "wipe-first"); lacks != (len(o.Lacks) == 1) {
				t.Errorf("it lacks %q", o.Lacks)
			}
		})
	}
}

// Of agents whose protocol is strange the server reads what every protocol has, whatever else they say.
func TestStrangers(t *testing.T) {
	const id = `"machine":{"ports":[{"mac":"52:54:00:12:34:56"}]}`
	for _, old := range []string{`"protocol":1,`, `"protocol":99,"oldest":98,`} {
		c, err := ReadCheckIn([]byte(`{` + old + id + `,"agent":"v9","image":{"name":"win11"},"health":"splendid"}`))
		if err != nil || c.Agent != "v9" || c.Image != "" || c.Common() != 0 {
			t.Errorf("check-in: %+v, %v", c, err)
		}
		if _, err := ReadCheckIn([]byte(`{` + old + `"machine":{}}`)); err == nil {
			t.Error("a check-in of no machine is taken")
		}
		p, err := ReadProgress([]byte(`{` + old + id + `,"done":"half"}`))
		if err != nil || p.Machine.String() == "" || p.Done != 0 {
			t.Errorf("progress: %+v, %v", p, err)
		}
		r, err := ReadReport([]byte(`{` + old + id + `,"id":"3","outcome":"splendid","message":"why","version":"2"}`))
		if err != nil || r.ID != "3" || r.Outcome != OutcomeFailed || r.Message != "why" || r.Version != 0 {
			t.Errorf("report: %+v, %v", r, err)
		}
	}
	for _, protocol := range []string{"1", "5", "99"} {
		text := []byte(`{"protocol":` + protocol + `,"id":"3","outcome":"done","Agent":"v9",` + id + `}`)
		_, of := ReadCheckIn(text)
		_, to := ReadReport(text)
		for _, err := range []error{of, to} {
			if !errors.Is(err, format.ErrMalformed) || !strings.Contains(err.Error(), `"Agent" is spelled "agent"`) {
				t.Errorf("a member in another case, in protocol %s: %v", protocol, err)
			}
		}
		if _, err := ReadProgress([]byte(`{"protocol":` + protocol + `,"MACHINE":{},` + id + `}`)); !errors.Is(err, format.ErrMalformed) {
			t.Errorf("a machine in another case, in protocol %s: %v", protocol, err)
		}
	}
	c, err := ReadCheckIn([]byte(`{"protocol":99,"oldest":5,` + id + `,"image":"win11","version":3,"later":[1]}`))
	if err != nil || c.Image != "win11" || c.Version != 3 || c.Common() != Version {
		t.Errorf("a newer agent that speaks our protocol, too: %+v, %v", c, err)
	}
	if _, err := ReadCheckIn([]byte(`{"protocol":99,"oldest":5,` + id + `,"health":"splendid"}`)); err == nil {
		t.Error("an agent that claims to speak our protocol and does not is taken")
	}
	for _, text := range []string{`{"protocol":5,` + id + `,"Done":1}`, `{"protocol":5,` + id + `,"done":"half"}`, `{"protocol":5,"protocol":5,` + id + `}`, `7`} {
		if _, err := ReadProgress([]byte(text)); err == nil {
			t.Errorf("%s is taken", text)
		}
	}
}
