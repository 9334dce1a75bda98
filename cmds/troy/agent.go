package main

import (
	"context"
	"errors"
	"fmt"

	"troy/image"
	"troy/image/trust"
	"troy/image/trust/sign"
	"troy/internal/progress"
)

// agentCommand returns the commands that work on the releases of the agent in a store: the boot files with which machines keep their own copy of it new.
func agentCommand() command {
	const flags = "[--store DIR] [--keys DIR] [--passphrase-file FILE] [--json] "
	return command{name: "agent", sub: []command{
		{name: "publish", args: flags + "--version V DIR [NAME…]", short: "publish boot files of a folder as the release that machines shall have", run: runAgentPublish},
		{name: "list", args: "[--store DIR] [--json]", short: "the releases of the agent", run: runAgentList},
		{name: "use", args: flags + "VERSION", short: "make another release the one that machines shall have", run: runAgentUse},
		{name: "rm", args: flags + "VERSION", short: "remove a release", run: runAgentRemove},
	}}
}

// agentCall is a call that changes the releases and signs them.
type agentCall struct {
	*imageCall
	keys keyFlags
}

func newAgentCall(c *call) *agentCall {
	a := &agentCall{imageCall: newImageCall(c)}
	a.keys.add(a.fs)
	return a
}

// change runs f and signs what the store then holds, if it is signed at all.
func (a *agentCall) change(ctx context.Context, f func() error) error {
	signer, err := a.signer(ctx, &a.keys)
	if err != nil {
		return err
	}
	if err := f(); err != nil {
		return &fault{err: err, fate: "machines see what they saw before", advice: agentAdvice(err)}
	}
	if err := signer.sign(ctx, a.imageCall); err != nil {
		return &fault{err: err, fate: "it is done in the store, but not signed: machines see what they saw before", advice: "'troy key sign' signs it"}
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

func runAgentPublish(ctx context.Context, c *call) error {
	a := newAgentCall(c)
	version := a.fs.String("version", "", "the `name` of the release, such as 1.2.0 or 2031-03-01")
	args, err := a.open(1, -1)
	if err != nil {
		return err
	}
	if err := trust.CheckRelease(*version); err != nil {
		return &usageError{"--version: " + err.Error()}
	}
	return a.change(ctx, func() error {
		_, err := sign.PublishAgent(ctx, a.store, *version, args[0], args[1:]...)
		return err
	})
}

func runAgentUse(ctx context.Context, c *call) error {
	a := newAgentCall(c)
	args, err := a.open(1, 1)
	if err != nil {
		return err
	}
	return a.change(ctx, func() error { return sign.UseAgent(ctx, a.store, args[0]) })
}

func runAgentRemove(ctx context.Context, c *call) error {
	a := newAgentCall(c)
	args, err := a.open(1, 1)
	if err != nil {
		return err
	}
	return a.change(ctx, func() error { return sign.RemoveAgent(ctx, a.store, args[0]) })
}

func runAgentList(_ context.Context, c *call) error {
	i := newImageCall(c)
	if _, err := i.open(0, 0); err != nil {
		return err
	}
	return (&agentCall{imageCall: i}).list()
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
		return a.printJSON(docs)
	}
	if len(list) == 0 {
		fmt.Fprintln(a.stdout, "the store has no release of the agent")
	}
	for _, d := range docs {
		mark := ""
		if d.Current {
			mark = "  machines shall have this one"
		}
		fmt.Fprintf(a.stdout, "%-20s %3d files  %10s%s\n", d.Version, len(d.Files), progress.Bytes(d.Size()), mark)
	}
	return nil
}
