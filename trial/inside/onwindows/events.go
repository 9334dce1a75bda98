package onwindows

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"troy/internal/utf16le"
)

// providers write to the System log what goes wrong with disks and volumes.
var providers = []string{"disk", "Ntfs", "Microsoft-Windows-Ntfs", "volmgr", "volsnap", "partmgr", "storahci",
	"stornvme", "vhdmp", "Microsoft-Windows-VHDMP", "viostor", "vioscsi"}

// mostEvents is how many events are asked for, the newest first.
const mostEvents = 40

// query is the XPath for their errors and warnings of the last time.
func query(last time.Duration) string {
	names := make([]string, len(providers))
	for i, p := range providers {
		names[i] = fmt.Sprintf("@Name='%s'", p)
	}
	return fmt.Sprintf("*[System[(Level=1 or Level=2 or Level=3) and Provider[%s] and TimeCreated[timediff(@SystemTime) <= %d]]]",
		strings.Join(names, " or "), last.Milliseconds())
}

// event is what is read of an event.
type event struct {
	System struct {
		Provider struct {
			Name string `xml:"Name,attr"`
		}
		EventID int
		Level   int
	}
	EventData struct {
		Data []string
	}
	RenderingInfo struct {
		Message string
	}
}

// levels are the words for the levels that are asked for.
var levels = map[int]string{1: "critical", 2: "error", 3: "warning"}

// events makes a line of each event in what wevtutil prints: elements of XML, one after another.
// Events that are equal become one line, with their number.
func events(b []byte) ([]string, error) {
	var lines []string
	count := map[string]int{}
	d := xml.NewDecoder(strings.NewReader(text(b)))
	for {
		var e event
		if err := d.Decode(&e); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return number(lines, count), fmt.Errorf("the event log: %w", err)
		}
		said := e.RenderingInfo.Message
		if strings.TrimSpace(said) == "" {
			said = strings.Join(e.EventData.Data, " ")
		}
		line := fmt.Sprintf("%s %d (%s): %s", e.System.Provider.Name, e.System.EventID, levels[e.System.Level], said)
		line = strings.Join(strings.Fields(line), " ")
		if count[line]++; count[line] == 1 {
			lines = append(lines, line)
		}
	}
	return number(lines, count), nil
}

// text is what a program of Windows prints as Unicode, UTF-16 with or without its mark, or plain.
func text(b []byte) string {
	mark := []byte{0xff, 0xfe}
	if bytes.HasPrefix(b, mark) || len(b) > 1 && b[1] == 0 {
		return utf16le.String(bytes.TrimPrefix(b, mark))
	}
	return strings.ToValidUTF8(string(b), "\ufffd")
}

func number(lines []string, count map[string]int) []string {
	for i, line := range lines {
		if n := count[line]; n > 1 {
			lines[i] = fmt.Sprintf("%d times: %s", n, line)
		}
	}
	return lines
}
