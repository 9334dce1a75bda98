package vm

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"sync"
)

// serialLog takes what QEMU prints: raw into a file, cleaned into memory.
type serialLog struct {
	file   *os.File
	onLine func(string)

	mu      sync.Mutex
	clean   strings.Builder
	partial string        // an escape sequence that is not complete yet
	line    int           // where in clean the line begins that onLine has not seen
	cursor  int           // where in clean the next find begins
	changed chan struct{} // closed at the next change
	fileErr error
}

// escapes are the terminal sequences that firmware and kernel print.
var (
	escapes    = regexp.MustCompile(`\x1b(\[[0-9;?=]*[A-Za-z]|[()][A-Za-z0-9]|[=>78DEHMc])|\r`)
	openEscape = regexp.MustCompile(`\x1b(\[[0-9;?=]{0,32}|[()])?$`)
)

func newSerialLog(f *os.File, onLine func(string)) *serialLog {
	return &serialLog{file: f, onLine: onLine, changed: make(chan struct{})}
}

// Write never fails: a full disk must not stop the guest. The error comes from close.
func (l *serialLog) Write(p []byte) (int, error) {
	for _, line := range l.add(p) {
		if l.onLine != nil {
			l.onLine(line)
		}
	}
	return len(p), nil
}

// add takes more output and returns the lines that it completed.
func (l *serialLog) add(p []byte) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.file.Write(p); err != nil && l.fileErr == nil {
		l.fileErr = err
	}
	s := l.partial + string(p)
	l.partial = openEscape.FindString(s)
	l.clean.WriteString(escapes.ReplaceAllString(s[:len(s)-len(l.partial)], ""))
	close(l.changed)
	l.changed = make(chan struct{})
	rest := l.clean.String()[l.line:]
	end := strings.LastIndexByte(rest, '\n')
	if end < 0 {
		return nil
	}
	l.line += end + 1
	return strings.Split(rest[:end], "\n")
}

// find looks for re behind the last find. If it is not there, changed is closed
// when there is more to look at.
func (l *serialLog) find(re *regexp.Regexp) (line string, ok bool, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.clean.String()
	at := re.FindStringIndex(all[l.cursor:])
	if at == nil {
		return "", false, l.changed
	}
	begin, end := l.cursor+at[0], l.cursor+at[1]
	l.cursor = end
	lineBegin := strings.LastIndexByte(all[:begin], '\n') + 1
	if i := strings.IndexByte(all[end:], '\n'); i >= 0 {
		return all[lineBegin : end+i], true, nil
	}
	return all[lineBegin:], true, nil
}

func (l *serialLog) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.clean.String()
}

// unfinished is the last line if it has no end yet, without spaces around it.
func (l *serialLog) unfinished() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.TrimSpace(l.clean.String()[l.line:])
}

func (l *serialLog) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.fileErr, l.file.Close())
}
