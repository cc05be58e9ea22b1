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
	"sync/atomic"
	"time"

	"fettle/internal/claim"
	"fettle/internal/format/lustre"
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
	Drafts int64      `json:"drafts"` // lines of foundFile

	Begun map[int]int64       `json:"begun"`  // partitions that are not done: so many of their groups are
	ByMDT map[string]*matched `json:"by_mdt"` // by name
	Last  string              `json:"last"`   // the FID that was judged last, by any worker
}

// matching is the running match.
type matching struct {
	*world
	env      store.Env
	matcher  *match.Matcher
	disputes []disputed // by place of the target: of what in the object index there are claims
	state    matchState
	found    *spool
	open     *spool
	abouts   sync.Pool

	partMu sync.Mutex // taken before the mutex of a part, never while one is held
	parts  map[int]*partOut
	shown  atomic.Int64 // when facts were last told, as UnixNano
}

// partOut is what one partition has given since the last checkpoint.
type partOut struct {
	mu                  sync.Mutex // held while a group is judged: a checkpoint falls between groups
	found, open         bytes.Buffer
	groups, slow, multi int64
	drafts              int64
	since               int64 // claims since the last look at the clock. Of the worker alone
	met                 int64 // groups that were handed over in this life; they come in the same order in each. Of the worker alone
	skip                int64 // so many were judged in an earlier one
	judged              int64 // in all
	byMDT               map[string]*matched
	last                string
}

// lookEvery is how many claims of a partition lie between two looks at the clock.
const lookEvery = 32

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
	m.disputes = swept.Disputed
	if m.matcher, err = match.Resume(u.matchOptions(env, 1), swept.Mark); err != nil {
		return fmt.Errorf("take up the claims: %w", err)
	}
	defer func() { err = errors.Join(err, m.matcher.Suspend()) }()
	if err := m.openSpools(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.found.close(), m.open.close()) }()
	if m.state.Begun == nil {
		m.state.Begun, m.state.ByMDT = map[int]int64{}, map[string]*matched{}
	}
	m.facts()
	env.Total(swept.Mark.Claims(), 0)
	err = m.matcher.Groups(ctx, match.Pass{Workers: env.Workers(), Done: slices.Clone(m.state.Done),
		PartitionDone: m.partitionDone}, func(g match.Group) error { return m.group(ctx, g) })
	if ctx.Err() != nil { // stopped: nothing of what was judged is lost
		return errors.Join(err, m.checkpoint())
	}
	if err != nil {
		return err
	}
	if err := m.sync(); err != nil {
		return err
	}
	m.facts()
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

// facts tells how far the match is. No group is judged meanwhile, or partMu is held.
func (m *matching) facts() {
	m.shown.Store(time.Now().UnixNano())
	m.env.Fact(factMatched, m.state.ByMDT)
	m.env.Fact(factLast, map[string]string{"fid": m.state.Last})
}

// group takes one group. It runs in several goroutines; groups of one partition come from one of them.
func (m *matching) group(ctx context.Context, g match.Group) error {
	out := m.part(g.Partition)
	if out.met++; out.met <= out.skip {
		return nil
	}
	if err := m.judge(ctx, g, out); err != nil {
		return err
	}
	if out.since += g.Len; out.since < lookEvery {
		return nil
	}
	out.since = 0
	switch {
	case m.env.Due():
		return m.checkpoint()
	case time.Now().UnixNano()-m.shown.Load() >= int64(tellEvery):
		m.partMu.Lock()
		defer m.partMu.Unlock()
		m.collectAll()
		m.facts()
	}
	return nil
}

// judge judges one group, or puts that off.
func (m *matching) judge(ctx context.Context, g match.Group, out *partOut) error {
	out.mu.Lock()
	defer out.mu.Unlock()
	if err := m.env.Did(ctx, g.Len, 0); err != nil {
		return err
	}
	a := m.abouts.Get().(*about)
	defer m.abouts.Put(a)
	if err := a.gather(g); err != nil {
		return err
	}
	a.fillIndex(&m.shape, m.disputes)
	out.judged++
	out.groups++
	if len(a.names) > 1 {
		out.multi++
		out.of(a.mdt(&m.shape)).Multi++
	}
	if a.fine(&m.shape) {
		return nil
	}
	out.slow++
	out.of(a.mdt(&m.shape)).Checked++
	out.last = a.fid.String()
	m.mu.Lock()
	m.enrich(a)
	m.mu.Unlock()
	if len(a.blocked) == 0 {
		drafts := judgeGroup(a, &m.shape)
		for i := range drafts {
			out.of(mdtOf(&drafts[i].Detail)).found(drafts[i].Class)
		}
		out.drafts += int64(len(drafts))
		return emitDrafts(&out.found, drafts)
	}
	return m.postpone(a, g, &out.open)
}

// part gives the collected results of a partition.
func (m *matching) part(i int) *partOut {
	m.partMu.Lock()
	defer m.partMu.Unlock()
	p := m.parts[i]
	if p == nil {
		p = &partOut{skip: m.state.Begun[i], judged: m.state.Begun[i], byMDT: map[string]*matched{}}
		m.parts[i] = p
	}
	return p
}

// of gives the numbers of an MDT.
func (p *partOut) of(mdt uint32) *matched { return numbersOf(p.byMDT, lustre.MDTName(mdt)) }

// collect takes over what a partition has given. partMu is held.
func (m *matching) collect(i int, p *partOut) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m.state.Groups += p.groups
	m.state.Slow += p.slow
	m.state.Multi += p.multi
	m.state.Drafts += p.drafts
	p.groups, p.slow, p.multi, p.drafts = 0, 0, 0, 0
	m.state.Segs = m.found.segment(m.state.Segs, i, p.found.Bytes())
	m.state.Opens = m.open.segment(m.state.Opens, i, p.open.Bytes())
	p.found.Reset()
	p.open.Reset()
	for name, n := range p.byMDT {
		numbersOf(m.state.ByMDT, name).add(n)
	}
	clear(p.byMDT)
	m.state.Begun[i] = p.judged
	if p.last != "" {
		m.state.Last = p.last
	}
}

// collectAll takes over what all partitions at work have given. partMu is held.
func (m *matching) collectAll() {
	for i, p := range m.parts {
		m.collect(i, p)
	}
}

// checkpoint makes everything that was judged the point to go on from.
func (m *matching) checkpoint() error {
	m.partMu.Lock()
	defer m.partMu.Unlock()
	m.collectAll()
	m.facts()
	if err := m.sync(); err != nil {
		return err
	}
	return m.env.Save(m.state)
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
	if p := m.parts[i]; p != nil {
		delete(m.parts, i)
		m.collect(i, p)
	}
	delete(m.state.Begun, i)
	m.state.Done.Add(i)
	m.partMu.Unlock()
	if !m.env.Due() {
		return nil
	}
	return m.checkpoint()
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
