package layer

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/klauspost/compress/zstd"

	"troy/image/internal/fault"
	"troy/image/internal/pages"
	"troy/internal/digest"
)

const (
	packMagic = "TROYPACK"

	// PackHeaderSize is where the first chunk of a pack begins.
	PackHeaderSize = 16
	// MaxPackSize bounds a pack, in bytes.
	MaxPackSize = pages.MaxDisk
	// maxChunkPages bounds what one chunk unpacks to: 4 MiB.
	maxChunkPages = 1024
)

// The methods of a chunk. Method 2, zstd with named ranges of the parent as dictionary, is
// reserved.
const (
	Stored = 0
	Zstd   = 1
)

// Chunk is a piece of a pack that can be fetched and checked alone.
type Chunk struct {
	Offset int64 // in the pack
	Packed uint32
	Pages  uint32
	Runs   uint32
	Method uint16
	Sum    digest.Sum // of the packed bytes
	Raw    digest.Sum // of the pages: of what the packed bytes unpack to
}

// PackHeader returns what a pack begins with.
func PackHeader() []byte {
	b := make([]byte, PackHeaderSize)
	copy(b, packMagic)
	binary.LittleEndian.PutUint32(b[8:], uint32(Format.Current()))
	return b
}

// NewDecoder returns a decoder for Unpack that cannot be made to allocate more than one chunk.
func NewDecoder() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxChunkPages*pages.Size),
		zstd.WithDecodeAllCapLimit(true))
}

// Verify returns ErrCorrupt unless the packed bytes are those of the chunk.
func (c *Chunk) Verify(packed []byte) error {
	if got := digest.Sum(sha256.Sum256(packed)); got != c.Sum {
		return fault.Corruptf("SHA-256 of the chunk is %s, expected %s", got, c.Sum)
	}
	return nil
}

// Unpack returns the pages of a chunk whose packed bytes Verify found right, and ErrCorrupt if they
// are not the pages that the table names.
func (c *Chunk) Unpack(d *zstd.Decoder, packed []byte) ([]byte, error) {
	if c.Method == Stored { // parseChunks has seen that both hashes are the same
		return packed, nil
	}
	size := int(c.Pages) * pages.Size
	raw, err := d.DecodeAll(packed, make([]byte, 0, size))
	if err == nil && len(raw) != size {
		err = fmt.Errorf("unpacks to %d bytes instead of %d", len(raw), size)
	}
	if got := digest.Sum(sha256.Sum256(raw)); err == nil && got != c.Raw {
		err = fmt.Errorf("unpacks to pages with SHA-256 %s instead of %s", got, c.Raw)
	}
	if err != nil {
		return nil, fault.Corruptf("the chunk has the right SHA-256 and yet %v: it was published so", err)
	}
	return raw, nil
}
