package table

import (
	"fmt"
	"slices"
)

// maxCalled bounds the names of a peer that are told apart.
const maxCalled = 16

// called is what a peer was called: one address may have many names. The zero
// value is none.
type called struct {
	latest string
	all    []string
	more   bool // names did not fit
}

func (c *called) add(name string) {
	if name == "" {
		return
	}
	c.latest = name
	switch {
	case slices.Contains(c.all, name):
	case len(c.all) == maxCalled:
		c.more = true
	default:
		c.all = append(c.all, name)
	}
}

// text is "www.example.com +2": the latest name, and how many others there were.
func (c *called) text(g *signs) string {
	n := len(c.all) - 1
	switch {
	case n < 0:
		return ""
	case c.more:
		return fmt.Sprintf("%s +>%d", g.clean(c.latest), n)
	case n > 0:
		return fmt.Sprintf("%s +%d", g.clean(c.latest), n)
	}
	return g.clean(c.latest)
}

// cell gives up the middle of the name before the number.
func (c *called) cell(g *signs) cell {
	text := c.text(g)
	tail := text[len(g.clean(c.latest)):]
	return cell{text: text, short: func(w int) string { return g.cutMiddle(g.clean(c.latest), max(w-width(tail), 0)) + tail }}
}
