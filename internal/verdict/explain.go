package verdict

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/netfate/netfate/internal/language"
	"github.com/netfate/netfate/internal/nearest"
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

// nearest returns at most three names close to key, also by other names that they
// have.
func (b *Book) nearest(key string) []string {
	var names []string
	for _, near := range nearest.Of(key, slices.Collect(maps.Keys(b.entries)), len(b.entries)) {
		if name := b.entries[near].Reason; !slices.Contains(names, name) && len(names) < 3 {
			names = append(names, name)
		}
	}
	return names
}

// Where returns the rule's conditions as words of l: the places, then the protocols,
// states, direction and group addressing that it asks for.
func (p *PlaceRule) Where(l language.Language) string {
	words := whereWords(l)
	var parts []string
	if len(p.Places) > 0 {
		parts = append(parts, words.at+strings.Join(p.Places, words.comma))
	}
	if protos := slices.DeleteFunc(slices.Clone(p.Protos), func(s string) bool { return s == "" }); len(protos) > 0 {
		parts = append(parts, words.protos+strings.Join(protos, words.comma))
	}
	if len(p.States) > 0 {
		parts = append(parts, words.state+strings.Join(p.States, words.comma))
	}
	if p.Direction != "" {
		parts = append(parts, words.going+string(p.Direction))
	}
	if p.Multicast != nil && *p.Multicast {
		parts = append(parts, words.group)
	}
	return strings.Join(parts, words.semicolon)
}
