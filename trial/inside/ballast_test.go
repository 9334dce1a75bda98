package inside

import (
	"context"
	"math/rand/v2"
	"testing"
)

// What was written whole has one stamp; what was not is told as a mixture, to the block; damage is
// no stamp.
func TestBallast(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for _, size := range []int64{BlockSize, chunk - BlockSize, chunk, chunk + BlockSize, 2*chunk + 3*BlockSize} {
		file := make(memory, size)
		if s, err := ReadBallast(file, size); err != nil || !s.One(0) {
			t.Errorf("zeros: %v, %v", s, err)
		}
		if err := WriteBallast(file, size, 6); err != nil {
			t.Fatal(err)
		}
		if s, err := ReadBallast(file, size); err != nil || !s.One(6) || s.One(7) || s.Blocks != int(size/BlockSize) {
			t.Errorf("%d bytes: %v, %v", size, s, err)
		}
		blocks := int(size / BlockSize)
		if blocks == 1 {
			continue
		}
		newer := 1 + r.IntN(blocks-1)
		for i := range newer {
			Block(file[i*BlockSize:][:BlockSize], 7, i)
		}
		if s, err := ReadBallast(file, size); err != nil || s.Low != 6 || s.High != 7 || s.One(6) || s.One(7) || s.String() != "a mixture of stamps 6 to 7" {
			t.Errorf("%d of %d blocks are newer: %v, %v", newer, blocks, s, err)
		}
		file[r.Int64N(size)] ^= 1
		if s, err := ReadBallast(file, size); err != nil || s.Strange != 1 {
			t.Errorf("one bit: %v, %v", s, err)
		}
		if _, err := ReadBallast(file, size+BlockSize); err == nil {
			t.Error("an end that comes too early is no error")
		}
	}
	if s := (Stamps{}); s.One(0) || s.String() != "no ballast" {
		t.Errorf("%v", s)
	}
	// Blocks of one stamp that changed places are found: each holds its number.
	file := make(memory, 2*BlockSize)
	Block(file[:BlockSize], 1, 1)
	Block(file[BlockSize:], 1, 0)
	if s, err := ReadBallast(file, 2*BlockSize); err != nil || s.Strange != 2 {
		t.Errorf("exchanged: %v, %v", s, err)
	}
}

// Who stays writes until the end comes, with stamps that no version has, and says when the first
// block is on the disk.
func TestKeepWriting(t *testing.T) {
	file := make(memory, 3*BlockSize)
	if err := WriteBallast(file, int64(len(file)), 7); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	if err := KeepWriting(ctx, &synced{file, stop}, int64(len(file)), func() {
		if s, err := ReadBallast(file, int64(len(file))); err != nil || s.High != StayStamp || s.Low != 7 {
			t.Errorf("at the beginning: %v, %v", s, err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if s, err := ReadBallast(file, int64(len(file))); err != nil || s.Low < StayStamp || s.Strange > 0 {
		t.Errorf("at the end: %v, %v", s, err)
	}
	if err := KeepWriting(t.Context(), &synced{file, stop}, 0, nil); err != nil {
		t.Errorf("no ballast: %v", err)
	}
}

// synced ends the writing at the second flush.
type synced struct {
	memory
	stop func()
}

func (s *synced) Sync() error {
	if s.memory[BlockSize*2+3]>>7 != 0 { // the high bit of the last block's stamp
		s.stop()
	}
	return nil
}
