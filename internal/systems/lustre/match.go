package lustre

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"

	"fettle/internal/claim"
	"fettle/internal/match"
	"fettle/internal/store"
)

// Files in which a pass leaves its results for the next one.
const (
	sweptFile   = "swept.json"
	matchedFile = "matched.json"
)

// matchState is the checkpoint of the match, and its result.
type matchState struct {
	Done   match.Done `json:"done"`
	Found  int64      `json:"found"` // bytes of foundFile
	Open   int64      `json:"open"`  // bytes of openFile
	Segs   []segment  `json:"segs"`  // of foundFile
	Opens  []segment  `json:"opens"` // of openFile
	Groups int64      `json:"groups"`
	Slow   int64      `json:"slow"` // groups that were judged with care
	Multi  int64      `json:"multi"`
}

// matching is the running match.
type matching struct {
	*world
	env     store.Env
	matcher *match.Matcher
	state   matchState
	found   *spool
	open    *spool
	abouts  sync.Pool

	partMu sync.Mutex
	parts  map[int]*partOut
}

// partOut is what one partition has given so far.
type partOut struct {
	found, open         bytes.Buffer
	groups, slow, multi int64
}

// openGroup is a group that could not be judged yet.
type openGroup struct {
	Claims  []byte   `json:"claims"`  // encoded, one behind the other
	Blocked []string `json:"blocked"` // FIDs in the form of a subject
}

// match is the second stage: claims about one FID come together and are judged.
func (u *unit) match(ctx context.Context, env store.Env) (err error) {
	m := &matching{world: newWorld(u), env: env, parts: map[int]*partOut{}}
	m.abouts.New = func() any { return &about{} }
	var swept sweepState
	if err := loadJSON(filepath.Join(env.Scratch(), sweptFile), &swept); err != nil {
		return err
	}
	if _, err := env.Load(&m.state); err != nil {
		return err
	}
	if m.matcher, err = match.Resume(u.matchOptions(env, 1), swept.Mark); err != nil {
		return fmt.Errorf("take up the claims: %w", err)
	}
	defer func() { err = errors.Join(err, m.matcher.Suspend()) }()
	if err := m.openSpools(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.found.close(), m.open.close()) }()
	env.Total(swept.Mark.Claims(), 0)
	err = m.matcher.Groups(ctx, match.Pass{Workers: env.Workers(), Done: slices.Clone(m.state.Done),
		PartitionDone: m.partitionDone}, func(g match.Group) error { return m.group(ctx, g) })
	if err != nil {
		return err
	}
	if err := m.sync(); err != nil {
		return err
	}
	env.Fact("checked_phase2", m.state.Slow)
	env.Fact("multiple_linked_checked", m.state.Multi)
	return saveJSON(filepath.Join(env.Scratch(), matchedFile), m.state)
}

func (m *matching) openSpools() (err error) {
	dir := m.env.Scratch()
	if m.found, err = openSpool(filepath.Join(dir, foundFile), m.state.Found); err != nil {
		return err
	}
	if m.open, err = openSpool(filepath.Join(dir, openFile), m.state.Open); err != nil {
		return errors.Join(err, m.found.close())
	}
	return nil
}

// group takes one group. It runs in several goroutines; groups of one partition come from one of them.
func (m *matching) group(ctx context.Context, g match.Group) error {
	if err := m.env.Did(ctx, g.Len, 0); err != nil {
		return err
	}
	a := m.abouts.Get().(*about)
	defer m.abouts.Put(a)
	if err := a.gather(g); err != nil {
		return err
	}
	out := m.part(g.Partition)
	out.groups++
	if len(a.names) > 1 {
		out.multi++
	}
	if a.fine(&m.shape) {
		return nil
	}
	out.slow++
	m.mu.Lock()
	m.enrich(a)
	m.mu.Unlock()
	if len(a.blocked) == 0 {
		return emitDrafts(&out.found, judgeGroup(a, &m.shape))
	}
	return m.postpone(a, g, &out.open)
}

// part gives the collected results of a partition.
func (m *matching) part(i int) *partOut {
	m.partMu.Lock()
	defer m.partMu.Unlock()
	p := m.parts[i]
	if p == nil {
		p = &partOut{}
		m.parts[i] = p
	}
	return p
}

// emitDrafts adds drafts as lines.
func emitDrafts(out *bytes.Buffer, drafts []draft) error {
	enc := json.NewEncoder(out)
	for i := range drafts {
		if err := enc.Encode(&drafts[i]); err != nil {
			return fmt.Errorf("keep a finding: %w", err)
		}
	}
	return nil
}

// postpone keeps a group until it is known where the directories are that it speaks of.
func (m *matching) postpone(a *about, g match.Group, out *bytes.Buffer) error {
	og := openGroup{}
	for _, f := range a.blocked {
		og.Blocked = append(og.Blocked, f.Bare())
	}
	n := 0
	for c, err := range g.All() {
		if err != nil {
			return err
		}
		if n++; n > maxSaid {
			break
		}
		if og.Claims, err = c.AppendTo(og.Claims); err != nil {
			return err
		}
	}
	return json.NewEncoder(out).Encode(&og)
}

// partitionDone takes over the results of a partition.
func (m *matching) partitionDone(i int) error {
	m.partMu.Lock()
	defer m.partMu.Unlock()
	if p := m.parts[i]; p != nil {
		delete(m.parts, i)
		m.state.Groups += p.groups
		m.state.Slow += p.slow
		m.state.Multi += p.multi
		m.state.Segs = m.found.segment(m.state.Segs, i, p.found.Bytes())
		m.state.Opens = m.open.segment(m.state.Opens, i, p.open.Bytes())
	}
	m.state.Done.Add(i)
	if !m.env.Due() {
		return nil
	}
	if err := m.sync(); err != nil {
		return err
	}
	return m.env.Save(m.state)
}

// segment adds lines as a segment of their own.
func (s *spool) segment(segs []segment, part int, lines []byte) []segment {
	if len(lines) == 0 {
		return segs
	}
	segs = append(segs, segment{part, s.size, int64(len(lines))})
	s.write(lines)
	return segs
}

func (m *matching) sync() (err error) {
	if m.state.Found, err = m.found.sync(); err != nil {
		return err
	}
	m.state.Open, err = m.open.sync()
	return err
}

// decodeAbout makes a group again from its encoded claims.
func decodeAbout(a *about, enc []byte) error {
	*a = about{}
	for n := 0; len(enc) > 0; n++ {
		c, rest, err := claim.Decode(enc)
		if err != nil {
			return err
		}
		enc = rest
		if n == 0 {
			if a.fid, a.own, err = fidOf(c.Subject); err != nil {
				return err
			}
		}
		if err := a.take(c); err != nil {
			return err
		}
	}
	return nil
}
