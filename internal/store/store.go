package store

import (
	"context"

	"fettle/internal/finding"
)

// System is one supported kind of storage. Implementations are listed in systems/systems.go; there is no registry.
type System interface {
	// Name is the prefix of its class ids and locations: "flux".
	Name() string
	// Title is one line for people: "Flux KVS content store (content.sqlite)".
	Title() string
	Classes() finding.Classes
	// Recognize tells by content whether path holds such a store. It reads little and never writes.
	Recognize(path string) (bool, error)
	// Open opens a store read-only. It must not create, lock or change anything.
	Open(ctx context.Context, loc Location, opts Options) (Store, error)
}

// Options are what the user may say about opening and checking a store. A system ignores what it has no use for.
type Options struct {
	// Settings are the system's own (--set key=value), e.g. checkpoint=7. An unknown key is an error of Open.
	Settings map[string]string
	// Skip lists key patterns of the system whose findings are not wanted ("job.*.guest.output").
	Skip []string
}

// Store is one opened store. Its units are checked independently of each other.
type Store interface {
	Units() []Unit
	Close() error
}

// Unit is what is checked independently of everything else: a content store, a thin pool, a file system.
type Unit interface {
	// ID names the unit in findings; it is stable between runs over the same place.
	ID() string
	// Targets are the places that a scan of this unit reads.
	Targets() []Target
	// Fingerprint changes whenever the unit has been written to. It is cheap (sizes, counters, times), not a content hash.
	Fingerprint(ctx context.Context) (string, error)
	// InUse says who has the unit open, "" if nobody can be seen to.
	InUse(ctx context.Context) (string, error)
	// Passes are run in order. A pass may rely on what the ones before it saved.
	Passes() []Pass
	// Confirm reads again the records that f rests on and tells whether it still holds.
	Confirm(ctx context.Context, f *finding.Finding) (bool, error)
}

// Fixed is implemented by units that may be of a kind that is checked but never repaired, like a backup. Where it says something a check
// that found damage says it too, and does not offer a plan. Plan and OpenWriter refuse on their own.
type Fixed interface {
	Fixed() string // which, why, and what to do instead, as the text of a note; "" if the unit can be repaired
}

// Target is one place: a file, an image, a rank's directory.
type Target struct {
	Name string `json:"name"` // short, unique in the unit
	Path string `json:"path"`
	Size int64  `json:"size"` // bytes
}

// Pass is one part of the check of a unit.
type Pass struct {
	Name  string // permanent: it is written into checkpoints
	Title string // what people see in the progress line
	Run   func(ctx context.Context, env Env) error
}

// Env is what the check engine lends to a running pass. Its methods may be called from several goroutines.
type Env interface {
	// Emit records a finding and returns its sequence number. Seq, Run, Unit, Type, Schema and Found are filled in; so are
	// Severity, Title, Actions and Suggested from its class when they are empty. In a unit that is in use the finding is
	// confirmed first: one that is already gone is dropped and its number is 0, which is allowed in CausedBy.
	Emit(f finding.Finding) (int, error)
	// Total announces how much there is to do in this pass, 0 for unknown. Work is counted in records and bytes.
	Total(records, bytes int64)
	// Did counts work done, waits as long as the rate limit asks, and returns an error when the pass has to stop.
	Did(ctx context.Context, records, bytes int64) error
	// Memory is the budget in bytes for the pass, Workers how many goroutines it should use.
	Memory() int64
	Workers() int
	// Scratch is a directory of the unit's own that lives until the check has finished; a resumed pass, and the passes
	// after it, find its files there again.
	Scratch() string
	// Due tells whether a checkpoint should be taken at the next safe point.
	Due() bool
	// Save makes state (any JSON value) the point from which this pass resumes. Findings emitted so far are part of it:
	// what is emitted after the last Save is dropped when the run is resumed.
	Save(state any) error
	// Load fills state with what was saved by this pass in an earlier life of the run, and tells whether there was anything.
	Load(state any) (bool, error)
	// Fact records something worth showing in the summary ("objects": 1398). Last value wins.
	Fact(name string, value any)
	// Note is a sentence for the person, shown with the verdict, e.g. that the newest checkpoint could not be used.
	Note(text string)
	// Unseen is a note that says what the pass could not look at (a part of the store that is not there, a target that is
	// missing). A unit of which something was not seen is never clean and never just damaged: it is incomplete.
	Unseen(text string)
}
