package main

import (
	"troy/image"
	"troy/image/unused"
)

// unusedPages is the filter of everything that is published: it asks the agent's own NTFS reader.
func unusedPages() image.Filter { return unused.Filter{Open: unused.ReadNTFS} }
