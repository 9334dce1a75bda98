package vmlab

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"slices"
	"strings"
	"testing"
)

// What is written in the font is read again, in whatever colours, and a picture that is cut is none.
func TestText(t *testing.T) {
	all, err := font()
	if err != nil {
		t.Fatal(err)
	}
	shapes := map[rune]glyph{}
	for g, r := range all {
		shapes[r] = g
	}
	want := []string{"pc-01  room B204: Größe 100 %", "", "██░░ [W]"}
	img := image.NewRGBA(image.Rect(0, 0, 40*cellWidth, len(want)*cellHeight))
	inks := []color.RGBA{{255, 255, 255, 255}, {0, 0, 0, 255}, {85, 255, 85, 255}}
	papers := []color.RGBA{{0, 0, 170, 255}, {170, 170, 170, 255}, {0, 0, 0, 255}}
	for y, line := range want {
		for x := range 40 {
			g := shapes[' ']
			if text := []rune(line); x < len(text) {
				g = shapes[text[x]]
			}
			for row, bits := range g {
				for column := range cellWidth {
					c := papers[y]
					if bits&(0x80>>column) != 0 {
						c = inks[y]
					}
					img.SetRGBA(x*cellWidth+column, y*cellHeight+row, c)
				}
			}
		}
	}
	var ppm bytes.Buffer
	fmt.Fprintf(&ppm, "P6\n%d %d\n255\n", img.Rect.Dx(), img.Rect.Dy())
	for i := 0; i < len(img.Pix); i += 4 {
		ppm.Write(img.Pix[i : i+3])
	}
	back, err := readPPM(ppm.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	got, err := Text(back)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("read %q, want %q (%v)", strings.Join(got, "\n"), strings.Join(want, "\n"), err)
	}
	if n := Colours(back); n != 5 {
		t.Errorf("%d colours", n)
	}
	for _, bad := range [][]byte{nil, []byte("P6\n1 1\n65535\n"), ppm.Bytes()[:ppm.Len()-1]} {
		if _, err := readPPM(bad); err == nil {
			t.Errorf("a picture of %d bytes was read", len(bad))
		}
	}
}
