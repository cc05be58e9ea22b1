package ext4edit

// Try makes several operations one: when fn fails, nothing of what was done in it stays. A Try may be a part of another one: what
// failed is taken back at once, and fn of the outer one may go on. fn's error comes back as it is: it may be about another target.
func (e *Edit) Try(fn func() error) error { return e.whole(fn) }
