package check

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Units keep a prefix of their numbers each and find again what they lost, in any order: the numbers end dense, and
// every unit's numbers ascend.
func TestNumbersStayDense(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		owners := rapid.SliceOfN(rapid.IntRange(0, 3), 0, 40).Draw(t, "owners") // of the numbers 1, 2, ...
		byUnit := make([][]int, 4)
		for i, u := range owners {
			byUnit[u] = append(byUnit[u], i+1)
		}
		var used, lost []int
		last := make([]int, 4)
		for u, all := range byUnit {
			kept := rapid.IntRange(0, len(all)).Draw(t, "kept")
			used = append(used, all[:kept]...)
			for range all[kept:] {
				lost = append(lost, u)
			}
			if kept > 0 {
				last[u] = all[kept-1]
			}
		}
		slices.Sort(used)
		n := newNumbers(used)
		if len(lost) > 0 {
			lost = rapid.Permutation(lost).Draw(t, "order")
		}
		for _, u := range lost {
			s := n.take(last[u])
			if s <= last[u] {
				t.Fatalf("unit %d got %d after %d", u, s, last[u])
			}
			last[u] = s
			used = append(used, s)
		}
		slices.Sort(used)
		for i, s := range used {
			if s != i+1 {
				t.Fatalf("numbers are %v", used)
			}
		}
		if next := n.take(1 << 40); next != len(used)+1 {
			t.Fatalf("the next number is %d after %d", next, len(used))
		}
	})
}
