package eventlog

import (
	"fmt"
	"strings"
)

// State is a job state of RFC 21.
type State uint8

// The states in their order.
const (
	StateNew State = iota
	StateDepend
	StatePriority
	StateSched
	StateRun
	StateCleanup
	StateInactive
)

var stateNames = [...]string{"NEW", "DEPEND", "PRIORITY", "SCHED", "RUN", "CLEANUP", "INACTIVE"}

// String is the name Flux uses.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return "UNKNOWN"
}

// Faults of a job's events.
const (
	RuleNoEvents      Rule = "no-events"        // the log is empty
	RuleFirstEvent    Rule = "first-not-submit" // the first event is not submit
	RuleSubmitAgain   Rule = "submit-again"     // submit after the job left NEW
	RuleVersion       Rule = "version"          // submit has a version other than 1
	RuleEarlyFatal    Rule = "fatal-in-new"     // fatal exception before validate
	RuleOrder         Rule = "order"            // an event without the one that must precede it
	RuleAfterEnd      Rule = "after-clean"      // a state event behind clean
	RuleTimeBackwards Rule = "time-backwards"   // timestamp less than the one before
)

// Problem is one fault of one event of a replay.
type Problem struct {
	Rule  Rule
	Index int // in the entries given to the replay
	// Fatal: Flux refuses the whole log because of it (a job goes to
	// job-lost+found, the resource module does not load).
	Fatal  bool
	Detail string
}

// Job is the result of replaying a job's eventlog.
type Job struct {
	State     State
	UserID    uint32
	Urgency   int64
	Priority  int64 // -1: never set
	Flags     int64
	Submitted float64 // timestamp of submit, 0 if it is missing
	Last      float64 // greatest timestamp
	// Discarded: the job was never announced to the user (event invalidate).
	Discarded    bool
	HasResources bool // alloc without free
	Problems     []Problem
}

// Active reports whether Flux would take the job up again at a start.
func (j *Job) Active() bool { return j.State != StateInactive && !j.Discarded }

// Loadable reports whether Flux can replay the log.
func (j *Job) Loadable() bool {
	for i := range j.Problems {
		if j.Problems[i].Fatal {
			return false
		}
	}
	return true
}

// replay is the state of one job replay.
type replay struct {
	*Job
	i    int // current event
	seen map[string]bool
	old  bool // log of before 0.41.1: submit has no version, there is no validate
}

func (r *replay) problem(rule Rule, fatal bool, format string, args ...any) {
	if len(r.Problems) < MaxErrors {
		r.Problems = append(r.Problems, Problem{rule, r.i, fatal, fmt.Sprintf(format, args...)})
	}
}

// ReplayJob derives a job from its events the way the job manager does when it
// restarts, and judges their order. Events it does not know are allowed.
func ReplayJob(entries []Entry) *Job {
	r := &replay{Job: &Job{Priority: -1}, seen: map[string]bool{}}
	if len(entries) == 0 {
		r.problem(RuleNoEvents, true, "the log has no events")
	}
	for i := range entries {
		r.i = i
		e := &entries[i]
		if i == 0 && e.Name != "submit" {
			r.problem(RuleFirstEvent, true, "the first event is %q, not submit", e.Name)
		}
		if e.Timestamp < r.Last {
			r.problem(RuleTimeBackwards, false, "event %q is %.3f s before an earlier one", e.Name, r.Last-e.Timestamp)
		}
		r.Last = max(r.Last, e.Timestamp)
		r.order(e.Name)
		r.apply(e)
		r.seen[e.Name] = true
	}
	return r.Job
}

// precedes tells which events must stand before an event: one of each group.
var precedes = map[string][][]string{
	"validate": {{"submit"}},
	"depend":   {{"validate"}},
	"priority": {{"depend"}},
	"alloc":    {{"priority"}},
	"start":    {{"alloc"}},
	"finish":   {{"start", "exception"}},
	"release":  {{"alloc"}, {"finish", "exception"}},
	"free":     {{"alloc"}},
	"clean":    {{"finish", "exception"}},
}

// order reports an event whose predecessor is missing: the log lost events.
func (r *replay) order(name string) {
	if r.State == StateInactive && precedes[name] != nil && name != "free" {
		r.problem(RuleAfterEnd, false, "event %q after clean", name)
	}
	for _, group := range precedes[name] {
		found := false
		for _, p := range group {
			found = found || r.seen[p] || p == "validate" && r.old
		}
		if !found {
			r.problem(RuleOrder, false, "event %q without %s before it", name, strings.Join(group, " or "))
		}
	}
}

// apply is the transition of one event.
func (r *replay) apply(e *Entry) {
	switch e.Name {
	case "submit":
		r.submit(e)
	case "invalidate":
		r.Discarded = true
	case "validate":
		r.State = StateDepend
	case "depend":
		r.move(StateDepend, StatePriority)
	case "priority":
		r.priority(e)
	case "urgency":
		r.integer(e, "urgency", &r.Urgency)
		r.move(StateSched, StatePriority)
	case "jobspec-update", "flux-restart":
		r.move(StateSched, StatePriority)
	case "alloc":
		r.HasResources = true
		r.move(StateSched, StateRun)
	case "free":
		r.HasResources = false
	case "finish":
		r.move(StateRun, StateCleanup)
	case "exception":
		r.exception(e)
	case "clean":
		r.move(StateCleanup, StateInactive)
	}
}

func (r *replay) move(from, to State) {
	if r.State == from {
		r.State = to
	}
}

// integer takes one integer of the context.
func (r *replay) integer(e *Entry, key string, dst *int64) bool {
	v, ok := integer(e.members()[key])
	if !ok {
		r.problem(RuleContext, true, "event %q: context has no integer %q", e.Name, key)
		return false
	}
	*dst = v
	return true
}

func (r *replay) submit(e *Entry) {
	if r.State != StateNew {
		r.problem(RuleSubmitAgain, true, "submit in state %s", r.State)
		return
	}
	r.Submitted = e.Timestamp
	var uid int64
	if r.integer(e, "userid", &uid) {
		r.UserID = uint32(uid)
	}
	r.integer(e, "urgency", &r.Urgency)
	r.integer(e, "flags", &r.Flags)
	if r.i != 0 {
		return
	}
	v, has := e.members()["version"]
	if n, ok := integer(v); has && (!ok || n != 1 && n != -1) {
		r.problem(RuleVersion, true, "event log version %s", v)
	} else if !has || n == -1 {
		r.old, r.State = true, StateDepend
	}
}

func (r *replay) priority(e *Entry) {
	if r.State == StatePriority || r.State == StateSched {
		r.integer(e, "priority", &r.Priority)
	}
	r.move(StatePriority, StateSched)
}

func (r *replay) exception(e *Entry) {
	if r.State == StateInactive {
		return
	}
	if r.State == StateNew {
		if sev, ok := integer(e.members()["severity"]); ok && sev == 0 {
			r.problem(RuleEarlyFatal, false, "fatal exception in state NEW")
		}
		return
	}
	var severity int64
	if !r.integer(e, "severity", &severity) {
		return
	}
	kind, ok := str(e.members()["type"])
	if !ok {
		r.problem(RuleContext, true, "exception without a type")
		return
	}
	if severity != 0 {
		return
	}
	if kind == "scheduler-restart" {
		r.HasResources = false
	}
	r.State = StateCleanup
}
