package match

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
)

// Names of our files in Options.Dir. Partition files belong to a run and may be
// resumed; split files are gone when Groups returns, unless the process died.
const (
	partitionPrefix = "match-"
	splitPrefix     = "split-"
	fileSuffix      = ".claims"
	// splitNumber is added to the number of a split file in checksums.
	splitNumber = 1 << 32
)

func partitionName(i int) string     { return fmt.Sprintf("%s%04d%s", partitionPrefix, i, fileSuffix) }
func splitName(number uint64) string { return fmt.Sprintf("%s%06d%s", splitPrefix, number, fileSuffix) }

// ErrClosed is returned by everything after Close or Suspend.
var ErrClosed = errors.New("match: already closed")

// Matcher holds claims and groups them. Its methods may be called from any
// goroutine, with these limits: while Checkpoint, Groups, Close or Suspend runs,
// no other of these runs and no Writer is in use.
type Matcher struct {
	opts   Options
	plan   plan
	shift  uint // hash to partition
	open   openFile
	pool   pool
	parts  []partition
	splits atomic.Uint64 // split files made so far, for their names

	mu      sync.Mutex
	dir     string // "" until the first spill
	madeDir bool
	spilled bool
	closed  bool
	err     error // first failure to spill: nothing added later can be trusted
	writers map[*Writer]struct{}

	spilledBytes atomic.Int64
	splitBytes   atomic.Int64
}

// partition is where the claims with one prefix of the hash are.
type partition struct {
	mu      sync.Mutex
	spilled bool       // new blocks go to the file
	blocks  []*block   // while not spilled
	file    *spillFile // nil when nothing was spilled
	claims  int64      // in blocks or in file
	bytes   int64      // of encoded claims
}

// New makes an empty Matcher. It refuses a directory that holds files of another
// run, which is then either to be resumed or to be cleaned up.
func New(o Options) (*Matcher, error) {
	m, err := newMatcher(o)
	if err != nil {
		return nil, err
	}
	if o.Dir == "" {
		return m, nil
	}
	names, err := spillFiles(o.Dir)
	if err != nil {
		return nil, err
	}
	if len(names) > 0 {
		return nil, fmt.Errorf("match: %s holds spill files of an earlier run (%s): %w (hint: resume that run, or remove them)", o.Dir, names[0], fs.ErrExist)
	}
	return m, nil
}

func newMatcher(o Options) (*Matcher, error) {
	p, err := o.divide()
	if err != nil {
		return nil, err
	}
	return &Matcher{
		opts: o, plan: p, open: openOSFile,
		shift:   partitionShift(p.partitions),
		pool:    pool{size: p.block, limit: p.addLimit},
		parts:   make([]partition, p.partitions),
		writers: map[*Writer]struct{}{},
	}, nil
}

// spillFiles lists the files in dir that are named like ours; none when dir does
// not exist.
func spillFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("match: look for spill files: %w", err)
	}
	var names []string
	for _, e := range entries {
		n := e.Name()
		if (strings.HasPrefix(n, partitionPrefix) || strings.HasPrefix(n, splitPrefix)) && strings.HasSuffix(n, fileSuffix) {
			names = append(names, n)
		}
	}
	return names, nil
}

// Stats are running totals.
type Stats struct {
	Claims  int64 // handed over by writers; what is in open blocks is not counted yet
	Bytes   int64 // of these claims, encoded
	Spilled int64 // bytes written to partition files by this process
	Split   int64 // bytes written again because a partition was too large
}

// Stats returns the totals up to now. It may be called at any time.
func (m *Matcher) Stats() Stats {
	s := Stats{Spilled: m.spilledBytes.Load(), Split: m.splitBytes.Load()}
	for i := range m.parts {
		p := &m.parts[i]
		p.mu.Lock()
		s.Claims += p.claims
		s.Bytes += p.bytes
		p.mu.Unlock()
	}
	return s
}

// hand gives a finished block to partition i and takes it over.
func (m *Matcher) hand(i int, b *block) error {
	p := &m.parts[i]
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.spilled {
		p.claims += int64(b.claims)
		p.bytes += b.bytes()
		p.blocks = append(p.blocks, b)
		return nil
	}
	if err := m.write(i, b); err != nil {
		return err
	}
	p.claims += int64(b.claims)
	p.bytes += b.bytes()
	m.pool.put(b)
	return nil
}

// write appends b to the file of partition i, whose lock is held.
func (m *Matcher) write(i int, b *block) error {
	p := &m.parts[i]
	if p.file == nil {
		f, err := m.create(filepath.Join(m.dir, partitionName(i)), uint64(i))
		if err != nil {
			return err
		}
		p.file = f
	}
	if err := p.file.append(b); err != nil {
		return err
	}
	m.spilledBytes.Add(int64(len(b.buf)))
	return nil
}

func (m *Matcher) create(path string, number uint64) (*spillFile, error) {
	f, err := m.open(path, true)
	if err != nil {
		return nil, fmt.Errorf("make spill file %s: %w", path, bare(err))
	}
	return &spillFile{path: path, f: f, seed: m.opts.Seed, number: number}, nil
}

// spill moves all blocks in memory to files and makes later ones go there too.
func (m *Matcher) spill() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.spilled || m.err != nil {
		return m.err
	}
	if err := m.ensureDir(); err != nil {
		m.err = err
		return err
	}
	for i := range m.parts {
		if err := m.spillPartition(i); err != nil {
			m.err = err
			return err
		}
	}
	m.spilled = true
	m.pool.spills()
	return nil
}

func (m *Matcher) spillPartition(i int) error {
	p := &m.parts[i]
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spilled = true
	for n, b := range p.blocks {
		if err := m.write(i, b); err != nil {
			return err
		}
		p.blocks[n] = nil
		m.pool.put(b)
	}
	p.blocks = nil
	return nil
}

// ensureDir makes the directory for spill files; m.mu is held.
func (m *Matcher) ensureDir() error {
	if m.dir != "" {
		return nil
	}
	if m.opts.Dir == "" {
		dir, err := os.MkdirTemp("", "fettle-match-")
		if err != nil {
			return fmt.Errorf("make a directory for spill files: %w", err)
		}
		m.dir, m.madeDir = dir, true
		return nil
	}
	err := os.Mkdir(m.opts.Dir, 0o700)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the directory for spill files: %w", err)
	}
	m.dir, m.madeDir = m.opts.Dir, err == nil
	return nil
}

// fail records the first failure and returns err.
func (m *Matcher) fail(err error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil {
		m.err = err
	}
	return err
}

// usable returns why the Matcher cannot go on, if so.
func (m *Matcher) usable() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrClosed
	}
	return m.err
}

// Close forgets all claims and removes the files, and the directory if it was
// made for them and is empty. Closing again does nothing, nor does Close after
// Suspend, so it may be deferred in any case.
// Close after Suspend does nothing either, so it may be deferred in any case.
func (m *Matcher) Close() error {
	first, err := m.shut()
	if !first || m.dir == "" {
		return err
	}
	for i := range m.parts {
		if f := m.parts[i].file; f != nil {
			if e := os.Remove(f.path); e != nil && !errors.Is(e, fs.ErrNotExist) {
				err = errors.Join(err, fmt.Errorf("remove spill file: %w", e))
			}
			m.parts[i].file = nil
		}
	}
	if m.madeDir {
		// fs.ErrExist: someone put other files there, which are not ours to remove.
		if e := os.Remove(m.dir); e != nil && !errors.Is(e, fs.ErrNotExist) && !errors.Is(e, fs.ErrExist) {
			err = errors.Join(err, fmt.Errorf("remove directory of spill files: %w", e))
		}
		m.madeDir = false
	}
	return err
}

// Suspend closes the Matcher but leaves the files for Resume with the last Mark.
// What was added after that Mark is lost.
func (m *Matcher) Suspend() error {
	_, err := m.shut()
	return err
}

// shut closes the files and lets go of all memory. first is false when that was
// done before.
func (m *Matcher) shut() (first bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false, nil
	}
	m.closed = true
	for i := range m.parts {
		p := &m.parts[i]
		p.blocks = nil
		if p.file == nil {
			continue
		}
		if e := p.file.f.Close(); e != nil {
			err = errors.Join(err, fmt.Errorf("close spill file %s: %w", p.file.path, bare(e)))
		}
	}
	for w := range m.writers {
		w.blocks = nil
	}
	m.pool.drop()
	return true, err
}
