package main

import "troy/internal/cli"

// Exit codes of troy, see the package comment.
const (
	exitOK     = cli.OK
	exitFailed = cli.Failed
	exitUsage  = cli.Usage
	exitCheck  = cli.Check
)
