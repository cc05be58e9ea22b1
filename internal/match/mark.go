package match

import (
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"os"
	"path/filepath"
	"slices"

	"fettle/internal/claim"
)

// markVersion is the only version of Mark there is.
const markVersion = 1

// Mark says how far the files of a Matcher were written. It is plain data, to be
// kept as JSON (or otherwise) in the run's state, next to the positions of the
// scans that added the claims.
type Mark struct {
	Version    int             `json:"version"`
	Seed       uint64          `json:"seed,string"` // of the hash and of the checksums
	Partitions []PartitionMark `json:"partitions"`
}

// PartitionMark is the extent of one partition file.
type PartitionMark struct {
	Size   int64 `json:"size"`   // bytes of the file, 0 when there is none
	Claims int64 `json:"claims"` // in it
	Bytes  int64 `json:"bytes"`  // of encoded claims in it
}

// Claims is the number of claims the mark covers.
func (k Mark) Claims() int64 {
	var n int64
	for _, p := range k.Partitions {
		n += p.Claims
	}
	return n
}

// check rejects marks no Checkpoint makes.
func (k Mark) check() error {
	if k.Version != markVersion {
		return fmt.Errorf("match: mark of version %d, this program knows %d", k.Version, markVersion)
	}
	if err := checkPartitions(len(k.Partitions)); err != nil {
		return err
	}
	for i, p := range k.Partitions {
		if p.Claims < 0 || p.Bytes/claim.MinEncoded < p.Claims || p.Size < p.Bytes || (p.Claims == 0) != (p.Size == 0) {
			return fmt.Errorf("match: mark of partition %d is not possible: %d claims of %d bytes in a file of %d", i, p.Claims, p.Bytes, p.Size)
		}
	}
	return nil
}

// Checkpoint makes everything added so far durable, including what open writers
// hold, and returns a Mark to Resume from. Until it has returned the older Mark is
// the one to use. No Writer may be in use meanwhile; the caller stops its scans at
// positions it records with the Mark.
func (m *Matcher) Checkpoint() (Mark, error) {
	if err := m.usable(); err != nil {
		return Mark{}, err
	}
	if err := m.flushWriters(); err != nil {
		return Mark{}, fmt.Errorf("checkpoint: %w", err)
	}
	if err := m.spill(); err != nil {
		return Mark{}, fmt.Errorf("checkpoint: %w", err)
	}
	k := Mark{Version: markVersion, Seed: m.opts.Seed, Partitions: make([]PartitionMark, len(m.parts))}
	for i := range m.parts {
		f := m.parts[i].file
		if f == nil {
			continue
		}
		if err := f.f.Sync(); err != nil {
			return Mark{}, m.fail(fmt.Errorf("checkpoint: sync spill file %s: %w", f.path, bare(err)))
		}
		k.Partitions[i] = PartitionMark{Size: f.size, Claims: f.claims, Bytes: f.bytes}
	}
	if err := syncDir(m.dir); err != nil {
		return Mark{}, m.fail(fmt.Errorf("checkpoint: %w", err))
	}
	if m.madeDir {
		if err := syncDir(filepath.Dir(m.dir)); err != nil {
			return Mark{}, m.fail(fmt.Errorf("checkpoint: %w", err))
		}
	}
	return k, nil
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	err = f.Sync()
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}

// Resume opens the files in o.Dir as they were at the Mark: what was written later
// is cut off. o.Partitions and o.Seed are taken from the Mark. It fails when a
// file is missing or shorter than the Mark says; contents are checked as Groups
// reads them.
func Resume(o Options, k Mark) (*Matcher, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	if o.Dir == "" {
		return nil, errors.New("match: resume needs the directory of the spill files")
	}
	o.Partitions, o.Seed = len(k.Partitions), k.Seed
	m, err := newMatcher(o)
	if err != nil {
		return nil, err
	}
	if err := m.ensureDir(); err != nil {
		return nil, fmt.Errorf("resume: %w", err)
	}
	m.spilled = true
	m.pool.spills()
	if err := m.reopen(k); err != nil {
		return nil, errors.Join(err, m.Suspend())
	}
	return m, nil
}

// reopen brings the directory to the state of the mark.
func (m *Matcher) reopen(k Mark) error {
	names, err := spillFiles(m.dir)
	if err != nil {
		return err
	}
	for i, want := range k.Partitions {
		m.parts[i].spilled = true
		if want.Size == 0 {
			continue
		}
		name := partitionName(i)
		if err := m.reopenPartition(i, filepath.Join(m.dir, name), want); err != nil {
			return fmt.Errorf("resume: %w", err)
		}
		names = slices.DeleteFunc(names, func(n string) bool { return n == name })
	}
	for _, n := range names { // begun after the mark, or left over from splitting
		if err := os.Remove(filepath.Join(m.dir, n)); err != nil {
			return fmt.Errorf("resume: remove a file made after the mark: %w", err)
		}
	}
	return nil
}

func (m *Matcher) reopenPartition(i int, path string, want PartitionMark) error {
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("spill file of the mark: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("spill file %s is not a regular file: %w", path, fs.ErrInvalid)
	}
	s := &spillFile{path: path, seed: m.opts.Seed, number: uint64(i), size: want.Size, claims: want.Claims, bytes: want.Bytes}
	if info.Size() < want.Size {
		return s.corrupt(info.Size(), "the file ends here, the mark says %d bytes", want.Size)
	}
	if s.f, err = m.open(path, false); err != nil {
		return fmt.Errorf("open spill file %s: %w", path, bare(err))
	}
	p := &m.parts[i]
	p.file, p.claims, p.bytes = s, want.Claims, want.Bytes
	if err := s.f.Truncate(want.Size); err != nil {
		return fmt.Errorf("cut spill file %s to %d bytes: %w", path, want.Size, bare(err))
	}
	return nil
}

// Done is a set of partitions that Groups has finished with, one bit each: the
// lowest bit of word 0 is partition 0. As JSON it is an array of words in decimal.
// The zero value is empty.
type Done []uint32

// Add puts partition i into the set.
func (d *Done) Add(i int) {
	for len(*d) <= i/32 {
		*d = append(*d, 0)
	}
	(*d)[i/32] |= 1 << (i % 32)
}

// Has reports whether partition i is in the set.
func (d Done) Has(i int) bool { return i/32 < len(d) && d[i/32]&(1<<(i%32)) != 0 }

// Len is the number of partitions in the set.
func (d Done) Len() int {
	n := 0
	for _, w := range d {
		n += bits.OnesCount32(w)
	}
	return n
}
