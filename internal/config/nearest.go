package config

import "strings"

// Nearest is the candidate that word was most likely meant to be, or "" when
// none is close: at most a third of the letters wrong (at least two), where a
// swapped pair counts once, or one the beginning of the other.
func Nearest(word string, candidates []string) string {
	word = strings.ToLower(word)
	best, distance := "", max(2, len(word)/3)+1
	for _, c := range candidates {
		d := edits(word, strings.ToLower(c))
		if d >= distance && len(word) >= 3 && strings.HasPrefix(strings.ToLower(c), word) {
			d = distance - 1
		}
		if d < distance {
			best, distance = c, d
		}
	}
	return best
}

// edits is the number of letters to insert, take out, change or swap with
// their neighbour to make b of a.
func edits(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
