package lustre

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"fettle/internal/format/lustre"
	"fettle/internal/match"
	"fettle/internal/store"
)

// chunk is how many groups are judged after one search: their claims are in memory meanwhile.
const chunk = 50_000

// searchRounds bounds how often a group may ask for more.
const searchRounds = 4

// parentState is the checkpoint of the pass: chunks before Next are judged.
type parentState struct {
	Next   int       `json:"next"`
	Found  int64     `json:"found"`
	Segs   []segment `json:"segs"`
	Drafts int64     `json:"drafts"` // lines of foundFile

	Searches []search `json:"searches"` // for the chunk behind Next, in their order; the last may not be over
	Walked   int64    `json:"walked"`   // claims of searches that are over
}

// search goes through all claims for objects that somebody asked for.
type search struct {
	Done  match.Done        `json:"done"`
	Over  bool              `json:"over"`
	Found map[string]place2 `json:"found"` // by FID
}

// parents judges the groups that speak of directories which the object index does not have: it goes through all claims to see
// whether they exist.
func (u *unit) parents(ctx context.Context, env store.Env) (err error) {
	var done matchState
	if err := loadJSON(filepath.Join(env.Scratch(), matchedFile), &done); err != nil {
		return err
	}
	state := parentState{Found: done.Found, Segs: done.Segs, Drafts: done.Drafts}
	if _, err := env.Load(&state); err != nil {
		return err
	}
	m := &matching{world: newWorld(u), env: env}
	m.state.Found, m.state.Open = state.Found, done.Open
	if len(done.Opens) > 0 {
		var swept sweepState
		if err := loadJSON(filepath.Join(env.Scratch(), sweptFile), &swept); err != nil {
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
		if err := m.chunks(ctx, done.Opens, &state); err != nil {
			return err
		}
	}
	done.Segs, done.Found, done.Drafts = state.Segs, state.Found, state.Drafts
	return saveJSON(filepath.Join(env.Scratch(), reportFile), done)
}

// chunks goes through the open groups, many at a time.
func (m *matching) chunks(ctx context.Context, opens []segment, state *parentState) error {
	opens = slices.Clone(opens)
	slices.SortStableFunc(opens, func(a, b segment) int { return a.Part - b.Part })
	var groups []openGroup
	n, bytes := 0, 0
	flush := func() error {
		if len(groups) > 0 && n > state.Next {
			if err := m.chunk(ctx, groups, state, n); err != nil {
				return err
			}
		}
		groups, bytes = nil, 0
		return nil
	}
	for _, s := range opens {
		err := eachLine(m.open.f, s, func(line []byte) error {
			n++
			var g openGroup
			if err := json.Unmarshal(line, &g); err != nil {
				return err
			}
			if n > state.Next {
				groups = append(groups, g)
			}
			if bytes += len(line); len(groups) < chunk && int64(bytes) < m.env.Memory()/8 {
				return nil
			}
			return flush()
		})
		if err != nil {
			return err
		}
	}
	return flush()
}

// chunk judges some groups. next is the number of groups up to the last of them.
func (m *matching) chunk(ctx context.Context, groups []openGroup, state *parentState, next int) error {
	var out bytes.Buffer
	drafts := state.Drafts
	for round := 1; len(groups) > 0; round++ {
		if err := m.search(ctx, groups, state, round); err != nil {
			return err
		}
		m.all = round == searchRounds
		var again []openGroup
		for _, g := range groups {
			a := &about{}
			if err := decodeAbout(a, g.Claims); err != nil {
				return err
			}
			a.fillIndex(&m.shape, m.disputes)
			if err := m.env.Did(ctx, 0, 0); err != nil {
				return err
			}
			m.enrich(a)
			if len(a.blocked) == 0 {
				found := judgeGroup(a, &m.shape)
				drafts += int64(len(found))
				if err := emitDrafts(&out, found); err != nil {
					return err
				}
				continue
			}
			g.Blocked = nil
			for _, f := range a.blocked {
				g.Blocked = append(g.Blocked, f.Bare())
			}
			again = append(again, g)
		}
		groups = again
	}
	state.Segs = m.found.segment(state.Segs, match.MaxPartitions+next, out.Bytes())
	var err error
	if state.Found, err = m.found.sync(); err != nil {
		return err
	}
	state.Next, state.Drafts, state.Searches = next, drafts, nil
	return m.env.Save(state)
}

// search finds out which of the asked objects exist, and where. What an earlier life found out need not be looked for again.
func (m *matching) search(ctx context.Context, groups []openGroup, state *parentState, round int) error {
	asked := map[string]lustre.FID{}
	for _, g := range groups {
		for _, text := range g.Blocked {
			f, err := lustre.ParseFID(text)
			if err != nil {
				return err
			}
			own := uint32(0)
			asked[string(subjectOf(f, own))] = f
		}
	}
	if round > len(state.Searches) {
		state.Searches = append(state.Searches, search{Found: map[string]place2{}})
	}
	if s := &state.Searches[round-1]; !s.Over {
		if err := m.walk(ctx, asked, state, s); err != nil {
			return err
		}
	}
	if m.asked == nil {
		m.asked = map[lustre.FID]bool{}
	}
	for _, f := range asked {
		m.asked[f] = true
	}
	for text, p := range state.Searches[round-1].Found {
		f, err := lustre.ParseFID(text)
		if err != nil {
			return err
		}
		m.known[f] = place{p.MDT, p.Ino}
	}
	return nil
}

// walk goes through the claims that a search has not seen yet.
func (m *matching) walk(ctx context.Context, asked map[string]lustre.FID, state *parentState, s *search) error {
	claims := m.matcher.Stats().Claims
	m.env.Total(state.Walked+claims, 0)
	var mu sync.Mutex // guards s, which a checkpoint reads
	done := func(i int) error {
		mu.Lock()
		defer mu.Unlock()
		s.Done.Add(i)
		if !m.env.Due() {
			return nil
		}
		return m.env.Save(state)
	}
	err := m.matcher.Groups(ctx, match.Pass{Workers: m.env.Workers(), Done: slices.Clone(s.Done), PartitionDone: done}, func(g match.Group) error {
		if err := m.env.Did(ctx, g.Len, 0); err != nil {
			return err
		}
		f, ok := asked[string(g.Subject)]
		if !ok {
			return nil
		}
		for c, err := range g.All() {
			if err != nil {
				return err
			}
			if c.Kind == kObject {
				mu.Lock()
				s.Found[f.Bare()] = place2{int(c.Witness.Target), uint32(c.Witness.At)}
				mu.Unlock()
				break
			}
		}
		return nil
	})
	if ctx.Err() != nil {
		return errors.Join(err, m.env.Save(state))
	}
	if err != nil {
		return err
	}
	s.Over = true
	state.Walked += claims
	return m.env.Save(state)
}

// openFound opens the findings for reading.
func openFound(dir string) (*os.File, error) {
	f, err := os.Open(filepath.Join(dir, foundFile))
	if err != nil {
		return nil, fmt.Errorf("read the findings: %w", errors.Unwrap(err))
	}
	return f, nil
}
