package lustre

import "fmt"

// Problem is one thing that is wrong inside an encoded value whose other parts could still be read.
type Problem struct {
	// Code is a short permanent word for the kind of problem, such as "bad-magic".
	Code string
	// Offset is where in the value it is, in bytes from its begin.
	Offset int
	// Detail says what was found and what was expected.
	Detail string
}

// String gives the problem in one line.
func (p Problem) String() string {
	return fmt.Sprintf("%s at byte %d: %s", p.Code, p.Offset, p.Detail)
}

// problems collects what a decoder meets, at most maxProblems of them: hostile input may hold one per byte.
type problems []Problem

const maxProblems = 100

func (ps *problems) add(code string, offset int, format string, args ...any) {
	if len(*ps) < maxProblems {
		*ps = append(*ps, Problem{Code: code, Offset: offset, Detail: fmt.Sprintf(format, args...)})
	}
}
