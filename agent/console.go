package agent

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"troy/server/protocol"
)

// console is where all is said: in lines, whose end is kept for the report, and on the screen, if
// there is one.
type console struct {
	keyboard keyboard
	display  display

	mu  sync.Mutex
	out io.Writer
	end []byte // the last bytes that went over the screen
}

// say writes one line.
func (c *console) say(format string, args ...any) {
	fmt.Fprintf(c, "deploy: %s\n", fmt.Sprintf(format, args...))
}

// Write implements io.Writer. Several goroutines may write whole lines. What servers and disks say
// comes without the control characters that would move the cursor, or forge a line of a log.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(p)
	p = bytes.Map(printable, p)
	c.end = append(c.end, p...)
	if over := len(c.end) - protocol.MaxLog; over > 0 {
		c.end = append(c.end[:0], c.end[over:]...)
	}
	if _, err := c.out.Write(p); err != nil {
		return 0, err
	}
	return n, nil
}

// printable keeps what a screen shows, and line ends.
func printable(r rune) rune {
	if r < ' ' && r != '\n' && r != '\r' && r != '\t' || r >= 0x7f && r < 0xa0 {
		return '?'
	}
	return r
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
