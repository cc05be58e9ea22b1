package thinbuild

// bulk loads a btree from entries that come in order, level by level, holding two nodes' worth of entries per level. E is an
// entry of a leaf, N a node that was written.
//
// A node is written only when as many entries are left for the next one: so the last two can share what is left, and no node
// but a root is less than half full.
type bulk[E, N any] struct {
	maxLeaf, maxBranch int
	leaf               func([]E) (N, error)
	branch             func([]N) (N, error)

	entries []E
	levels  [][]N // nodes that have no parent yet; levels[0] are leaves
}

// add takes the next entry.
func (l *bulk[E, N]) add(e E) error {
	l.entries = append(l.entries, e)
	if len(l.entries) < 2*l.maxLeaf {
		return nil
	}
	n, err := l.leaf(l.entries[:l.maxLeaf])
	if err != nil {
		return err
	}
	l.entries = l.entries[:copy(l.entries, l.entries[l.maxLeaf:])]
	return l.push(0, n)
}

// push gives a node of that level a place below the next one.
func (l *bulk[E, N]) push(level int, n N) error {
	if level == len(l.levels) {
		l.levels = append(l.levels, nil)
	}
	l.levels[level] = append(l.levels[level], n)
	if len(l.levels[level]) < 2*l.maxBranch {
		return nil
	}
	parent, err := l.branch(l.levels[level][:l.maxBranch])
	if err != nil {
		return err
	}
	l.levels[level] = l.levels[level][:copy(l.levels[level], l.levels[level][l.maxBranch:])]
	return l.push(level+1, parent)
}

// finish writes what is left and returns the root. Without entries the root is an empty leaf.
func (l *bulk[E, N]) finish() (root N, err error) {
	for _, part := range halves(l.entries, l.maxLeaf) {
		n, err := l.leaf(part)
		if err != nil {
			return root, err
		}
		if err := l.push(0, n); err != nil {
			return root, err
		}
	}
	for level := 0; ; level++ {
		nodes := l.levels[level]
		if len(nodes) == 1 && level == len(l.levels)-1 {
			return nodes[0], nil
		}
		for _, part := range halves(nodes, l.maxBranch) {
			n, err := l.branch(part)
			if err != nil {
				return root, err
			}
			if err := l.push(level+1, n); err != nil {
				return root, err
			}
		}
		l.levels[level] = nil
	}
}

// halves splits a list in as few parts of about the same size as respect max: one part at least, even when it is empty.
func halves[T any](list []T, max int) [][]T {
	k := (len(list) + max - 1) / max
	if k < 1 {
		k = 1
	}
	parts := make([][]T, 0, k)
	for i := range k {
		parts = append(parts, list[len(list)*i/k:len(list)*(i+1)/k])
	}
	return parts
}
