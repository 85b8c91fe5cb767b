package table

import (
	"fmt"
	"io"
	"strings"
)

// Screen redraws a block of lines in place on a terminal. It keeps to plain
// ECMA-48, leaves what was on the terminal in its scroll-back, and leaves no
// mode switched on between frames, so that a process that dies leaves a sane
// terminal. It is for one goroutine.
type Screen struct {
	w     io.Writer
	size  func() (width, height int)
	begun bool
}

// NewScreen returns a Screen on w, a terminal. size tells the terminal's
// columns and lines and is asked before each frame; zeroes mean 80 and 24.
func NewScreen(w io.Writer, size func() (width, height int)) *Screen {
	return &Screen{w: w, size: func() (int, int) {
		width, height := size()
		if width <= 0 {
			width = 80
		}
		if height <= 0 {
			height = 24
		}
		return width, height
	}}
}

// Draw shows lines from the top of the terminal, in one write, and erases
// what was there. Lines beyond the height are left out; one line stays free
// for the cursor. Lines must fit the width; should the terminal think
// otherwise of some letter's width, it cuts the line and does not wrap it.
func (s *Screen) Draw(lines []string) error {
	_, height := s.size()
	if len(lines) > height-1 {
		lines = lines[:max(height-1, 0)]
	}
	var b strings.Builder
	b.WriteString("\x1b[?25l") // cursor off, while it moves
	if !s.begun {
		b.WriteString(strings.Repeat("\n", height))
		s.begun = true
	}
	b.WriteString("\x1b[?7l\x1b[H") // no wrapping; home
	for _, line := range lines {
		b.WriteString(line)
		b.WriteString("\x1b[K\r\n")
	}
	b.WriteString("\x1b[J\x1b[?7h\x1b[?25h")
	if _, err := io.WriteString(s.w, b.String()); err != nil {
		return fmt.Errorf("draw screen: %w", err)
	}
	return nil
}

// ColourWanted reports whether output should be coloured: to a terminal that
// is not dumb, unless NO_COLOR is set (https://no-color.org).
func ColourWanted(terminal bool, getenv func(string) string) bool {
	return terminal && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"
}

// RedrawWanted reports whether a table can be redrawn in place.
func RedrawWanted(terminal bool, getenv func(string) string) bool {
	return terminal && getenv("TERM") != "dumb" && getenv("TERM") != ""
}

// UnicodeWanted reports whether the locale is a UTF-8 one.
func UnicodeWanted(getenv func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := getenv(name); v != "" {
			v = strings.ToLower(v)
			return strings.Contains(v, "utf-8") || strings.Contains(v, "utf8")
		}
	}
	return false
}

// paint is the colour of a verdict, as SGR parameters.
func paint(rank int) string {
	// loss, resource, refused, policy, invalid, benign
	return [...]string{"1;31", "31", "33", "33", "35", "2"}[rank]
}
