package devmapper

import "slices"

// trail is how to take back what one decision has added to a plan, when it turns out that it cannot be carried out or has to wait. The
// zero value is empty. A nil trail remembers nothing.
type trail struct {
	back    []func()
	targets []string // files of which records were changed
}

// note remembers how to take back one thing.
func (t *trail) note(back func()) {
	if t != nil {
		t.back = append(t.back, back)
	}
}

// touch remembers that a record of a file was changed.
func (t *trail) touch(target string) {
	if t != nil && !slices.Contains(t.targets, target) {
		t.targets = append(t.targets, target)
	}
}

// clear forgets: what was done stays.
func (t *trail) clear() { t.back, t.targets = t.back[:0], t.targets[:0] }

// undo takes everything back, the last first.
func (t *trail) undo() {
	for i := len(t.back) - 1; i >= 0; i-- {
		t.back[i]()
	}
	t.clear()
}

// leftError says why a decision is not carried out while the others of the plan are.
type leftError struct{ why string }

func (e *leftError) Error() string { return e.why }

func left(why string) error { return &leftError{why} }

// put sets a key of a map so that it can be taken back.
func put[K comparable, V any](t *trail, m map[K]V, k K, v V) {
	was, had := m[k]
	t.note(func() {
		if had {
			m[k] = was
		} else {
			delete(m, k)
		}
	})
	m[k] = v
}
