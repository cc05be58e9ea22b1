// Package say puts numbers and strange text into sentences for people: everywhere in the same way, and so that nothing a
// store contains can act on a terminal.
//
// It is pure text and imports nothing of this project. It must not know what the sentences are about.
package say

import "strconv"

// Count writes a number of things: "1 finding", "27 findings". The noun is one that takes an s.
func Count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}
