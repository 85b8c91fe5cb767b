package nearest

import (
	"slices"
	"strings"
	"testing"
)

func TestOf(t *testing.T) {
	words := []string{"listen", "token_file", "hosts", "rate", "burst", "listen"}
	for word, want := range map[string][]string{
		"lisen": {"listen"}, "host": {"hosts"}, "file": {"token_file"}, "rat": {"rate"}, "zzzzzz": nil,
		strings.Repeat("x", 1<<20): nil,
	} {
		if got := Of(word, words, 2); !slices.Equal(got, want) {
			t.Errorf("%.20s: got %q, want %q", word, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "abc", 0}, {"kitten", "sitting", 3}, {"abc", "acb", 2}} {
		if got := Distance(c.a, c.b); got != c.want {
			t.Errorf("%q to %q: got %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
