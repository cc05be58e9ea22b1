package fieldmatrix

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// recorder is a test that may fail.
type recorder struct {
	testing.TB
	said []string
}

func (r *recorder) Helper() {}
func (r *recorder) Errorf(format string, args ...any) {
	r.said = append(r.said, fmt.Sprintf(format, args...))
}

// A cell that nobody tells of and nobody excuses fails, and so does one with an error, whatever else came of it.
func TestJudge(t *testing.T) {
	var n Tally
	for _, c := range []struct {
		o       Outcome
		excused bool
		fails   int
	}{
		{Outcome{Found: []string{"x"}, Steps: 1}, false, 0},
		{Outcome{Refused: "x"}, false, 0},
		{Outcome{Unseen: true}, false, 0},
		{Outcome{}, true, 0},
		{Outcome{}, false, 1},
		{Outcome{Err: errors.New("x")}, true, 1},
		{Outcome{Found: []string{"x"}, Err: errors.New("x")}, false, 1},
	} {
		r := &recorder{TB: t}
		n.Cells++
		if got := n.Judge(r, "cell", c.o, func() bool { return c.excused }); len(r.said) != c.fails || got != (c.excused && c.fails == 0) {
			t.Errorf("%+v: %q, excused %v", c, r.said, got)
		}
	}
	if n != (Tally{Cells: 7, Found: 2, Refused: 1, Unseen: 1, Excused: 1, Repaired: 1}) {
		t.Errorf("%+v", n)
	}
}

// What a cell does to the program is an error of its outcome.
func TestGuard(t *testing.T) {
	var keep []byte
	for what, try := range map[string]func() Outcome{
		"panic":     func() Outcome { panic("at the disco") },
		"allocated": func() Outcome { keep = make([]byte, alloc+1); return Outcome{} },
	} {
		if o := Guard("cell", try); o.Err == nil || !strings.Contains(o.Err.Error(), what) {
			t.Errorf("%s: %v", what, o.Err)
		}
	}
	if o := Guard("cell", func() Outcome { return Outcome{Steps: 3} }); o.Err != nil || o.Steps != 3 {
		t.Errorf("%+v", o)
	}
	_ = keep
}
