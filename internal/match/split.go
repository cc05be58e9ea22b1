package match

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"os"
	"path/filepath"

	"fettle/internal/claim"
)

// maxFanOut is how many files a split makes at most. All are open while it lasts.
const maxFanOut = 64

// file passes on the groups of a spill file whose keys are within r: at once when
// it fits, as one Huge group when it has one subject, else by splitting it. This
// ends: every split narrows the range of keys, and a range of one key goes on to
// the next level of hashes, of which there are few.
func (w *worker) file(f *spillFile, r keyRange) error {
	if w.fits(f) {
		return w.loaded(f, r)
	}
	s, err := w.survey(f, r)
	if err != nil {
		return err
	}
	switch {
	case s.oneSubject:
		return w.emit(Group{Subject: s.subject, Len: f.claims, Huge: true, source: w.hugeFile(f)})
	case s.lo < s.hi:
		return w.split(f, s)
	}
	return w.collided(f, r.level)
}

// collided passes on the groups of a file whose subjects differ but have the same
// hash at this level, by the hash of the next one.
func (w *worker) collided(f *spillFile, level int) error {
	if level+1 < hashLevels {
		return w.file(f, keyRange{level: level + 1, hi: math.MaxUint64})
	}
	return fmt.Errorf("match: %s: %d claims about subjects that agree in %d independent hashes do not fit in memory (hint: give more memory, or another seed)", f.path, f.claims, hashLevels)
}

// survey is what one look over a file tells about how to split it.
type survey struct {
	keyRange
	oneSubject bool
	subject    claim.Subject // the first, copied
	// common is a key that takes a quarter of the bytes at least, if hasCommon.
	common    uint64
	hasCommon bool
}

// survey reads f once. The common key is found by majority vote weighted by
// bytes: what is left of the winner's votes is no more than it really has.
func (w *worker) survey(f *spillFile, r keyRange) (survey, error) {
	s := survey{keyRange: keyRange{level: r.level, lo: math.MaxUint64}, oneSubject: true}
	var votes, total int64
	n := 0
	err := w.each(f, func(subject claim.Subject, enc []byte) error {
		key := keyAt(r.level, f.seed, subject)
		if key < r.lo || key > r.hi {
			return f.corrupt(0, "claim %d is about a subject of another partition", n)
		}
		if n == 0 {
			s.subject = bytes.Clone(subject)
		} else if s.oneSubject && !bytes.Equal(subject, s.subject) {
			s.oneSubject = false
		}
		s.lo, s.hi = min(s.lo, key), max(s.hi, key)
		weight := int64(len(enc))
		total += weight
		switch {
		case votes == 0:
			s.common, votes = key, weight
		case key == s.common:
			votes += weight
		case votes >= weight:
			votes -= weight
		default:
			s.common, votes = key, weight-votes
		}
		n++
		return nil
	})
	s.hasCommon = votes >= total/4
	return s, err
}

// each is spillFile.each with the worker's window, which is replaced when an
// iteration runs inside another.
func (w *worker) each(f *spillFile, fn func(claim.Subject, []byte) error) error {
	window := w.window
	if window == nil {
		window = make([]byte, windowSize)
	}
	w.window = nil
	defer func() { w.window = window }()
	n := 0
	return f.each(window, func(s claim.Subject, enc []byte) error {
		if n++; n%1024 == 0 && w.ctx.Err() != nil {
			return w.ctx.Err()
		}
		return fn(s, enc)
	})
}

// hugeFile is the source of a Huge group that has a file of its own.
func (w *worker) hugeFile(f *spillFile) *hugeSource {
	return &hugeSource{ctx: w.ctx, walk: func(fn func([]byte) error) error {
		return w.each(f, func(_ claim.Subject, enc []byte) error { return fn(enc) })
	}}
}

// splitter sends keys to the parts of a split, in key order.
type splitter struct {
	survey
	parts int
	step  uint64 // keys per part, unless hasCommon: then below, equal, above
}

func (w *worker) newSplitter(f *spillFile, s survey) splitter {
	if s.hasCommon {
		return splitter{survey: s, parts: 3}
	}
	times := max(f.size/w.share.arena, f.claims/w.share.claims) + 1
	parts := min(maxFanOut, max(4, 1<<bits.Len64(uint64(times))))
	return splitter{survey: s, parts: parts, step: (s.hi-s.lo)/uint64(parts) + 1}
}

func (p splitter) part(key uint64) int {
	if !p.hasCommon {
		return int((key - p.lo) / p.step)
	}
	switch {
	case key < p.common:
		return 0
	case key == p.common:
		return 1
	}
	return 2
}

// keys of part i; only called for parts that some key fell into.
func (p splitter) keys(i int) keyRange {
	r := p.keyRange
	if !p.hasCommon {
		r.lo += uint64(i) * p.step
		if r.lo+p.step-1 > r.lo { // else it wraps around, or the step is 1
			r.hi = min(r.hi, r.lo+p.step-1)
		} else if p.step == 1 {
			r.hi = r.lo
		}
		return r
	}
	switch i {
	case 0:
		r.hi = p.common - 1
	case 1:
		r.lo, r.hi = p.common, p.common
	default:
		r.lo = p.common + 1
	}
	return r
}

// split distributes the claims of f over files by key, then passes on the groups
// of one after the other.
func (w *worker) split(f *spillFile, s survey) (err error) {
	p := w.newSplitter(f, s)
	files := make([]*spillFile, p.parts)
	defer func() {
		for _, part := range files {
			if part != nil {
				err = errors.Join(err, part.remove())
			}
		}
	}()
	if err := w.distribute(f, p, files); err != nil {
		return err
	}
	for i, part := range files {
		if part == nil {
			continue
		}
		if part.f, err = w.m.open(part.path, false); err != nil {
			return fmt.Errorf("open spill file %s: %w", part.path, bare(err))
		}
		if err := w.file(part, p.keys(i)); err != nil {
			return err
		}
		files[i] = nil
		if err := part.remove(); err != nil {
			return err
		}
	}
	return nil
}

// remove closes a split file, if it is open, and removes it.
func (s *spillFile) remove() error {
	var err error
	if s.f != nil {
		err = s.f.Close()
		s.f = nil
	}
	if err := errors.Join(err, os.Remove(s.path)); err != nil {
		return fmt.Errorf("remove spill file %s: %w", s.path, err)
	}
	return nil
}

// distribute writes the claims of f to files, one per part, made when the first
// claim falls into the part, and closes them. The arena serves as blocks.
func (w *worker) distribute(f *spillFile, p splitter, files []*spillFile) error {
	if len(w.arena) < int(w.share.arena) {
		w.arena = make([]byte, w.share.arena)
	}
	size := min(maxPooled, len(w.arena)/p.parts)
	blocks := make([]block, p.parts)
	for i := range blocks {
		blocks[i].buf = w.arena[i*size : i*size+blockHeader : (i+1)*size]
	}
	err := w.each(f, func(subject claim.Subject, enc []byte) error {
		i := p.part(keyAt(p.level, f.seed, subject))
		b := &blocks[i]
		if files[i] == nil {
			var err error
			if files[i], err = w.newSplitFile(); err != nil {
				return err
			}
		}
		if len(b.buf)+len(enc) > cap(b.buf) {
			if err := w.flushPart(files[i], b); err != nil {
				return err
			}
		}
		if blockHeader+len(enc) > cap(b.buf) {
			if w.large.buf == nil {
				w.large.buf = make([]byte, blockHeader, maxBlock)
			}
			b = &w.large
			b.buf, b.claims = append(b.buf, enc...), 1
			return w.flushPart(files[i], b)
		}
		b.buf = append(b.buf, enc...)
		b.claims++
		return nil
	})
	for i, part := range files {
		if part == nil {
			continue
		}
		if err == nil {
			err = w.flushPart(part, &blocks[i])
		}
		if e := part.f.Close(); e != nil {
			err = errors.Join(err, fmt.Errorf("close spill file %s: %w", part.path, bare(e)))
		}
		part.f = nil
	}
	return err
}

func (w *worker) flushPart(f *spillFile, b *block) error {
	if b.claims == 0 {
		return nil
	}
	if err := f.append(b); err != nil {
		return err
	}
	w.m.splitBytes.Add(int64(len(b.buf)))
	b.reset()
	return nil
}

func (w *worker) newSplitFile() (*spillFile, error) {
	n := w.m.splits.Add(1)
	return w.m.create(filepath.Join(w.m.dir, splitName(n)), splitNumber+n)
}
