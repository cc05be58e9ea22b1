package runs

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"fettle/internal/fault"
)

// Control is what the process of a run is asked to do while it runs.
type Control struct {
	Stop      bool   `json:"stop,omitempty"`
	Rate      *int64 `json:"rate,omitempty"`       // records per second; 0 lifts the limit; null leaves it
	RateBytes *int64 `json:"rate_bytes,omitempty"` // bytes per second
}

// Request adds c to what is asked of the running process, which looks every 200 ms. Requests made earlier stay, unless c
// says otherwise about the same thing.
func (r *Run) Request(c Control) error {
	return r.ask(func(have *Control) {
		have.Stop = have.Stop || c.Stop
		if c.Rate != nil {
			have.Rate = c.Rate
		}
		if c.RateBytes != nil {
			have.RateBytes = c.RateBytes
		}
	})
}

// ask changes what is asked of the process. Two who ask at the same time do not lose each other's word.
func (r *Run) ask(change func(*Control)) error {
	d, err := os.Open(r.path)
	if err != nil {
		return &fault.Error{Op: "request", Where: r.path, Err: err}
	}
	defer d.Close()
	if err := flock(d, syscall.LOCK_EX); err != nil {
		return &fault.Error{Op: "request", Where: r.path, Err: err}
	}
	have, err := r.Control()
	if err != nil {
		have = Control{} // unreadable requests are replaced
	}
	change(&have)
	return r.writeJSON(ControlFile, have, false)
}

// Control reads what is asked of the running process; the zero Control if nothing is.
func (r *Run) Control() (Control, error) {
	var c Control
	err := r.ReadJSON(ControlFile, &c)
	if errors.Is(err, fs.ErrNotExist) {
		return Control{}, nil
	}
	return c, err
}

// ClearStop forgets that the run was asked to stop. The process of a run does so when it starts: that was meant for its
// predecessor. Limits stay: who slowed a check down does not want it to be fast again because it was killed.
func (r *Run) ClearStop() error {
	c, err := r.Control()
	if err == nil && !c.Stop {
		return nil
	}
	return r.ask(func(have *Control) { have.Stop = false })
}
