package check

import (
	"slices"
	"sort"
)

// numbers hands out sequence numbers. After a resume the numbers of dropped findings are handed out first, so that
// the run's numbers stay dense.
type numbers struct {
	free []gap // ascending
	next int   // the first number never used
	// disorder tells that the order of the lines in findings.jsonl is no longer that of their numbers, or that gaps
	// were left.
	disorder bool
}

// gap is the numbers from..to, both included.
type gap struct{ from, to int }

// newNumbers takes the numbers in use, in the order of the file.
func newNumbers(used []int) numbers {
	n := numbers{next: 1, disorder: !slices.IsSorted(used)}
	used = slices.Sorted(slices.Values(used))
	for _, s := range used {
		if s > n.next {
			n.free = append(n.free, gap{n.next, s - 1})
			n.disorder = true
		}
		n.next = max(n.next, s+1)
	}
	return n
}

// take returns the smallest number that is free and greater than after, which is the unit's last one: so a cause always
// has a smaller number than its effects. Every number that a unit lost is greater than those it kept, so if all units
// find again what they lost, no gap remains.
func (n *numbers) take(after int) int {
	i := sort.Search(len(n.free), func(i int) bool { return n.free[i].to > after })
	if i == len(n.free) {
		n.next++
		return n.next - 1
	}
	g := n.free[i]
	s := max(g.from, after+1)
	left := make([]gap, 0, 2)
	if g.from < s {
		left = append(left, gap{g.from, s - 1})
	}
	if s < g.to {
		left = append(left, gap{s + 1, g.to})
	}
	n.free = slices.Replace(n.free, i, i+1, left...)
	return s
}
