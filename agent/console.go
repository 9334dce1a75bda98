package agent

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"troy/server/protocol"
)

// console is where all is said. Its end is kept for the report.
type console struct {
	keyboard string // terminal on which a person may press a key; "" = none

	mu  sync.Mutex
	out io.Writer
	end []byte // the last bytes that went over the screen
}

// say writes one line.
func (c *console) say(format string, args ...any) {
	fmt.Fprintf(c, "deploy: %s\n", fmt.Sprintf(format, args...))
}

// Write implements io.Writer. Several goroutines may write whole lines.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end = append(c.end, p...)
	if over := len(c.end) - protocol.MaxLog; over > 0 {
		c.end = append(c.end[:0], c.end[over:]...)
	}
	return c.out.Write(p)
}

// log gives the last lines whole, without the first if it was cut.
func (c *console) log() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.end
	if i := bytes.IndexByte(b, '\n'); len(b) == protocol.MaxLog && i >= 0 {
		b = b[i+1:]
	}
	return protocol.Clean(string(b), protocol.MaxLog)
}
