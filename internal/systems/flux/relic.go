package flux

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"fettle/internal/format/treeobj"
)

// Relic is a store, however damaged, that is only asked what it still tells. It never writes to the store.
type Relic struct {
	u    *unit
	vf   *versionFinder
	root treeobj.Ref // the best tree that is left; zero if there is none
}

// OpenRelic reads everything that is readable of the database at path (with its -wal). work is a scratch directory, which
// is made if need be. An error means that the file could not be read at all, not that it is damaged.
func OpenRelic(ctx context.Context, path, work string) (*Relic, error) {
	u, err := openUnit(path, options{})
	if err != nil {
		return nil, err
	}
	if err := u.analyse(ctx, work, runtime.GOMAXPROCS(0)); err != nil {
		u.file.Close()
		return nil, fmt.Errorf("read what is left of %s: %w", path, err)
	}
	r := &Relic{u: u}
	if len(u.roots) > 0 {
		r.root = u.roots[0].ref
	}
	r.vf = newVersionFinder(u, r.root)
	return r, nil
}

// Close closes the file.
func (r *Relic) Close() error { return r.u.file.Close() }

// Evidence is what a store tells about the things that Flux must not forget.
type Evidence struct {
	Rows      int64     `json:"rows"`                // readable rows of the objects table
	Keys      int64     `json:"keys"`                // keys below the root
	Algorithm string    `json:"algorithm,omitempty"` // "sha1" or "sha256"; empty: nothing tells
	Root      string    `json:"root,omitempty"`      // the best root that is left
	RootFrom  string    `json:"root_from,omitempty"` // where it was found: "checkpt_v2 row 9"
	RootTime  time.Time `json:"root_time,omitzero"`  // of its checkpoint
	LastTime  time.Time `json:"last_time,omitzero"`  // of the newest checkpoint row, usable or not

	// DrainsKnown is false when the list of drained nodes may lack some: the keys that hold it are not whole, or the tree
	// that is left is older than the store was.
	DrainsKnown bool  `json:"drains_known"`
	State       State `json:"-"`
	// Active are the jobs that Flux had not finished, by the tree of Root; Lost counts job directories of which not even
	// the eventlog can be read.
	Active []Job `json:"active_jobs"`
	Lost   int   `json:"unreadable_jobs"`
}

// Evidence reads the whole store once.
func (r *Relic) Evidence(ctx context.Context) (*Evidence, error) {
	u := r.u
	ev := &Evidence{Rows: u.counts.Rows, Active: []Job{}, DrainsKnown: r.drainsWhole()}
	if u.reach != nil {
		ev.Keys = u.reach.counts.Keys
	}
	if u.counts.Rows > 0 || u.current() != nil {
		ev.Algorithm = u.algorithm().String()
	}
	if !r.root.IsZero() {
		ev.Root, ev.RootFrom, ev.RootTime = r.root.String(), u.roots[0].label(), u.roots[0].when()
	}
	for i := range u.checkpoints {
		if t := u.checkpoints[i].when(); t.After(ev.LastTime) {
			ev.LastTime = t
		}
	}
	if err := r.gather(ctx, &ev.State); err != nil {
		return nil, err
	}
	return ev, r.activeJobs(ctx, ev)
}

// drainsWhole tells whether both keys that hold the drained nodes can be read whole in the best tree that is left.
func (r *Relic) drainsWhole() bool {
	if r.root.IsZero() {
		return false
	}
	k := newKVS(r.u, r.root)
	_, log := k.value(keyResourceLog)
	_, state := k.value(keyResourceState)
	return log && state && r.u.opts.checkpoint == "" && r.u.current() != nil && r.u.current().ref == r.root
}

// Fresh tells whether the store was never used: its tables are as Flux makes them, it holds nothing, and nothing was ever in it.
func (r *Relic) Fresh() bool {
	u := r.u
	return u.counts.Rows == 0 && len(u.checkpoints) == 0 && u.lastSequence() == 0 && u.objectsRoot != 0 && len(u.problems) == 0 && len(u.faults) == 0
}

// Point is a state of the store that can be gone back to.
type Point struct {
	Label string    `json:"label"` // "checkpt_v2 row 7"
	Time  time.Time `json:"time,omitzero"`
}

// GoodCheckpoint is the newest checkpoint, other than the best tree that is left, whose whole tree is good; nil if there
// is none.
func (r *Relic) GoodCheckpoint(ctx context.Context) (*Point, error) {
	c, _, err := r.u.goodRollback(ctx, nil, r.root)
	if c == nil || err != nil {
		return nil, err
	}
	return &Point{Label: c.label(), Time: c.when()}, nil
}

// AlgorithmOf reads the content hash that the checkpoints of a store speak of: "sha1", "sha256", or "" when nothing tells.
// It reads little.
func AlgorithmOf(path string) (string, error) {
	u, err := openUnit(path, options{})
	if err != nil {
		return "", err
	}
	defer u.file.Close()
	if c := u.current(); c != nil {
		return c.ref.Alg().String(), nil
	}
	return "", nil
}
