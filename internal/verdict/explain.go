package verdict

import (
	"fmt"
	"slices"
	"strings"
)

// Explain returns the entry of a reason. Case does not matter, and neither do
// the kernel's prefix SKB_DROP_REASON_ and the names of other releases. An
// unknown name is an error that gives the nearest ones.
func (b *Book) Explain(reason string) (Entry, error) {
	key := normalise(reason)
	if e := b.entries[key]; e != nil {
		return *e, nil
	}
	near := b.nearest(key)
	if len(near) == 0 {
		return Entry{}, fmt.Errorf("explain %s: no such drop reason; netfate explain lists them all", reason)
	}
	return Entry{}, fmt.Errorf("explain %s: no such drop reason; did you mean %s?", reason, strings.Join(near, ", "))
}

// Reasons returns the names of all entries, sorted, without their aliases. The
// slice is the caller's.
func (b *Book) Reasons() []string { return slices.Clone(b.names) }

// normalise brings a name to the form that entries are kept under.
func normalise(name string) string {
	name = strings.ToUpper(strings.TrimSpace(name))
	name = strings.NewReplacer("-", "_", " ", "_").Replace(name)
	name = strings.TrimPrefix(name, "SKB_DROP_REASON_")
	return strings.TrimPrefix(name, "SKB_")
}

// nearest returns at most three names close to key: those that contain it or
// whose words it shares, then those few letters away.
func (b *Book) nearest(key string) []string {
	type scored struct {
		name  string
		score int
	}
	if len(key) > 64 {
		key = key[:64]
	}
	var found []scored
	for name, e := range b.entries {
		d := distance(key, name)
		if len(key) >= 3 && strings.Contains(name, key) {
			d = 1
		}
		if limit := max(2, len(key)/3); d <= limit {
			found = append(found, scored{e.Reason, d})
		}
	}
	slices.SortFunc(found, func(x, y scored) int {
		if x.score != y.score {
			return x.score - y.score
		}
		return strings.Compare(x.name, y.name)
	})
	var names []string
	for _, f := range found {
		if !slices.Contains(names, f.name) && len(names) < 3 {
			names = append(names, f.name)
		}
	}
	return names
}

// distance is the number of letters to insert, remove or replace to turn a
// into b (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			above := row[j]
			row[j] = min(above+1, row[j-1]+1, diagonal+cost)
			diagonal = above
		}
	}
	return row[len(b)]
}

// Where returns the rule's conditions as words: the places, then the protocols,
// states, direction and group addressing that it asks for.
func (p *PlaceRule) Where() string {
	var parts []string
	if len(p.Places) > 0 {
		parts = append(parts, "at "+strings.Join(p.Places, ", "))
	}
	if protos := slices.DeleteFunc(slices.Clone(p.Protos), func(s string) bool { return s == "" }); len(protos) > 0 {
		parts = append(parts, "for "+strings.Join(protos, ", "))
	}
	if len(p.States) > 0 {
		parts = append(parts, "in state "+strings.Join(p.States, ", "))
	}
	if p.Direction != "" {
		parts = append(parts, "going "+string(p.Direction))
	}
	if p.Multicast != nil && *p.Multicast {
		parts = append(parts, "to a group or broadcast address")
	}
	return strings.Join(parts, "; ")
}
