package flux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"fettle/internal/format/fluid"
	"fettle/internal/format/fluxdump"
	"fettle/internal/format/kvscheckpoint"
	"fettle/internal/format/sqliteedit"
	"fettle/internal/format/treeobj"
)

// NewStore says what a new database is made of.
type NewStore struct {
	Algorithm string    // "sha1" or "sha256": what the instance uses (content.hash)
	Now       time.Time // of the checkpoint, and of checkpoint.resource where it is written anew
	// Dump is an archive to take every key from; nil makes a store that holds nothing but the state.
	Dump io.Reader
	// State is what is known besides the dump. What the dump tells is added to it.
	State *State
}

// NewStoreCounts says what became of a dump.
type NewStoreCounts struct {
	Keys int `json:"keys"`
	// Clashes counts values whose key is that of a directory too: they are kept beside it as KEY~value.
	Clashes int `json:"clashes"`
}

// Write makes the database at path, which must not exist, with one checkpoint, as flux restore would: but for either hash
// type, without a limit on the size of values, and with the drained nodes and the job ids of everything that is known. It
// is written to disk when Write returns; after an error there is no file.
func (n NewStore) Write(ctx context.Context, path string) (counts NewStoreCounts, err error) {
	alg, err := treeobj.ParseAlg(n.Algorithm)
	if err != nil {
		return counts, fmt.Errorf("new store: %w", err)
	}
	if n.State == nil {
		n.State = &State{}
	}
	err = sqliteedit.Build(ctx, path, sqliteedit.BuildOptions{PageSize: 4096, WAL: true, Check: true}, func(db *sqliteedit.DB) error {
		for _, sql := range []string{sqlObjects, sqlCheckpoint} {
			if err := db.Exec(sql); err != nil {
				return err
			}
		}
		b := &storeBuilder{ctx: ctx, db: db, alg: alg, top: &newDir{}, n: &n}
		if n.Dump != nil {
			if err := b.fill(); err != nil {
				return err
			}
		}
		counts = b.counts
		return b.finish()
	})
	if err != nil {
		return counts, fmt.Errorf("new store: %w", err)
	}
	return counts, nil
}

// newDir is a directory of the new tree: names to directories or to serialized tree objects.
type newDir struct {
	sub  map[string]*newDir
	leaf map[string][]byte
}

type storeBuilder struct {
	ctx    context.Context
	db     *sqliteedit.DB
	alg    treeobj.Alg
	top    *newDir
	n      *NewStore
	counts NewStoreCounts
}

// blob inserts content in the form that Flux would give it.
func (b *storeBuilder) blob(content []byte) (treeobj.Ref, error) {
	ref := treeobj.Hash(b.alg, content)
	row := newRow(content, 1, true)
	err := b.db.Exec("INSERT OR IGNORE INTO objects(hash, size, object, epoch) VALUES(?, ?, ?, ?)", string(ref.Sum()), *row.Size, []byte(row.Object), *row.Epoch)
	return ref, err
}

// value makes a val or valref of content.
func (b *storeBuilder) value(content []byte) ([]byte, error) {
	if len(content) <= treeobj.InlineLimit {
		return treeobj.NewVal(content), nil
	}
	ref, err := b.blob(content)
	if err != nil {
		return nil, err
	}
	return treeobj.NewValref(ref)
}

// maxNewDepth bounds the directories of a dump below each other.
const maxNewDepth = 500

// fill takes every key of the dump.
func (b *storeBuilder) fill() error {
	r, err := fluxdump.NewReader(b.n.Dump, 0)
	if err != nil {
		return err
	}
	for {
		if err := b.ctx.Err(); err != nil {
			return err
		}
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		// flux restore makes dots of slashes, so that a dot within a name divides it as well.
		path := treeobj.SplitKey(treeobj.JoinKey(e.Path))
		if len(path) == 0 || len(path) > maxNewDepth {
			continue
		}
		raw, err := b.entry(e, r, path)
		if err != nil {
			return fmt.Errorf("%s: %w", e.Name, err)
		}
		b.put(path, raw)
	}
}

// addJob takes the job id that a key tells.
func (b *storeBuilder) addJob(path []string) {
	if k, ok := fluid.FromPath(path); ok && k.Complete {
		b.n.State.AddJob(k.ID)
	}
}

func (b *storeBuilder) entry(e *fluxdump.Entry, r io.Reader, path []string) ([]byte, error) {
	b.addJob(path)
	if e.Symlink {
		return treeobj.NewSymlink(e.Target, e.NS, e.HasNS)
	}
	if e.Size > maxContent {
		return nil, fmt.Errorf("a value of %d bytes; Flux stores at most %d in one blob", e.Size, maxContent)
	}
	content, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	switch treeobj.JoinKey(path) {
	case keyJobManager:
		b.n.State.AddJobManager(content)
	case keyResourceState:
		b.n.State.AddResource(content)
	case keyResourceLog:
		b.n.State.AddLog(content)
	}
	return b.value(content)
}

// put sets a key. The last of equal keys counts, as in an archive.
func (b *storeBuilder) put(path []string, raw []byte) {
	d := b.top
	for _, name := range path[:len(path)-1] {
		if d.sub == nil {
			d.sub = map[string]*newDir{}
		}
		if d.sub[name] == nil {
			d.sub[name] = &newDir{}
		}
		d = d.sub[name]
	}
	if d.leaf == nil {
		d.leaf = map[string][]byte{}
	}
	d.leaf[path[len(path)-1]] = raw
	b.counts.Keys++
}

// finish adds the state, writes the directories bottom-up, and the checkpoint.
func (b *storeBuilder) finish() error {
	if err := b.putState(); err != nil {
		return err
	}
	root, err := b.seal(b.top)
	if err != nil {
		return err
	}
	v := kvscheckpoint.Checkpoint{Version: 1, Rootref: root, HasSequence: true, Timestamp: unixSeconds(b.n.Now), HasTimestamp: true}
	text, err := v.Encode()
	if err != nil {
		return err
	}
	return b.db.Exec("INSERT INTO checkpt_v2(value) VALUES(?)", string(text))
}

// putState writes the keys that Flux goes on from, with what the dump and everything else tell.
func (b *storeBuilder) putState() error {
	now := unixSeconds(b.n.Now)
	s := b.n.State
	value, err := s.resource(now)
	if err != nil {
		return err
	}
	for key, content := range map[string][]byte{keyResourceState: value, keyJobManager: s.jobManager()} {
		raw, err := b.value(content)
		if err != nil {
			return err
		}
		b.put(treeobj.SplitKey(key), raw)
	}
	path := treeobj.SplitKey(keyResourceLog)
	if d := b.top.sub[path[0]]; d == nil || d.leaf[path[1]] == nil {
		b.put(path, treeobj.NewVal(nil))
	}
	return nil
}

func (b *storeBuilder) seal(d *newDir) (treeobj.Ref, error) {
	dir := &treeobj.Dir{}
	for name, sub := range d.sub {
		ref, err := b.seal(sub)
		if err != nil {
			return ref, err
		}
		raw, err := treeobj.NewDirref(ref)
		if err != nil {
			return ref, err
		}
		if err := dir.Set(name, raw); err != nil {
			return ref, fmt.Errorf("directory entry %q: %w", name, err)
		}
	}
	for name, raw := range d.leaf {
		if _, taken := dir.Get(name); taken {
			name += "~value"
			b.counts.Clashes++
		}
		if err := dir.Set(name, raw); err != nil {
			return treeobj.Ref{}, fmt.Errorf("directory entry %q: %w", name, err)
		}
	}
	return b.blob(dir.Marshal())
}
