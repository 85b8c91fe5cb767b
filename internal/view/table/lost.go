package table

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/netfate/netfate/internal/record"
)

// maxLostKinds bounds the kinds of loss told apart; there are about twenty.
const maxLostKinds = 100

// maxLostLines bounds the kinds of loss that a table names.
const maxLostLines = 4

// lostSums adds up what netfate itself lost.
type lostSums struct {
	kinds []lostKind // in order of first appearance
}

type lostKind struct {
	place, reason, effect string
	count                 uint64
}

// add counts losses and returns the kinds that are new.
func (l *lostSums) add(lost []record.Lost) (fresh []lostKind) {
	for i := range lost {
		r := &lost[i]
		if r.Count == 0 {
			continue
		}
		at := slices.IndexFunc(l.kinds, func(k lostKind) bool { return k.place == r.Place && k.reason == r.Reason })
		if at < 0 && len(l.kinds) >= maxLostKinds {
			at = len(l.kinds) - 1 // the last kind takes the rest; the sum stays exact
			l.kinds[at].place, l.kinds[at].reason = "~other", "many"
		}
		if at < 0 {
			l.kinds = append(l.kinds, lostKind{place: r.Place, reason: r.Reason})
			at = len(l.kinds) - 1
			fresh = append(fresh, lostKind{r.Place, r.Reason, r.Effect, r.Count})
		}
		l.kinds[at].count += r.Count
		l.kinds[at].effect = r.Effect
	}
	return fresh
}

// lines says loudly what was lost, the most first.
func (l *lostSums) lines(o *Options) []string {
	kinds := slices.Clone(l.kinds)
	slices.SortStableFunc(kinds, func(a, b lostKind) int { return cmp.Compare(b.count, a.count) })
	g := o.signs()
	var out []string
	for i, k := range kinds {
		s := []string{"!! netfate lost " + k.what(&g), g.clean(k.effect)}
		if i == maxLostLines-1 && len(kinds) > maxLostLines {
			var rest uint64
			for _, k := range kinds[i:] {
				rest += k.count
			}
			s = []string{fmt.Sprintf("!! netfate lost %s more in %d other places", count(rest), len(kinds)-i), ""}
		}
		if s[1] == "" {
			s = s[:1]
		}
		for n, line := range g.pack("", s, ": ", o.Width) {
			if n > 0 {
				line = g.cut("   "+line, o.Width)
			}
			if o.Colour {
				line = "\x1b[1;31m" + line + "\x1b[0m"
			}
			out = append(out, line)
		}
		if i == maxLostLines-1 {
			break
		}
	}
	return out
}

// text is "12 at drop_ring (full): samples are missing".
func (k *lostKind) text(g *signs) string {
	s := k.what(g)
	if k.effect != "" {
		s += ": " + g.clean(k.effect)
	}
	return s
}

func (k *lostKind) what(g *signs) string {
	return fmt.Sprintf("%d at %s (%s)", k.count, g.clean(k.place), g.clean(k.reason))
}
