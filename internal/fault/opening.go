package fault

import (
	"errors"
	"io/fs"
)

// Opening is the error of a place that could not be opened, told the same way by all systems: the path once, what is wrong with it, and what to
// try. belongs is a hint that says what should be there. An error that has hints of its own, or that is no failure of a file, comes
// back with nothing but what it lacks.
func Opening(path string, err error, belongs string) error {
	if err == nil || len(Hints(err)) > 0 {
		return err
	}
	out := &Error{Op: "open", Where: path, Err: err, Hint: belongs}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		out.Where, out.Err = pe.Path, pe.Err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		out.Hint = "check the path; " + belongs
	case errors.Is(err, fs.ErrPermission):
		out.Hint = "run as root or as the owner, or check a copy"
	}
	return out
}
