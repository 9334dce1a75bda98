package web

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"troy/internal/testing/browser"
	"troy/server/protocol"
	"troy/server/rooms"
)

// evening puts a room of 30 into the middle of a wave.
func (s *site) evening() {
	s.promote(7)
	s.promote(8)
	for i := 1; i <= 26; i++ {
		switch {
		case i <= 14:
			s.checkIn(i, 8, func(in *protocol.CheckIn) { in.Health = protocol.HealthGood })
		case i <= 16:
			s.checkIn(i, 7, nil)
			s.report(i, 7, protocol.OutcomeFailed, "the disk gave a read error at offset 0x2fa4000", "12:01:02 stage: 812 MB of 1.1 GB\n12:01:09 stage: /dev/nvme0n1: read 0x2fa4000: input/output error\n12:01:09 the version that was there is started\n")
		default:
			s.checkIn(i, 7, nil)
		}
	}
	for i := 17; i <= 22; i++ {
		s.progress(i, int64(i-15)*130<<20, 1100<<20)
	}
	s.checkIn(200, 0, func(in *protocol.CheckIn) { in.Image, in.Machine.Product = "", strings.Repeat("x", 200) })
}

func (s *site) progress(i int, done, total int64) {
	s.keeper.Progress(peer(i), protocol.Progress{Protocol: protocol.Version, Machine: protocol.Machine{Ports: []protocol.Port{{MAC: mac(i)}}}, Phase: "fetch", Done: done, Total: total, Rate: int64(15+i%5) << 20})
}

// TestBrowser does in Chromium what an admin does: signs in, names a machine, promotes, and
// watches.
func TestBrowser(t *testing.T) {
	s := newSite(t, 30, Options{Public: true})
	s.evening()
	ctx := browser.Start(t, time.Minute)
	tile := func(i int) string { return "#" + s.tile(i) }
	run := func(what string, actions ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		if err := chromedp.Do(ctx, actions...); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	s.proxyFails.Store(true)
	time.AfterFunc(time.Second, func() { s.proxyFails.Store(false) }) // and the page goes live all the same
	run("sign in", chromedp.Navigate(s.http.URL+"/login"), chromedp.SendKeys("input[name=name]", "admin"), chromedp.SendKeys("input[name=password]", password),
		chromedp.Submit("input[name=password]"), chromedp.WaitVisible(".user"), chromedp.WaitVisible("#live.on"))
	browser.Shot(t, ctx, "rooms")

	if wide, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`document.documentElement.scrollWidth > innerWidth`)); err != nil || wide {
		t.Errorf("the page is wider than its window, %v", err)
	}
	// Live: progress of one machine, and then its end, without a reload.
	_, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`window.notReloaded = true`))
	must(t, err)
	s.progress(20, 990<<20, 1100<<20)
	_, err = chromedp.Run(ctx, chromedp.Poll[bool](fmt.Sprintf(`document.querySelector(%q).textContent.includes("fetch 90 %%")`, tile(20))))
	must(t, err)
	s.report(20, 8, protocol.OutcomeDone, "", "")
	run("done", chromedp.WaitVisible(tile(20)+".current"))
	if same, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`window.notReloaded === true`)); err != nil || !same {
		t.Error("the page was reloaded in place of its pieces")
	}

	run("assign", chromedp.SendKeys(".assign input[name=name]", "b204-31"), chromedp.SetValue(".assign select[name=room]", "B204"), chromedp.Click(".assign button"), chromedp.WaitVisible(".flash[role=status]"))
	if h, _, err := s.keeper.Host("b204-31"); err != nil || h.Room != "B204" {
		t.Errorf("assigned: %+v, %v", h, err)
	}

	b204 := `section[data-room="B204"] `
	run("promote", chromedp.Click(chromedp.CSS(b204+"summary")), chromedp.SendKeys(chromedp.CSS(b204+"input[name=version]"), "9"))
	browser.Shot(t, ctx, "acts")
	run("estimate", chromedp.Click(chromedp.CSS(b204+`form[action="/do/promote"] button`)), chromedp.WaitVisible("#confirm"))
	estimate, err := chromedp.Run(ctx, chromedp.Text("dl.facts"))
	must(t, err)
	browser.Shot(t, ctx, "confirm")
	if !strings.Contains(estimate, "31, of which 0 have it already, 4 were never seen") {
		t.Errorf("estimate: %s", estimate)
	}
	run("confirm", chromedp.Click("#confirm"), chromedp.WaitVisible(".flash[role=status]"))
	if r := s.keeper.Status().Rooms[0]; r.Name != "B204" || r.Want != 9 || r.Target.By != "admin" {
		t.Errorf("promoted: %+v", r)
	}
	run("failed machine", chromedp.Navigate(s.http.URL+"/host?id=b204-15"))
	text, err := chromedp.Run(ctx, chromedp.Text("main"))
	must(t, err)
	if !strings.Contains(text, "input/output error") || !strings.Contains(text, "the disk gave a read error") {
		t.Errorf("page of a machine: %s", text)
	}
	browser.Shot(t, ctx, "host")
	if c := s.keeper.Status().Rooms[0].Counts; c[rooms.PhaseOutdated] == 0 {
		t.Errorf("counts after the promotion: %v", c)
	}
}
