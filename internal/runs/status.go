package runs

import (
	"errors"
	"io/fs"
	"time"
)

// State is where a run is in its life.
type State string

// The states. Interrupted is never written: it is what a run is whose file says running but whose process is gone.
const (
	Running     State = "running"
	Finished    State = "finished"
	Stopped     State = "stopped" // on request; can be resumed
	Failed      State = "failed"  // could not do its work; Status.Error says why
	Interrupted State = "interrupted"
)

// Progress is how far a check is. Numbers are sums over all passes that are running now.
type Progress struct {
	Unit  string `json:"unit,omitempty"`  // one of the units at work
	Pass  string `json:"pass,omitempty"`  // name of the pass of that unit
	Title string `json:"title,omitempty"` // the same for people

	PassNumber int `json:"pass_number,omitempty"` // of that pass, from 1
	Passes     int `json:"passes,omitempty"`      // that the unit has

	Records      int64 `json:"records"` // done in the running passes
	Bytes        int64 `json:"bytes"`
	TotalRecords int64 `json:"total_records"` // to do in the running passes; 0 if unknown
	TotalBytes   int64 `json:"total_bytes"`

	RecordsPerSecond float64 `json:"records_per_s"` // over the last seconds
	BytesPerSecond   float64 `json:"bytes_per_s"`
	ETA              float64 `json:"eta_s"` // seconds to the end of the running passes; -1 if unknown
	Elapsed          float64 `json:"elapsed_s"`

	Findings  int   `json:"findings"`
	Units     int   `json:"units"`
	UnitsDone int   `json:"units_done"`
	Rate      int64 `json:"rate"` // the limits in force; 0 for none
	RateBytes int64 `json:"rate_bytes"`
}

// Status is the state of a run as its process last wrote it.
type Status struct {
	Type   string `json:"type"` // always "status"
	Schema int    `json:"schema"`
	Run    string `json:"run"`
	State  State  `json:"state"`
	Error  string `json:"error,omitempty"` // of a failed run

	PID     int       `json:"pid"`
	Host    string    `json:"host"`
	Boot    string    `json:"boot,omitempty"`  // id of the boot that PID belongs to
	Start   uint64    `json:"start,omitempty"` // start of the process in clock ticks since that boot
	Began   time.Time `json:"began"`           // of this life of the run
	Updated time.Time `json:"updated"`

	Progress

	ByPass     []PassSummary  `json:"by_pass"`              // of all units
	Facts      map[string]any `json:"facts"`                // what the passes told so far, as in the summary
	Checkpoint *Checkpoint    `json:"checkpoint,omitempty"` // where the run would resume; absent before the first one
}

// Checkpoint is how far the run was when its last checkpoint was taken.
type Checkpoint struct {
	Saved  time.Time      `json:"saved"`
	ByPass []PassSummary  `json:"by_pass"`
	Facts  map[string]any `json:"facts"`
}

// statusEvery is how often status.json is written at most while the state stays the same.
const statusEvery = 500 * time.Millisecond

// WriteStatus replaces status.json. Type, Schema, Run, the process and the time are filled in. While the state stays the
// same, writes that come within 500 ms of the last one are left out, so callers need not count time.
func (r *Run) WriteStatus(st Status) error {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if st.State == r.lastSt && now.Sub(r.lastStat) < statusEvery {
		return nil
	}
	me := thisProcess()
	st.Type, st.Schema, st.Run = "status", Schema, r.id
	st.PID, st.Boot, st.Start, st.Host = me.pid, me.boot, me.start, hostname()
	st.Updated = now.UTC().Truncate(time.Millisecond)
	if st.ByPass == nil { // readers expect a list and an object
		st.ByPass = []PassSummary{}
	}
	if st.Facts == nil {
		st.Facts = map[string]any{}
	}
	// Progress need not survive power loss, the end of a run should.
	if err := r.writeJSON(StatusFile, st, st.State != Running); err != nil {
		return err
	}
	r.lastSt, r.lastStat = st.State, now
	return nil
}

// Status reads status.json. A run that says it is running although its process is gone is Interrupted; so is a run
// without a status.json. Of a run on another host nothing can be told but what is written.
func (r *Run) Status() (Status, error) {
	st, err := r.statusFile()
	if err != nil || !r.abandoned(st) {
		return st, err
	}
	// Its process may have written its last word and ended since the file was read.
	if st, err = r.statusFile(); err == nil && r.abandoned(st) {
		st.State = Interrupted
	}
	return st, err
}

// statusFile is what status.json says.
func (r *Run) statusFile() (Status, error) {
	var st Status
	err := r.ReadJSON(StatusFile, &st)
	if errors.Is(err, fs.ErrNotExist) {
		return Status{Type: "status", Schema: Schema, Run: r.id, State: Interrupted}, nil
	}
	return st, err
}

// abandoned tells whether a run is said to be running although nobody works on it.
func (r *Run) abandoned(st Status) bool {
	return st.State == Running && st.Host == hostname() && !alive(process{st.PID, st.Boot, st.Start}) && !r.locked()
}

// Resumable tells whether the run ended before its work was done.
func (s Status) Resumable() bool {
	return s.State == Stopped || s.State == Interrupted || s.State == Failed
}
