package netboot

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pack.ag/tftp"

	"troy/chainload/release"
)

// TestTFTPLoss loads with windows through a network that loses and doubles packets both ways.
func TestTFTPLoss(t *testing.T) {
	addr := serveOn(t, newServer(t, Options{}))
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	server, err := net.ResolveUDPAddr("udp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.WriteTo([]byte("\x00\x01"+release.Shim+"\x00octet\x00windowsize\x004\x00BLKSIZE\x001000\x00"), server); err != nil {
		t.Fatal(err)
	}
	var got []byte
	next, lost := uint16(1), 0
	ack := func(to net.Addr, block uint16) {
		if r.IntN(50) == 0 {
			lost++
			return
		}
		for range 1 + r.IntN(2) {
			if _, err := c.WriteTo(binary.BigEndian.AppendUint16([]byte{0, opAck}, block), to); err != nil {
				t.Fatal(err)
			}
		}
	}
	buf := make([]byte, 2000)
	for {
		c.SetReadDeadline(time.Now().Add(8 * time.Second))
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			t.Fatalf("after %d bytes: %v", len(got), err)
		}
		if buf[1] == opOptions {
			if string(buf[2:n]) != "windowsize\x004\x00blksize\x001000\x00" {
				t.Fatalf("options %q", buf[2:n])
			}
			ack(from, 0)
			continue
		}
		if r.IntN(25) == 0 {
			lost++
			continue
		}
		if block := binary.BigEndian.Uint16(buf[2:]); buf[1] != opData || block != next {
			if buf[1] == opData {
				ack(from, next-1) // a gap: send again from there
			}
			continue
		}
		got = append(got, buf[4:n]...)
		if n < 1004 {
			c.WriteTo(binary.BigEndian.AppendUint16([]byte{0, opAck}, next), from)
			break
		}
		if next%4 == 0 {
			ack(from, next)
		}
		next++
	}
	if !bytes.Equal(got, content(release.Shim)) {
		t.Errorf("%d bytes that are not the file", len(got))
	}
	t.Logf("%d packets lost", lost)
}

// TestTFTPManyBlocks goes past block 65535, with a size that is a whole number of blocks.
func TestTFTPManyBlocks(t *testing.T) {
	s := newServer(t, Options{})
	big := make([]byte, 66_000*8)
	rand.NewChaCha8([32]byte{1}).Read(big)
	if err := os.WriteFile(filepath.Join(s.o.Dir, "big"), big, 0o644); err != nil {
		t.Fatal(err)
	}
	b, size, err := get(t, serveOn(t, s), "big", tftp.ClientBlocksize(8), tftp.ClientWindowsize(16))
	if err != nil || !bytes.Equal(b, big) || size != int64(len(big)) {
		t.Errorf("%d bytes, size %d: %v", len(b), size, err)
	}
}
