package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"troy/image"
	"troy/image/trust"
	"troy/image/trust/sign"
	"troy/initramfs/bundle"
	"troy/internal/cli"
	"troy/internal/progress"
)

// agentCommand returns the commands that work on the releases of the agent in a store: the boot
// files with which machines keep their own copy of it new.
func agentCommand(s *cli.Streams) *cobra.Command {
	return group("agent", "publish releases of the agent", newAgentPublish(s), newAgentList(s), newAgentUse(s), newAgentRemove(s))
}

// agentCall is a call that changes the releases and signs them.
type agentCall struct {
	*imageCall
	keys    keyFlags
	version string
}

func newAgentCall(s *cli.Streams) *agentCall { return &agentCall{imageCall: newImageCall(s)} }

// define adds the flags that all but list have.
func (a *agentCall) define(cmd *cobra.Command) *cobra.Command {
	a.keys.define(cmd.Flags())
	return a.withStoreJSON(cmd)
}

// change asks, runs f and signs exactly what f says that it changed.
func (a *agentCall) change(ctx context.Context, what string, f func() ([]sign.Item, error)) error {
	repo, err := a.signer(ctx, &a.keys)
	if err != nil {
		return err
	}
	if err := a.keys.ask(a.call, what+" and sign that? yes or no: "); err != nil {
		return &cli.Fault{Err: err, Fate: "nothing was changed"}
	}
	a.keys.approved = true
	items, err := f()
	if err != nil {
		return &cli.Fault{Err: err, Fate: "machines still see the previous state", Advice: agentAdvice(err)}
	}
	if _, err := repo.Sign(ctx, a.store, time.Now(), items...); err != nil {
		return &cli.Fault{Err: err, Fate: "stored but not signed; machines still see the previous state", Advice: keyAdvice(err)}
	}
	return a.list()
}

func agentAdvice(err error) string {
	switch {
	case errors.Is(err, image.ErrExists):
		return "a release never changes: choose another --version"
	case errors.Is(err, image.ErrInvalid):
		return "names after DIR choose files; 'troy agent use' chooses another release"
	}
	return ""
}

// publishCall is one "agent publish".
type publishCall struct {
	*agentCall
	boot *mediaCall // the bundle and what the site adds, unless a folder is given
}

func newAgentPublish(s *cli.Streams) *cobra.Command {
	p := &publishCall{newAgentCall(s), &mediaCall{call: newCall(s)}}
	cmd := leaf("publish [DIR [FILE…]]", "publish boot files as the current agent release", p.run)
	cmd.Long = `Publish boot files as the current agent release: those of the installed boot bundle with the store's
root and servers, or those of a folder that 'troy media' made. FILE chooses some of the files.`
	fs := cmd.Flags()
	fs.StringVar(&p.version, "version", "", "the `name` of the release, such as 1.2.0 or 2031-03-01 (default: that of the boot bundle)")
	fs.StringVar(&p.boot.Bundle, "bundle", "", "the `folder` of the boot bundle (default: TROY_BUNDLE, else "+bundle.Default+")")
	fs.StringVar(&p.boot.config, "config", "", "the `file` of troy media --config: what the agent is told")
	return p.define(cmd)
}

func (p *publishCall) run(ctx context.Context, args []string) error {
	if p.version != "" || len(args) > 0 { // else the bundle names it
		if err := trust.CheckRelease(p.version); err != nil {
			return cli.Usagef("--version: %v", err)
		}
	}
	if err := p.open(); err != nil {
		return err
	}
	if len(args) > 0 {
		return p.publish(ctx, cli.Clean(args[0]), args[0], args[1:])
	}
	tmp, err := os.MkdirTemp("", "troy-agent-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := p.make(ctx, tmp); err != nil {
		return err
	}
	return p.publish(ctx, "the boot bundle", filepath.Join(tmp, "agent"), nil)
}

// make makes the files of the release in a folder.
func (p *publishCall) make(ctx context.Context, out string) error {
	m := p.boot
	m.Out, m.carried.Keys = out, p.keys.dir()
	if err := m.readConfig(); err != nil {
		return err
	}
	m.Config.Root, m.Config.Store, m.Config.Rescue = "", p.dir, false
	work, err := m.open()
	if err != nil {
		return err
	}
	p.version = cmp.Or(p.version, work.Version())
	return work.MakeAgent(ctx)
}

// publish asks, publishes a folder and signs.
func (p *publishCall) publish(ctx context.Context, what, from string, files []string) error {
	if err := trust.CheckRelease(p.version); err != nil {
		return cli.Usagef("--version: %v", err)
	}
	return p.change(ctx, fmt.Sprintf("publish %s as release %s of the agent", what, p.version), func() ([]sign.Item, error) {
		r, err := sign.PublishAgent(ctx, p.store, p.version, from, files...)
		if err != nil {
			return nil, err
		}
		return []sign.Item{sign.ReleaseItem(r), sign.CurrentRelease(r.Version)}, nil
	})
}

func newAgentUse(s *cli.Streams) *cobra.Command {
	a := newAgentCall(s)
	return a.define(leaf("use NAME", "make another release the current one", a.runUse))
}

func (a *agentCall) runUse(ctx context.Context, args []string) error {
	if err := a.open(); err != nil {
		return err
	}
	return a.change(ctx, "make "+cli.Clean(args[0])+" the current release of the agent", func() ([]sign.Item, error) {
		return []sign.Item{sign.CurrentRelease(args[0])}, sign.UseAgent(ctx, a.store, args[0])
	})
}

func newAgentRemove(s *cli.Streams) *cobra.Command {
	a := newAgentCall(s)
	return a.define(leaf("rm NAME", "remove a release", a.runRemove))
}

func (a *agentCall) runRemove(ctx context.Context, args []string) error {
	if err := a.open(); err != nil {
		return err
	}
	return a.change(ctx, "remove release "+cli.Clean(args[0])+" of the agent", func() ([]sign.Item, error) {
		_, current, err := sign.AgentReleases(a.store)
		if err != nil {
			return nil, err
		}
		items := []sign.Item{sign.NoRelease(args[0])}
		if current == args[0] { // it goes only if it is the last one
			items = append(items, sign.CurrentRelease(""))
		}
		return items, sign.RemoveAgent(ctx, a.store, args[0])
	})
}

func newAgentList(s *cli.Streams) *cobra.Command {
	a := newAgentCall(s)
	return a.withStoreJSON(leaf("list", "list the releases", a.runList))
}

func (a *agentCall) runList(context.Context, []string) error {
	if err := a.open(); err != nil {
		return err
	}
	return a.list()
}

// jsonAgent is one entry of what "agent list --json" prints.
type jsonAgent struct {
	*trust.AgentRelease
	Current bool `json:"current"`
}

func (a *agentCall) list() error {
	list, current, err := sign.AgentReleases(a.store)
	if err != nil {
		return err
	}
	docs := make([]jsonAgent, 0, len(list))
	for _, r := range list {
		docs = append(docs, jsonAgent{r, r.Version == current})
	}
	if a.json {
		return a.JSON(docs)
	}
	if len(list) == 0 {
		fmt.Fprintln(a.Out, "the store has no release of the agent")
	}
	for _, d := range docs {
		mark := ""
		if d.Current {
			mark = "  current"
		}
		fmt.Fprintf(a.Out, "%-20s %3d files  %10s%s\n", d.Version, len(d.Files), progress.Bytes(d.Size()), mark)
	}
	return nil
}
