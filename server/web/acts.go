package web

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"troy/internal/errline"
	"troy/server/audit"
	"troy/server/rooms"
	"troy/server/state"
)

// asked is an act as the form says it.
type asked struct {
	act                   string
	room, code, name, why string
	id                    string
	promotion             rooms.Promotion
	confirmed             bool
}

// errForm is returned for a form that cannot be read.
var errForm = fmt.Errorf("%w: the form", rooms.ErrInvalid)

func readForm(r *http.Request, user string) (*asked, error) {
	if err := r.ParseForm(); err != nil {
		return nil, errForm
	}
	f := func(name string) string { return strings.TrimSpace(r.PostForm.Get(name)) }
	a := &asked{act: r.PathValue("act"), room: f("room"), code: strings.ToUpper(f("code")), name: f("name"), why: f("why"), id: f("id"), confirmed: f("confirm") == "yes"}
	a.promotion = rooms.Promotion{Room: a.room, Image: f("image"), At: f("at"), After: f("after"), By: user, Retry: f("retry") != ""}
	if v := f("version"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			return nil, fmt.Errorf("%w: version %q", rooms.ErrInvalid, v)
		}
		a.promotion.Version = n
	}
	return a, nil
}

// String is the act for the audit log.
func (a *asked) String() string {
	p := &a.promotion
	switch a.act {
	case "promote", "rollback":
		return fmt.Sprintf("room %s image %s version %d at %q after %q retry %v", a.room, p.Image, p.Version, p.At, p.After, p.Retry)
	case "assign":
		return fmt.Sprintf("code %q name %q room %q", a.code, a.name, a.room)
	}
	return fmt.Sprintf("room %q machine %q %s", a.room, a.id, a.why)
}

// act does what a form asks for.
func (h *Handler) act(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, formMost)
	s := h.session(r)
	if s == nil {
		h.pages.show(w, r, http.StatusForbidden, "login", "Sign in", "Sign in first.")
		return
	}
	if !permitted(r, s) {
		h.pages.fail(w, r, http.StatusForbidden, "This form belongs to another session. Go back, reload the page and try again.")
		return
	}
	a, err := readForm(r, s.user)
	if err == nil && a.act == "promote" && !a.confirmed {
		h.showEstimate(w, r, a)
		return
	}
	said := ""
	if err == nil {
		said, err = h.do(r, a)
	}
	if err != nil {
		h.pages.fail(w, r, statusOf(err), err.Error())
		return
	}
	h.sessions.say(cookieOf(r), said)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func statusOf(err error) int {
	switch {
	case errors.Is(err, rooms.ErrInvalid):
		return http.StatusBadRequest
	case errors.Is(err, rooms.ErrNotFound), errors.Is(err, state.ErrNotFound):
		return http.StatusNotFound
	}
	return http.StatusInternalServerError
}

// showEstimate asks for a confirmation, with what it will take.
func (h *Handler) showEstimate(w http.ResponseWriter, r *http.Request, a *asked) {
	e, err := h.o.Lab.Estimate(r.Context(), a.promotion)
	if err != nil {
		h.pages.fail(w, r, statusOf(err), err.Error())
		return
	}
	h.pages.show(w, r, http.StatusOK, "confirm", "Promote", struct {
		*rooms.Estimate
		P rooms.Promotion
	}{e, a.promotion})
}

// do notes the act, does it, and notes what came of it if it failed.
func (h *Handler) do(r *http.Request, a *asked) (said string, err error) {
	e := audit.Entry{Who: a.promotion.By, From: r.RemoteAddr, Action: a.act, Detail: a.String(), Result: "ok"}
	if err := h.o.OnAct(e); err != nil {
		return "", fmt.Errorf("nothing was done: %w", err)
	}
	said, err = h.carryOut(r, a)
	if err != nil {
		e.Result = err.Error()
		err = errline.Join(err, h.o.OnAct(e))
	}
	return said, err
}

func (h *Handler) carryOut(r *http.Request, a *asked) (said string, err error) {
	ctx, l := r.Context(), h.o.Lab
	switch a.act {
	case "promote":
		t, err := l.Promote(ctx, a.promotion)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("Room %s gets %s version %d.", a.room, t.Image, t.Version), nil
	case "rollback":
		t, err := l.Rollback(ctx, a.promotion)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("Room %s goes back to %s version %d.", a.room, t.Image, t.Version), nil
	case "stop":
		return "Room " + a.room + ": no further machine begins.", l.Stop(a.room, cmp.Or(a.why, "stopped by "+a.promotion.By))
	case "continue":
		return "Room " + a.room + ": machines begin again.", l.Stop(a.room, "")
	case "wake":
		n, err := l.WakeNow(a.room, a.id)
		return fmt.Sprintf("Wake-up calls go out to %d machines.", n), err
	case "forget":
		host, _, err := l.Host(a.id)
		if err != nil {
			return "", err
		}
		return "The machine was forgotten.", l.Forget(host.ID)
	case "forget-strangers":
		n, err := l.ForgetStrangers()
		return fmt.Sprintf("%d machines were forgotten.", n), err
	case "assign":
		_, err := l.Assign(a.code, a.name, a.room)
		return fmt.Sprintf("%s is now in room %s.", a.name, a.room), err
	}
	return "", fmt.Errorf("%w: act %q", rooms.ErrNotFound, a.act)
}
