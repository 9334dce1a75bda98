package vmlab

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"io"
	"os"
	"strings"

	"golang.org/x/text/encoding/charmap"
)

// Screen are arguments of QEMU for a graphics card whose screen has room for 128 by 48 characters:
// too few for the page of the agent in large letters, so that Text can read it.
var Screen = []string{"-device", "VGA,edid=on,xres=1024,yres=768"}

// Press presses a key of the VM's keyboard, as QEMU's sendkey names it.
func (v *VM) Press(ctx context.Context, key string) error { return v.monitor(ctx, "sendkey "+key) }

// Screenshot is what the screen shows.
func (v *VM) Screenshot(ctx context.Context) (*image.RGBA, error) {
	file := v.socket + ".ppm"
	defer os.Remove(file)
	if err := v.monitor(ctx, "screendump "+file); err != nil {
		return nil, fmt.Errorf("screendump: %w", err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return readPPM(b)
}

// readPPM reads the one form of portable pixmaps that QEMU writes.
func readPPM(b []byte) (*image.RGBA, error) {
	r := bufio.NewReader(bytes.NewReader(b))
	var width, height, most int
	if _, err := fmt.Fscanf(r, "P6\n%d %d\n%d\n", &width, &height, &most); err != nil || most != 255 || width < 1 || height < 1 || width*height > 1<<26 {
		return nil, fmt.Errorf("no pixmap: %d × %d, %d: %w", width, height, most, err)
	}
	img := image.NewRGBA(image.Rect(0, 0, width, height))
	var p [3]byte
	for i := range width * height {
		if _, err := io.ReadFull(r, p[:]); err != nil {
			return nil, err
		}
		copy(img.Pix[i*4:], []byte{p[0], p[1], p[2], 255})
	}
	return img, nil
}

const (
	cellWidth, cellHeight = 8, 16
	glyphs                = 256
)

// glyph is a character of the font, a byte for each row.
type glyph [cellHeight]byte

// fontFile holds IBM's font for VGA, which the kernel uses, too. QEMU needs it.
const fontFile = "/usr/share/seabios/vgabios-stdvga.bin"

// font reads all characters.
func font() (map[glyph]rune, error) {
	b, err := os.ReadFile(fontFile)
	if err != nil {
		return nil, fmt.Errorf("%w (Debian package seabios)", err)
	}
	a := []byte{0, 0, 0x10, 0x38, 0x6c, 0xc6, 0xc6, 0xfe, 0xc6, 0xc6, 0xc6, 0xc6, 0, 0, 0, 0}
	at := bytes.Index(b, a) - 'A'*cellHeight
	if at < 0 || at+glyphs*cellHeight > len(b) {
		return nil, errors.New(fontFile + " holds no font")
	}
	all := map[glyph]rune{}
	for i := glyphs - 1; i >= 0; i-- { // of two that look alike the first one counts
		all[glyph(b[at+i*cellHeight:])] = charmap.CodePage437.DecodeByte(byte(i))
	}
	return all, nil
}

// Text reads a screen whose letters are 8 by 16: its lines without the blanks behind them. What is
// no character is a "?". A cell of one colour is a blank, but a block where it is green: a bar.
func Text(img *image.RGBA) ([]string, error) {
	all, err := font()
	if err != nil {
		return nil, err
	}
	var lines []string
	for y := 0; y+cellHeight <= img.Rect.Dy(); y += cellHeight {
		var line strings.Builder
		for x := 0; x+cellWidth <= img.Rect.Dx(); x += cellWidth {
			line.WriteRune(read(img, x, y, all))
		}
		lines = append(lines, strings.TrimRight(line.String(), " "))
	}
	return lines, nil
}

// read reads one cell: letters are the rarer colour, or the other one.
func read(img *image.RGBA, x, y int, all map[glyph]rune) rune {
	first := img.RGBAAt(x, y)
	var g, inverse glyph
	same := true
	for row := range cellHeight {
		for column := range cellWidth {
			if img.RGBAAt(x+column, y+row) != first {
				g[row] |= 0x80 >> column
				same = false
			}
		}
		inverse[row] = ^g[row]
	}
	if r, ok := all[g]; ok && !same {
		return r
	}
	if r, ok := all[inverse]; ok && !same {
		return r
	}
	switch {
	case same && first.G/2 > first.R && first.G/2 > first.B:
		return '█'
	case same:
		return ' '
	}
	return '?'
}

// Colours counts the colours of a picture.
func Colours(img *image.RGBA) int {
	seen := map[color.RGBA]bool{}
	for y := range img.Rect.Dy() {
		for x := range img.Rect.Dx() {
			seen[img.RGBAAt(x, y)] = true
		}
	}
	return len(seen)
}
