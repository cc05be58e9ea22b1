package fault

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"
)

// A path is told once, and there is always something to try.
func TestOpening(t *testing.T) {
	for name, c := range map[string]struct {
		err        error
		text, hint string
	}{
		"not there":  {fmt.Errorf("open ext4: %w", &fs.PathError{Op: "open", Path: "/p", Err: fs.ErrNotExist}), "open /p: file does not exist", "check the path; give X"},
		"permission": {&fs.PathError{Op: "stat", Path: "/p", Err: fs.ErrPermission}, "open /p: permission denied", "run as root or as the owner, or check a copy"},
		"beside it":  {&fs.PathError{Op: "open", Path: "/p-wal", Err: errors.New("a directory")}, "open /p-wal: a directory", "give X"},
		"content":    {errors.New("no magic"), "open /p: no magic", "give X"},
		"has a hint": {&Error{Op: "look at", Where: "q", Err: errors.New("odd"), Hint: "own"}, "look at q: odd", "own"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Opening("/p", c.err, "give X")
			if hints := Hints(err); err.Error() != c.text || len(hints) != 1 || hints[0] != c.hint {
				t.Errorf("%q, hints %q", err, hints)
			}
		})
	}
	if Opening("/p", nil, "x") != nil {
		t.Error("no error became one")
	}
}
