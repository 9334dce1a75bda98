// Package screen puts pages (package page) on the PC's own screen: the first virtual terminal of
// the kernel, in text, whatever driver is below. It knows nothing of what a page says.
//
// # Promises
//
//   - Nothing waits for the terminal: a page that cannot be written (Ctrl-S, Scroll Lock) is lost,
//     the next one takes its place.
//   - Nothing scrolls: a line is written in its place, and only when it changed; all of them every
//     few seconds, so that a line of the kernel does not stay.
//   - The font is doubled where the page still fits: photographs of it are taken.
//   - The kernel says nothing on a screen that shows pages, but for a panic or an oops, which it
//     shows whatever its level is.
//
// # Where lines go
//
// What the agent says in lines belongs to serial consoles. Where the only console is the screen
// itself, lines go to its second terminal (Alt-F2). Nobody comes to a prompt there.
package screen
