package vmlab

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"image"
	"image/color"
	"io"
	"os"
	"strings"

	"golang.org/x/text/encoding/charmap"

	"troy/trial/vm"
)

// Screen are arguments of QEMU for a graphics card whose screen has room for 128 by 48 characters:
// too few for the page of the agent in large letters, so that Text can read it.
var Screen = []string{"-device", "VGA,edid=on,xres=1024,yres=768"}

// Press presses a key of the VM's keyboard, as QEMU's sendkey names it.
func (v *VM) Press(ctx context.Context, key string) error {
	return vm.Monitor(ctx, v.socket, "sendkey "+key)
}

// Interrupt is an interrupt that the kernel cannot mask, and that nobody expects: it dies of it if
// its arguments have unknown_nmi_panic.
func (v *VM) Interrupt(ctx context.Context) error { return vm.Monitor(ctx, v.socket, "nmi") }

// Screenshot is what the screen shows.
func (v *VM) Screenshot(ctx context.Context) (*image.RGBA, error) {
	file := v.socket + ".ppm"
	defer os.Remove(file)
	if err := vm.Monitor(ctx, v.socket, "screendump "+file); err != nil {
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

// kernels are letters that the kernel (lib/fonts/font_8x16.c) draws in another way.
var kernels = map[rune]string{
	'0': "0000386cc6c6d6d6c6c66c3800000000", 'M': "0000c6eefefed6c6c6c6c6c600000000", 'T': "00007e7e5a1818181818183c00000000",
	'V': "0000c6c6c6c6c6c6c66c381000000000", 'W': "0000c6c6c6c6d6d6d6feee6c00000000", 'X': "0000c6c66c7c38387c6cc6c600000000",
	'Y': "0000666666663c181818183c00000000", 'Z': "0000fec6860c183060c2c6fe00000000", '`': "0030180c000000000000000000000000",
	'f': "00001c36323078303030307800000000", 'm': "0000000000ecfed6d6d6d6c600000000", 'v': "0000000000c6c6c6c6c66c3800000000",
	'w': "0000000000c6c6d6d6d6fe6c00000000", 'x': "0000000000c66c3838386cc600000000", '|': "00001818181818181818181800000000",
	'~': "0076dc00000000000000000000000000",
}

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
	for r, text := range kernels {
		var g glyph
		if n, err := hex.Decode(g[:], []byte(text)); err != nil || n != cellHeight {
			return nil, fmt.Errorf("the shape of %q: %d bytes, %w", r, n, err)
		}
		all[g] = r
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
