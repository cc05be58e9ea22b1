package ext4edit

// Try makes several operations one: when fn fails, nothing of what was done in it stays. An operation that fails within it may leave
// parts of itself behind until then, so fn must return its error, which comes back as it is: it may be about another target.
func (e *Edit) Try(fn func() error) error { return e.whole(fn) }
