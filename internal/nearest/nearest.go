// Package nearest finds what somebody may have meant by a word that is none.
package nearest

import (
	"slices"
	"strings"
)

// longest bounds what is compared: nobody mistypes a word of more letters.
const longest = 64

// Of returns at most n of the words that are close to one, the closest first: those
// that contain it, then those that few letters make of it.
func Of(word string, words []string, n int) []string {
	type scored struct {
		word  string
		score int
	}
	var found []scored
	for _, w := range words {
		d := Distance(word, w)
		if len(word) >= 3 && strings.Contains(w, word) {
			d = 1
		}
		if d <= max(2, min(len(word), longest)/3) {
			found = append(found, scored{w, d})
		}
	}
	slices.SortFunc(found, func(a, b scored) int {
		if a.score != b.score {
			return a.score - b.score
		}
		return strings.Compare(a.word, b.word)
	})
	var near []string
	for _, f := range found {
		if len(near) < n && !slices.Contains(near, f.word) {
			near = append(near, f.word)
		}
	}
	return near
}

// Distance is the number of letters to insert, remove or replace to turn a into b
// (Levenshtein); of words too long to compare it is longer than any that is.
func Distance(a, b string) int {
	if len(a) > longest || len(b) > longest {
		return longest + 1
	}
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
