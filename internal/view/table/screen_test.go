package table

import (
	"bytes"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/record"
)

// terminal is just enough of one to hold Screen to what it promises.
type terminal struct {
	w, h      int
	cells     [][]rune
	x, y      int
	wrap, cur bool
	scrolled  int
}

func newTerminal(w, h int) *terminal {
	t := &terminal{w: w, h: h, wrap: true, cur: true, cells: make([][]rune, h)}
	return t
}

func (t *terminal) Write(p []byte) (int, error) {
	rs := []rune(string(p))
	for i := 0; i < len(rs); i++ {
		switch r := rs[i]; r {
		case '\r':
			t.x = 0
		case '\n':
			t.x = 0
			if t.y++; t.y == t.h {
				t.y--
				t.cells = append(t.cells[1:], nil)
				t.scrolled++
			}
		case '\x1b':
			j := i + 2
			for rs[j] < '@' {
				j++
			}
			t.control(string(rs[i+2:j]), rs[j])
			i = j
		default:
			for len(t.cells[t.y]) <= t.x {
				t.cells[t.y] = append(t.cells[t.y], ' ')
			}
			t.cells[t.y][t.x] = r
			if t.x < t.w-1 {
				t.x++
			}
		}
	}
	return len(p), nil
}

func (t *terminal) control(args string, final rune) {
	switch args + string(final) {
	case "H":
		t.x, t.y = 0, 0
	case "K":
		t.cells[t.y] = t.cells[t.y][:min(t.x, len(t.cells[t.y]))]
	case "J":
		t.control("", 'K')
		for y := t.y + 1; y < t.h; y++ {
			t.cells[y] = nil
		}
	case "?7l", "?7h":
		t.wrap = final == 'h'
	case "?25l", "?25h":
		t.cur = final == 'h'
	}
}

func (t *terminal) lines() []string {
	var out []string
	for _, l := range t.cells {
		out = append(out, strings.TrimRight(string(l), " "))
	}
	return out
}

func TestScreen(t *testing.T) {
	term := newTerminal(20, 5)
	if _, err := term.Write([]byte("$ netfate drops\n")); err != nil {
		t.Fatal(err)
	}
	s := NewScreen(term, func() (int, int) { return term.w, term.h })
	frames := [][]string{
		{"one", "two two", "three"},
		{"eins", "zwei"},
		{"1", "2", "3", "4", "5", "6"},
	}
	want := [][]string{
		{"one", "two two", "three", "", ""},
		{"eins", "zwei", "", "", ""},
		{"1", "2", "3", "4", ""},
	}
	scrolled := -1
	for i, f := range frames {
		if err := s.Draw(f); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want[i], term.lines()); d != "" {
			t.Errorf("frame %d (-want +got):\n%s", i, d)
		}
		if !term.cur || !term.wrap {
			t.Errorf("frame %d: cursor %t, wrapping %t between frames, want both on", i, term.cur, term.wrap)
		}
		if scrolled >= 0 && term.scrolled != scrolled {
			t.Errorf("frame %d scrolled the terminal", i)
		}
		scrolled = term.scrolled
	}
	if scrolled < 1 {
		t.Error("what was on the terminal is not in its scroll-back")
	}
}

// On a screen a table always shows its totals and its losses, whatever the
// height, and never more lines than there are.
func TestScreenTables(t *testing.T) {
	for h := 10; h < 40; h++ {
		for _, stack := range []bool{false, true} {
			term := newTerminal(80, h)
			o := Options{Screen: NewScreen(term, func() (int, int) { return term.w, term.h }), Unicode: true, Why: why, Stack: stack}
			var stdout bytes.Buffer
			v, err := NewDrops(&stdout, &stdout, o)
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range dropBatches() {
				if err := v.Batch(b); err != nil {
					t.Fatal(err)
				}
			}
			if err := v.Close(); err != nil {
				t.Fatal(err)
			}
			text := strings.Join(term.lines(), "\n")
			for _, want := range []string{"drops on web1", "!! netfate lost 1200", "since 03:00:00", "hidden: 15 packets"} {
				if !strings.Contains(text, want) {
					t.Errorf("height %d, stack %t: got no %q in\n%s", h, stack, want, text)
				}
			}
			if stdout.Len() > 0 {
				t.Errorf("height %d: got output beside the screen: %q", h, stdout.String())
			}
		}
	}
}

func TestWanted(t *testing.T) {
	for _, c := range []struct {
		terminal                bool
		env                     string
		colour, redraw, unicode bool
	}{
		{true, "TERM=xterm LANG=en_GB.UTF-8", true, true, true},
		{false, "TERM=xterm LANG=en_GB.UTF-8", false, false, true},
		{true, "TERM=xterm NO_COLOR=1 LANG=C", false, true, false},
		{true, "TERM=dumb LC_ALL=C LANG=C.utf8", false, false, false},
		{true, "LC_CTYPE=C.utf8 LANG=C", true, false, true},
	} {
		getenv := func(name string) string {
			for _, kv := range strings.Fields(c.env) {
				if v, ok := strings.CutPrefix(kv, name+"="); ok {
					return v
				}
			}
			return ""
		}
		if got := ColourWanted(c.terminal, getenv); got != c.colour {
			t.Errorf("%v: got colour %t, want %t", c, got, c.colour)
		}
		if got := RedrawWanted(c.terminal, getenv); got != c.redraw {
			t.Errorf("%v: got redraw %t, want %t", c, got, c.redraw)
		}
		if got := UnicodeWanted(getenv); got != c.unicode {
			t.Errorf("%v: got unicode %t, want %t", c, got, c.unicode)
		}
	}
}

func TestUnits(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0", 1: "1", 999: "999", 1000: "1.0k", 1234: "1.2k", 9999: "10.0k", 12345: "12.3k", 99949: "99.9k", 99950: "100k",
		123456: "123k", 999499: "999k", 999500: "1.0M", 1 << 63: "9.2E", 1<<64 - 1: "18.4E",
	} {
		if got := count(n); got != want {
			t.Errorf("count(%d): got %s, want %s", n, got, want)
		}
	}
	for _, c := range []struct {
		got, want string
	}{
		{size(512), "512 B"}, {size(3_400_000), "3.4 MB"}, {bitRate(1_540_000, 1e9), "12.3 Mbit/s"}, {bitRate(0, 1e9), "0 bit/s"},
		{bitRate(5, 0), "-"}, {perSecond(5, 0), "-"}, {perSecond(1, 1e11), "<0.1/s"}, {perSecond(33, 1e10), "3.3/s"},
		{perSecond(1, 1000_080_000), "1/s"}, {lasting(1000_080_000), "1 s"}, {lasting(999_999_999), "1 s"}, {lasting(1_250e6), "1.2 s"},
		{perSecond(0, 1e9), "0/s"}, {lasting(200e6), "0.2 s"}, {lasting(3e9), "3 s"}, {lasting(300e9), "5 min"},
		{lasting(3 * 3600e9), "3 h"}, {lasting(72 * 3600e9), "3 d"}, {lasting(-5), "0 s"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

func TestText(t *testing.T) {
	uni, ascii := (&Options{Unicode: true}).signs(), (&Options{}).signs()
	for _, c := range []struct {
		got, want string
	}{
		{uni.clean("naïve 日本"), "naïve 日本"},
		{ascii.clean("naïve\t日本\U0001f4a9"), `na\u00efve\x09\u65e5\u672c\U0001f4a9`},
		{uni.clean("\x00\x1b[2J\x7f\u009b\u202e\u200b\xc3"), `\x00\x1b[2J\x7f\u009b\u202e\u200b�`}, {ascii.clean("\xc3"), `\ufffd`},
		{uni.cutEnd("日本語です", 7), "日本語…"}, {uni.cutEnd("日本語です", 6), "日本…"}, {uni.cutEnd("abc", 3), "abc"},
		{uni.cutEnd("abc", 0), ""}, {uni.cutEnd("abc", 1), "a"}, {ascii.cutEnd("abcdef", 4), "ab.."},
		{uni.cutMiddle("udp_queue_rcv_one_skb", 12), "udp_que…_skb"}, {uni.cutMiddle("日本語日本語", 7), "日本…語"},
		{uni.cutMiddle("abcdef", 1), "a"}, {ascii.cutMiddle("abcdefghij", 7), "abc..ij"},
		{pad("日本", 6, true), "  日本"}, {pad("日本", 6, false), "日本  "}, {pad("abc", 2, false), "abc"},
		{strings.Join(uni.pack("  ", []string{"aaa", "bbb", "ccc", "ddd"}, ", ", 10), "|"), "  aaa, bbb|  ccc, ddd"},
		{strings.Join(uni.pack("  ", []string{"aaa", "bbb", "ccc", "ddd"}, ", ", 7), "|"), "  aaa|  bbb,…"},
		{strings.Join(uni.pack("", nil, ", ", 10), "|"), ""},
	} {
		if c.got != c.want {
			t.Errorf("got %s, want %s", strconv.Quote(c.got), strconv.Quote(c.want))
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add(evil, 12)
	f.Add("e\u0301\u0301\u0301日本語", 3)
	f.Fuzz(func(t *testing.T, s string, w int) {
		if w < 0 || w > 1000 {
			return
		}
		for _, g := range []signs{(&Options{Unicode: true}).signs(), (&Options{}).signs()} {
			c := g.clean(s)
			if !g.isClean(c) || g.clean(c) != c && utf8.RuneCountInString(c) <= maxText {
				t.Errorf("%q is not clean: %q", s, c)
			}
			for _, cut := range []string{g.cutEnd(c, w), g.cutMiddle(c, w)} {
				if width(cut) > w {
					t.Errorf("%q is wider than %d", cut, w)
				}
			}
		}
		_ = showDropsOnce(t, s, w)
	})
}

func showDropsOnce(t *testing.T, s string, w int) string {
	b := hostileBatch()
	d := &b.Drops[0]
	d.Comm, d.Reason, d.Location, d.IfName, d.Proto, d.Verdict = s, s, s, s, s, record.Verdict(s)
	out, _ := showDrops(t, Options{Width: w, Unicode: true}, b)
	checkWidth(t, "fuzz", out, w)
	return out
}
