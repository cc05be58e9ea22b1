// Package fieldmatrix is what the field matrices of the systems have in common, for tests only. A field matrix changes every field of
// every kind of record that a check reads, in every way; a cell is one field and one way. Each cell must give a finding or a refusal, make
// the verdict say what was not looked at, or be excused in writing; and none may panic, hang, or take more memory than its input justifies.
//
// Job: run what tries a cell within these bounds, and judge what came of it. What the fields are, how they are changed, and what
// excuses a cell is known to the system.
package fieldmatrix

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// Variable is set in the environment of a test run to ask for every cell, not a sample: minutes for each system.
const Variable = "FETTLE_FIELD_MATRIX"

// Limit is how long a small store may take to be checked, planned for and repaired, which takes milliseconds: longer is a hang.
const Limit = 60 * time.Second

// alloc is how many bytes all cells that are tried at the same time may allocate, one after the other.
const alloc = 512 << 20

// Full tells whether every cell was asked for.
func Full() bool { return os.Getenv(Variable) != "" }

// Outcome is what came of a cell.
type Outcome struct {
	Found   []string // what was found that the healthy store does not have
	Refused string   // why the store was not opened, "" if it was
	Unseen  bool     // the verdict says that something was not looked at
	Steps   int      // of a repair that was applied and undone
	Err     error    // what is wrong with the program
}

// Guard tries a cell. A panic and the use of much memory become the error of the outcome; a hang ends the tests.
func Guard(cell string, try func() Outcome) Outcome {
	done := make(chan Outcome, 1)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	go func() {
		o := Outcome{Err: errors.New("the test ended early")}
		defer func() {
			if v := recover(); v != nil {
				buf := make([]byte, 16<<10)
				o.Err = fmt.Errorf("panic: %v\n%s", v, buf[:runtime.Stack(buf, false)])
			}
			done <- o
		}()
		o = try()
	}()
	select {
	case o := <-done:
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > alloc {
			o.Err = errors.Join(o.Err, fmt.Errorf("%d MiB were allocated", n>>20))
		}
		return o
	case <-time.After(Limit):
		panic(cell + " does not end")
	}
}

// Tally counts cells by what came of them.
type Tally struct{ Cells, Same, Found, Refused, Unseen, Excused, Repaired int }

// Judge counts an outcome, and fails the test when it has an error, or when the cell is silent and excused gives no reason. cell says
// which one it is. It tells whether the cell was excused.
func (n *Tally) Judge(t testing.TB, cell string, o Outcome, excused func() bool) bool {
	t.Helper()
	if o.Err != nil {
		t.Errorf("%s: %v", cell, o.Err)
	}
	if o.Steps > 0 {
		n.Repaired++
	}
	switch {
	case len(o.Found) > 0:
		n.Found++
	case o.Refused != "":
		n.Refused++
	case o.Unseen:
		n.Unseen++
	case o.Err != nil:
	case excused():
		n.Excused++
		return true
	default:
		t.Errorf("%s: no finding, and nobody says that it is harmless", cell)
	}
	return false
}

func (n *Tally) String() string {
	return fmt.Sprintf("%d cells: %d change nothing, %d give a finding, %d are refused, %d make the verdict incomplete, %d are harmless; %d were repaired and undone",
		n.Cells, n.Same, n.Found, n.Refused, n.Unseen, n.Excused, n.Repaired)
}

// OneOf tells whether a word is in a list of words, or the list is empty: that is all.
func OneOf(list, word string) bool { return list == "" || slices.Contains(strings.Fields(list), word) }
