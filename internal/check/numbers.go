package check

import "slices"

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

// take returns the next number to use.
func (n *numbers) take() int {
	if len(n.free) == 0 {
		n.next++
		return n.next - 1
	}
	g := &n.free[0]
	s := g.from
	if g.from++; g.from > g.to {
		n.free = n.free[1:]
	}
	return s
}
