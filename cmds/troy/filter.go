package main

import (
	"troy/image/publish"
	"troy/image/unused"
)

// unusedPages is the filter of everything that is published: it asks the agent's own NTFS reader.
func unusedPages() publish.Filter { return unused.Filter{Open: unused.ReadNTFS} }
