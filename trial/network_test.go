package trial

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"troy/trial/inside"
)

// What the PC sends arrives, what the server says comes back, also after the PC has said all.
func TestRelay(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	heard := make(chan string, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		b, _ := io.ReadAll(conn) // until the PC has said all
		heard <- string(b)
		io.WriteString(conn, strings.Repeat("answer", 1<<16))
	}()
	var back bytes.Buffer
	if err := Relay(t.Context(), l.Addr().String(), strings.NewReader("question"), &back); err != nil {
		t.Fatal(err)
	}
	if got := <-heard; got != "question" || back.String() != strings.Repeat("answer", 1<<16) {
		t.Errorf("%q, and %d bytes back", got, back.Len())
	}
	for _, elsewhere := range []string{"192.0.2.1:80", "localhost:80", "[::]:80", "80", ""} {
		if err := Relay(t.Context(), elsewhere, strings.NewReader(""), &back); err == nil {
			t.Errorf("%q was dialled", elsewhere)
		}
	}
}

// The virtual PC reaches two addresses, and no other unless it is asked for.
func TestUserNetwork(t *testing.T) {
	relay := []string{"/opt/a b/it's, troy", "try", "--relay"}
	closed := userNetwork(relay, "127.0.0.1:1", "127.0.0.1:2", false)
	want := `guestfwd=tcp:10.0.2.100:8443-cmd:'/opt/a b/it'\''s,, troy' 'try' '--relay' '127.0.0.1:1',` +
		`guestfwd=tcp:10.0.2.100:80-cmd:'/opt/a b/it'\''s,, troy' 'try' '--relay' '127.0.0.1:2',restrict=on`
	if closed != want {
		t.Errorf("\n%s, want\n%s", closed, want)
	}
	if open := userNetwork(relay, "127.0.0.1:1", "127.0.0.1:2", true); open+",restrict=on" != want {
		t.Errorf("online: %s", open)
	}
}

func TestTells(t *testing.T) {
	var heard []int
	l, err := listen(func(r *inside.Record) { heard = append(heard, r.Order) })
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	url := "http://" + l.listener.Addr().String()
	record, err := json.Marshal(&inside.Record{Order: 7})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path string
		body string
		want int
	}{{"/up", string(record), 200}, {"/up", "no record", 400}, {"/up", `{"name":"` + strings.Repeat("x", inside.SlotSize) + `"}`, 400}, {"/", "", 404}} {
		a, err := http.Post(url+c.path, "application/json", strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		a.Body.Close()
		if a.StatusCode != c.want {
			t.Errorf("%s %.20s: %d, want %d", c.path, c.body, a.StatusCode, c.want)
		}
	}
	if len(heard) != 1 || heard[0] != 7 {
		t.Errorf("heard %v", heard)
	}
}
