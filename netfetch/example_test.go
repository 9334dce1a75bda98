package netfetch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"troy/netfetch"
)

// store is a web server with one object.
func store(object string, content []byte) *httptest.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /repo/"+object, func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	})
	return httptest.NewServer(mux)
}

// A program reads ten bytes out of the middle of an object, from the first of two servers that
// works.
func Example() {
	gone := httptest.NewServer(nil)
	gone.Close()
	living := store("ab12.pack", []byte("one two three four five"))
	defer living.Close()

	mirrors, err := netfetch.NewHTTPMirrors([]string{gone.URL + "/repo", living.URL + "/repo"},
		&netfetch.HTTPOptions{GiveUpAfter: time.Second}, // the agent waits longer
		&netfetch.MirrorsOptions{OnFailover: func(from, to netfetch.Source, err error) {
			fmt.Println("the first server does not answer; going on with the second")
		}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer mirrors.Reconnect() // closes the connections

	b, err := mirrors.ReadRange(context.Background(), "ab12.pack", 4, 9)
	fmt.Printf("%q %v\n", b, err)
	// Output:
	// the first server does not answer; going on with the second
	// "two three" <nil>
}

// What went wrong is a class for errors.Is, and a line for a person.
func ExampleFetchError() {
	server := store("ab12.pack", make([]byte, 100))
	defer server.Close()
	h, err := netfetch.NewHTTP(server.URL+"/repo", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer h.Reconnect()

	_, err = h.ReadRange(context.Background(), "ab12.pack", 90, 20)
	var where *netfetch.FetchError
	if errors.As(err, &where) {
		fmt.Println(where.Object, where.Offset, where.Length, where.Err)
	}
	_, err = h.ReadRange(context.Background(), "cd34.pack", 0, 1)
	fmt.Println(errors.Is(err, netfetch.ErrNotFound))
	_, err = h.ReadRange(context.Background(), "../keys/root.json", 0, 1)
	fmt.Println(errors.Is(err, netfetch.ErrName))
	// Output:
	// ab12.pack 90 20 the object is shorter than the range: it holds 100 bytes
	// true
	// true
}

// A call sends JSON and gets JSON.
func ExampleMirrors_PostJSON() {
	type checkIn struct{ Name string }
	type order struct{ Image string }
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"Image":"win11-lab"}`)
	}))
	defer server.Close()
	mirrors, err := netfetch.NewHTTPMirrors([]string{server.URL}, nil, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer mirrors.Reconnect()

	var o order
	err = mirrors.PostJSON(context.Background(), "v1/checkin", checkIn{"b204-01"}, &o)
	fmt.Println(o.Image, err)
	// Output: win11-lab <nil>
}

// A PC whose battery is empty says 1970. The build time of the program is closer, and a server's
// time is believed within bounds.
func ExampleClock() {
	build := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	rtc := func() time.Time { return time.Unix(0, 0).UTC() }
	clock := netfetch.NewClock(build, rtc)
	fmt.Println(clock.Now())

	fmt.Println(clock.Hint(time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC)), clock.Now().Year())
	fmt.Println(clock.Hint(time.Date(2027, 2, 3, 0, 0, 0, 0, time.UTC)), clock.Now().Year())
	// Output:
	// 2026-11-01 12:00:00 +0000 UTC
	// false 2026
	// true 2027
}

// What an admin may write for a server.
func ExampleServerURL() {
	for _, s := range []string{"192.0.2.1:8080", " https://troy.example/store/\r\n", "troy@example", "ftp://troy.example"} {
		fmt.Printf("%q\n", netfetch.ServerURL(s))
	}
	// Output:
	// "https://192.0.2.1:8080"
	// "https://troy.example/store"
	// ""
	// ""
}
