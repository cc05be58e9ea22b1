package treeobj

// CheckJSON tells whether Flux's JSON reader accepts a text: one object or
// array, nothing behind it, valid UTF-8, numbers in range, nesting up to
// MaxDepth. It is nil if so. allowNUL lets \u0000 pass in strings, as Flux does
// for event logs only.
func CheckJSON(b []byte, allowNUL bool) *InvalidError {
	s := Scanner{b: b, allowNUL: allowNUL}
	if len(b) > MaxSize {
		return &InvalidError{Rule: RuleSize, Detail: "text longer than 1 GiB"}
	}
	var f frame
	i := s.ws(0)
	if c := s.at(i); c != '{' && c != '[' {
		s.broken(i, "text starts neither with '{' nor with '['")
	} else if end, ok := s.value(i, 1, &f); ok {
		if j := s.ws(end); j != len(b) {
			s.broken(j, "text goes on after the value")
		}
	}
	for _, x := range []fault{s.last, s.brk} {
		if x.rule != RuleNone {
			return &InvalidError{Rule: x.rule, Offset: x.off, Detail: x.why}
		}
	}
	return nil
}
