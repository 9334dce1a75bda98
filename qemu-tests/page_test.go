package qemutests

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"troy/internal/testing/browser"
)

// desk is where the admin of a building works.
type desk interface {
	// assign gives the machine that shows a code a name and a room.
	assign(code, name, room string)
	// promote gives a room version 2; what is said before has to hold these words.
	promote(room string, words ...string)
}

// commands is a desk with a command line.
type commands struct{ *building }

func (c commands) assign(code, name, room string) {
	c.t.Helper()
	c.admin([]string{"unknown machine", newMAC, code}, "status")
	c.admin(nil, "assign", "--room", room, code, name)
}

func (c commands) promote(room string, words ...string) {
	c.t.Helper()
	c.admin(append(words, "room "+room+" gets "), "promote", "--room", room, imageAt(2))
}

// page is a desk with the status page, in a browser.
type page struct {
	t   *testing.T
	ctx context.Context
	url string
}

// pageTime bounds all that is done on the page, of which most is waiting for machines.
const pageTime = 50 * time.Minute

// openPage signs in.
func (b *building) openPage() *page {
	b.t.Helper()
	const name, password = "anna", "nine lives and a half"
	if err := b.lab.Login(b.t.Context(), name, password); err != nil {
		b.t.Fatal(err)
	}
	url, stop, err := b.lab.Page()
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(stop)
	p := &page{b.t, browser.Start(b.t, pageTime), url}
	p.do("sign in", chromedp.Navigate(url+"/login"), chromedp.SendKeys("input[name=name]", name), chromedp.SendKeys("input[name=password]", password),
		chromedp.Submit("input[name=password]"), chromedp.WaitVisible(".user"), chromedp.WaitVisible("#live.on"))
	return p
}

func (p *page) do(what string, actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	if err := chromedp.Do(p.ctx, actions...); err != nil {
		browser.Shot(p.t, p.ctx, "failed")
		p.t.Fatalf("the page: %s: %v", what, err)
	}
}

// shows waits until a condition in JavaScript holds, without reloading the page.
func (p *page) shows(what, condition string) {
	p.t.Helper()
	if _, err := chromedp.Run(p.ctx, chromedp.Poll[bool](condition, chromedp.WithPollingTimeout(2*time.Minute))); err != nil {
		browser.Shot(p.t, p.ctx, "failed")
		p.t.Fatalf("the page does not show %s: %v", what, err)
	}
}

// tile waits until the tile of a machine holds these words.
func (p *page) tile(name string, words ...string) {
	p.t.Helper()
	p.shows(fmt.Sprintf("%s with %q", name, words), fmt.Sprintf(
		`[...document.querySelectorAll(".tile")].some(t => t.querySelector(".name").textContent === %q && %s)`, name, holdAll("t.textContent", words)))
}

// head waits until the head of a room holds these words.
func (p *page) head(room string, words ...string) {
	p.t.Helper()
	p.shows(fmt.Sprintf("room %s with %q", room, words), fmt.Sprintf(
		`(h => h && %s)(document.querySelector('section[data-room=%q] .head'))`, holdAll("h.textContent", words), room))
}

func holdAll(text string, words []string) string {
	all := []string{"true"}
	for _, w := range words {
		all = append(all, fmt.Sprintf("%s.includes(%q)", text, w))
	}
	return strings.Join(all, " && ")
}

func (p *page) assign(code, name, room string) {
	p.t.Helper()
	p.shows("the code "+code, fmt.Sprintf(`document.querySelector(".stranger .code")?.textContent === %q`, code))
	p.do("assign", chromedp.Navigate(p.url), chromedp.SendKeys(".assign input[name=name]", name), chromedp.SetValue(".assign select[name=room]", room),
		chromedp.Click(".assign button"), chromedp.WaitVisible(".flash[role=status]"))
	p.tile(name)
}

func (p *page) promote(room string, words ...string) {
	p.t.Helper()
	in := fmt.Sprintf("section[data-room=%q] ", room)
	p.do("promote", chromedp.Navigate(p.url), chromedp.Click(chromedp.CSS(in+"summary")), chromedp.SendKeys(chromedp.CSS(in+"input[name=version]"), "2"),
		chromedp.Click(chromedp.CSS(in+`form[action="/do/promote"] button`)), chromedp.WaitVisible("#confirm"))
	text, err := chromedp.Run(p.ctx, chromedp.Text("main"))
	if err != nil {
		p.t.Fatal(err)
	}
	for _, w := range words {
		if !strings.Contains(text, w) {
			p.t.Errorf("before room %s gets it, the page does not say %q:\n%s", room, w, text)
		}
	}
	p.do("confirm", chromedp.Click("#confirm"), chromedp.WaitVisible(".flash[role=status]"))
}
