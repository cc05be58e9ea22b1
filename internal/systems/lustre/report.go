package lustre

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"path/filepath"
	"slices"

	"fettle/internal/finding"
	"fettle/internal/format/ext4"
	"fettle/internal/store"
)

// reportFile says where the findings are, for the last pass.
const reportFile = "report.json"

// reportState is the checkpoint of the report: so many findings of a rank were reported.
type reportState struct {
	Rank    int              `json:"rank"`
	Line    int64            `json:"line"`
	Numbers int64            `json:"numbers"` // bytes of numberFile
	Classes map[string]int64 `json:"classes"`
}

// reporting is the running report.
type reporting struct {
	*world
	env     store.Env
	state   reportState
	numbers map[uint64]uint32 // numbers of findings by what they explain
	file    *spool
	line    int64
	turn    int
	gone    map[string]string // paths of names whose object is gone, by its FID
}

// maxNumbers bounds how many explanations are remembered: 2 million take some 80 MB.
const maxNumbers = 2_000_000

// report is the last pass: findings get paths and causes and are emitted, causes first.
func (u *unit) report(ctx context.Context, env store.Env) (err error) {
	var done matchState
	if err := loadJSON(filepath.Join(env.Scratch(), reportFile), &done); err != nil {
		return err
	}
	var swept sweepState
	if err := loadJSON(filepath.Join(env.Scratch(), sweptFile), &swept); err != nil {
		return err
	}
	r := &reporting{world: newWorld(u), env: env, numbers: map[uint64]uint32{}, gone: map[string]string{}}
	r.all = true
	r.state.Classes = map[string]int64{}
	if _, err := env.Load(&r.state); err != nil {
		return err
	}
	if r.file, err = openSpool(filepath.Join(env.Scratch(), numberFile), r.state.Numbers); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.file.close()) }()
	if err := r.restore(); err != nil {
		return err
	}
	found, err := openFound(env.Scratch())
	if err != nil {
		return err
	}
	defer found.Close()
	damage, err := os.Open(filepath.Join(env.Scratch(), damageFile))
	if err != nil {
		return fmt.Errorf("read what is damaged: %w", err)
	}
	defer damage.Close()
	slices.SortStableFunc(done.Segs, func(a, b segment) int { return a.Part - b.Part })
	env.Total((swept.Harms+done.Drafts)*ranks, 0)
	harms, err := inOrder(damage, swept.Damage)
	if err != nil {
		return err
	}
	err = r.turns(ctx, func(take func([]byte) error) error {
		for _, s := range harms {
			if err := eachLine(damage, s, take); err != nil {
				return err
			}
		}
		for _, s := range done.Segs {
			if err := eachLine(found, s, take); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.counters()
	return nil
}

// turns goes through all drafts once for each rank.
func (r *reporting) turns(ctx context.Context, each func(take func([]byte) error) error) error {
	for rank := range ranks {
		if rank > r.state.Rank {
			r.state.Rank, r.state.Line = rank, 0
		}
		if rank < r.state.Rank && rank > 0 {
			continue // reported in an earlier life; the first turn is gone through again for paths
		}
		r.line, r.turn = 0, rank
		if err := each(func(line []byte) error { return r.take(ctx, line) }); err != nil {
			return err
		}
	}
	return nil
}

// restore reads the numbers of an earlier life.
func (r *reporting) restore() error {
	b := make([]byte, 12)
	for at := int64(0); at+12 <= r.state.Numbers; at += 12 {
		if _, err := r.file.f.ReadAt(b, at); err != nil {
			return fmt.Errorf("read numbers of findings: %w", err)
		}
		r.numbers[binary.LittleEndian.Uint64(b)] = binary.LittleEndian.Uint32(b[8:])
	}
	_, err := r.file.f.Seek(r.state.Numbers, io.SeekStart)
	return err
}

// take reports one draft, if its turn has come.
func (r *reporting) take(ctx context.Context, line []byte) error {
	r.line++
	var d draft
	if err := json.Unmarshal(line, &d); err != nil {
		return fmt.Errorf("read a finding: %w", err)
	}
	if d.Class == DanglingName && len(r.gone) < maxPaths {
		r.gone[d.Subject] = r.path(&d)
	}
	if r.turn < r.state.Rank || r.line <= r.state.Line {
		return nil
	}
	if d.rank() == r.turn {
		if err := r.emit(&d); err != nil {
			return err
		}
	}
	stop := r.env.Did(ctx, 1, 0)
	if !r.env.Due() {
		return stop
	}
	size, err := r.file.sync()
	if err != nil {
		return err
	}
	r.state.Line, r.state.Numbers = r.line, size
	if err := r.env.Save(r.state); err != nil {
		return err
	}
	return stop
}

// inOrder gives the findings of the sweep, one segment each, in an order that does not depend on who met what first.
func inOrder(damage *os.File, size int64) ([]segment, error) {
	type told struct {
		harm
		segment
	}
	var all []told
	off := int64(0)
	err := eachLine(damage, segment{Len: size}, func(line []byte) error {
		var d draft
		if err := json.Unmarshal(line, &d); err != nil {
			return fmt.Errorf("read a finding: %w", err)
		}
		p := told{segment: segment{Off: off, Len: int64(len(line)) + 1}}
		if d.Harm != nil {
			p.harm = *d.Harm
		}
		all = append(all, p)
		off += p.Len
		return nil
	})
	slices.SortStableFunc(all, func(a, b told) int {
		return cmp.Or(cmp.Compare(a.Target, b.Target), cmp.Compare(a.Inode, b.Inode), cmp.Compare(a.Kind, b.Kind))
	})
	out := make([]segment, len(all))
	for i := range all {
		out[i] = all[i].segment
	}
	return out, err
}

func hashKey(key string) uint64 {
	h := fnv.New64a()
	io.WriteString(h, key)
	return h.Sum64()
}

// pathFor is the path of a draft. What belongs in a lost directory has the path that it had.
func (r *reporting) pathFor(d *draft) string {
	if head, ok := r.gone[d.Detail.Parent]; ok && d.Class != DanglingName && head != "" && d.Detail.Name != "" && !d.Named {
		return head + "/" + d.Detail.Name
	}
	return r.path(d)
}

// explained gives the number of the first finding that provides one of the keys.
func (r *reporting) explained(keys []string) (int, bool) {
	for _, k := range keys {
		if n, ok := r.numbers[hashKey(k)]; ok {
			return int(n), true
		}
	}
	return 0, false
}

// emit makes a finding of a draft.
func (r *reporting) emit(d *draft) error {
	if _, ok := r.explained(d.DropIf); ok {
		return nil
	}
	if err := r.seal(d); err != nil {
		return err
	}
	r.tellOrigins(d)
	raw, err := json.Marshal(d.Detail)
	if err != nil {
		return fmt.Errorf("keep the detail of a finding: %w", err)
	}
	f := finding.Finding{Class: d.Class, Subject: d.Subject, Title: d.Title, Severity: d.Severity, Evidence: d.Evidence, Why: d.Why, Detail: raw}
	if p := r.pathFor(d); p != "" {
		f.Path = &p
	}
	if c, ok := Classes.Lookup(d.Class); ok {
		f.Actions = c.ActionNames()
		f.Suggested = c.Default()
	}
	if d.Prefer != "" {
		f.Prefer(d.Prefer, d.Why)
	}
	if n, ok := r.explained(d.Causes); ok {
		f.CausedBy = &n
	}
	n, err := r.env.Emit(f)
	if err != nil {
		return err
	}
	r.state.Classes[d.Class]++
	for _, k := range d.Provides {
		h := hashKey(k)
		if _, had := r.numbers[h]; had || len(r.numbers) >= maxNumbers {
			continue
		}
		r.numbers[h] = uint32(n)
		var b [12]byte
		binary.LittleEndian.PutUint64(b[:], h)
		binary.LittleEndian.PutUint32(b[8:], uint32(n))
		r.file.write(b[:])
	}
	return nil
}

// counters shows what was found under the names that LFSCK counts it by when it changes nothing.
func (r *reporting) counters() {
	sums := map[string]int64{}
	for class, n := range r.state.Classes {
		if c := lfsckCounter[class]; c != "" {
			sums[c+"_inconsistent"] += n
		}
	}
	r.env.Fact(factFound, sums)
}

// harmDraft is the finding about damage to the file system below.
func (s *sweeper) harmDraft(target int, p ext4.Problem) *draft {
	t := s.targets[target]
	d := &draft{Class: Damage, Subject: fmt.Sprintf("%s group %d", t.name(), p.Group), Severity: finding.Warning,
		Evidence: []finding.Evidence{says(t.name(), "%s", p.String())}}
	index := t.index
	d.Detail.MDT, d.Detail.Have = &index, p.Text
	d.Title = "damage below Lustre: " + string(p.Kind)
	if p.Inode != 0 {
		d.Subject, d.Severity = fmt.Sprintf("%s inode %d", t.name(), p.Inode), ""
		d.Detail.Inode = p.Inode
		d.Dir = place2{target, p.Inode}
		d.Rests = append(d.Rests, record{MDT: index, Inode: p.Inode})
		d.provides(keyHarm(target, p.Inode))
	}
	return d
}
