package flux

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"fettle/internal/format/sqlitefile"
	"fettle/internal/store"
)

// sweepPages is how many pages one worker takes at a time, and the grain at which a sweep can be resumed.
const sweepPages = 256

// sweepCounts are the facts of a sweep. They are part of its checkpoint.
type sweepCounts struct {
	Rows      int64  `json:"rows"`      // rows of the objects table, salvaged ones included
	Bytes     int64  `json:"bytes"`     // decoded content
	Stored    int64  `json:"stored"`    // object column
	Bad       int64  `json:"bad"`       // content wrong or undecodable
	BlobKeys  int64  `json:"blob_keys"` // key of the wrong storage class
	SHA256    int64  `json:"sha256"`    // keys of 32 bytes
	Nameless  int64  `json:"nameless"`  // rows without a usable key
	Salvaged  int64  `json:"salvaged"`  // good rows found on pages that no readable tree holds
	BadPages  int64  `json:"bad_pages"` // leaf pages that could not be read
	TableSum  uint64 `json:"table_sum"` // order-independent sum over (key, rowid), to be compared with the index
	MaxRowID  int64  `json:"max_rowid"`
	MaxEpoch  int64  `json:"max_epoch"`
	HasEpochs bool   `json:"has_epochs"`
}

func (c *sweepCounts) merge(o sweepCounts) {
	c.Rows += o.Rows
	c.Bytes += o.Bytes
	c.Stored += o.Stored
	c.Bad += o.Bad
	c.BlobKeys += o.BlobKeys
	c.SHA256 += o.SHA256
	c.Nameless += o.Nameless
	c.Salvaged += o.Salvaged
	c.BadPages += o.BadPages
	c.TableSum += o.TableSum
	c.MaxRowID = max(c.MaxRowID, o.MaxRowID)
	c.MaxEpoch = max(c.MaxEpoch, o.MaxEpoch)
	c.HasEpochs = c.HasEpochs || o.HasEpochs
}

// sweepState is the checkpoint of the pass: chunks below Chunk are done and their entries are the first Entries of the spool.
type sweepState struct {
	Chunk    uint32      `json:"chunk"`
	Entries  int64       `json:"entries"`
	Counts   sweepCounts `json:"counts"`
	Problems []pageFault `json:"problems,omitempty"`
	// Checkpoints are rows of checkpt_v2 met on pages that no readable tree holds.
	Checkpoints []checkpoint `json:"checkpoints,omitempty"`
	Finished    bool         `json:"finished"`
}

// pageFault is a leaf page, or one row of it, that could not be read.
type pageFault struct {
	Page uint32 `json:"page"`
	Cell int    `json:"cell"` // -1: the whole page
	Why  string `json:"why"`
}

// maxFaults bounds the list of faults that is kept; the counts go on.
const maxFaults = 10000

// sweeper reads the objects table in physical order.
type sweeper struct {
	u      *unit
	env    store.Env
	spool  *spool
	idx    *index // filled as chunks are committed
	state  sweepState
	chunks uint32
}

// chunkResult is what one worker found in one chunk.
type chunkResult struct {
	chunk  uint32
	recs   []spoolRec
	counts sweepCounts
	faults []pageFault
	ckpts  []checkpoint
	err    error
}

// sweep fills u.idx, from an earlier life of the run where it can.
func (u *unit) sweep(ctx context.Context, env store.Env) error {
	s := &sweeper{u: u, env: env}
	done, err := u.loadResult(ctx, env.Scratch(), "sweep", &s.state)
	if err != nil {
		return err
	}
	if !done {
		if _, err := env.Load(&s.state); err != nil {
			return err
		}
	}
	if s.idx, err = loadIndex(env.Scratch(), s.state.Entries); err != nil {
		return err
	}
	if !done {
		if err := s.start(ctx); err != nil {
			return err
		}
		if err := u.saveResult(ctx, env.Scratch(), "sweep", s.state); err != nil {
			return err
		}
	}
	s.idx.seal(env.Workers())
	u.idx = s.idx
	u.counts, u.faults = s.state.Counts, s.state.Problems
	u.addSalvaged(s.state.Checkpoints)
	u.reportSweep(env)
	return nil
}

// start runs the sweep from the last checkpoint to the end.
func (s *sweeper) start(ctx context.Context) (err error) {
	if s.spool, err = openSpool(s.env.Scratch(), s.state.Entries); err != nil {
		return err
	}
	defer func() {
		if e := s.spool.Close(); err == nil {
			err = e
		}
	}()
	pages := s.u.file.PageCount()
	s.chunks = (pages + sweepPages - 1) / sweepPages
	s.env.Total(0, int64(pages)*int64(s.u.file.PageSize()))
	if s.state.Finished {
		return nil
	}
	return s.run(ctx)
}

// reportSweep leaves the facts of the sweep for the summary.
func (u *unit) reportSweep(env store.Env) {
	c := u.counts
	env.Fact("objects", c.Rows)
	env.Fact("content_bytes", c.Bytes)
	env.Fact("stored_bytes", c.Stored)
	if c.Salvaged > 0 {
		env.Fact("salvaged_rows", c.Salvaged)
	}
}

// run hands chunks to the workers and takes their results in order, so that the index, the spool and with them every
// finding are the same in every run and a checkpoint is a single number.
func (s *sweeper) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	workers := max(1, s.env.Workers())
	var (
		next    atomic.Uint32
		results = make(chan chunkResult, workers)
		window  = make(chan struct{}, 4*workers) // chunks taken but not yet committed: bounds memory when one is slow
		free    = sync.Pool{New: func() any { return []spoolRec(nil) }}
		wg      sync.WaitGroup
	)
	next.Store(s.state.Chunk)
	for range workers {
		wg.Go(func() {
			w := newChunkReader(s.u)
			for {
				select {
				case window <- struct{}{}:
				case <-ctx.Done():
					return
				}
				c := next.Add(1) - 1
				if c >= s.chunks {
					return
				}
				r := w.read(ctx, c, free.Get().([]spoolRec)[:0])
				if r.err == nil {
					r.err = s.env.Did(ctx, r.counts.Rows, s.chunkBytes(c))
				}
				select {
				case results <- r:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	go func() { wg.Wait(); close(results) }()
	err := s.collect(results, window, &free)
	cancel()
	for range results { // let the workers go
	}
	if err != nil {
		return err
	}
	if s.state.Chunk < s.chunks {
		return ctx.Err()
	}
	s.state.Finished = true
	return s.save()
}

func (s *sweeper) collect(results <-chan chunkResult, window <-chan struct{}, free *sync.Pool) error {
	waiting := map[uint32]chunkResult{}
	for r := range results {
		if r.err != nil {
			return r.err
		}
		waiting[r.chunk] = r
		for {
			r, ok := waiting[s.state.Chunk]
			if !ok {
				break
			}
			delete(waiting, r.chunk)
			if err := s.commit(r); err != nil {
				return err
			}
			free.Put(r.recs)
			<-window
			if s.env.Due() {
				if err := s.save(); err != nil {
					return err
				}
			}
		}
		if s.state.Chunk == s.chunks {
			return nil
		}
	}
	return nil
}

func (s *sweeper) commit(r chunkResult) error {
	if err := s.spool.append(r.recs); err != nil {
		return err
	}
	for i := range r.recs {
		s.idx.add(int(r.recs[i].shard), r.recs[i].entry)
	}
	s.state.Entries += int64(len(r.recs))
	s.state.Counts.merge(r.counts)
	if room := maxFaults - len(s.state.Problems); room > 0 {
		s.state.Problems = append(s.state.Problems, r.faults[:min(room, len(r.faults))]...)
	}
	if len(s.state.Checkpoints) < maxCheckpoints {
		s.state.Checkpoints = append(s.state.Checkpoints, r.ckpts...)
	}
	s.state.Chunk++
	return nil
}

func (s *sweeper) save() error {
	if err := s.spool.sync(); err != nil {
		return err
	}
	return s.env.Save(s.state)
}

func (s *sweeper) chunkBytes(c uint32) int64 {
	pages := min(sweepPages, s.u.file.PageCount()-c*sweepPages)
	return int64(pages) * int64(s.u.file.PageSize())
}

// chunkReader reads chunks for one worker.
type chunkReader struct {
	u   *unit
	r   *sqlitefile.Reader
	row sqlitefile.Row
	dec rowDecoder
	out blobRow
}

func newChunkReader(u *unit) *chunkReader {
	return &chunkReader{u: u, r: u.file.NewReader(sweepWindow), dec: rowDecoder{cols: u.cols}}
}

// sweepWindow is how much is read at once, in bytes.
const sweepWindow = 1 << 20

// read goes through the pages of chunk c and appends an entry to recs for each row.
func (w *chunkReader) read(ctx context.Context, c uint32, recs []spoolRec) chunkResult {
	res := chunkResult{chunk: c, recs: recs}
	first := c*sweepPages + 1
	last := min(first+sweepPages-1, w.u.file.PageCount())
	for p := first; p <= last && res.err == nil; p++ {
		inTree := w.u.leaves.Has(p)
		if !inTree && (!w.u.salvage || w.u.known.Has(p)) {
			continue
		}
		if err := ctx.Err(); err != nil {
			res.err = err
			return res
		}
		w.page(p, !inTree, &res)
	}
	return res
}

// page reads the rows of one leaf. A page that is in no tree counts only for rows whose content proves them.
func (w *chunkReader) page(p uint32, stray bool, res *chunkResult) {
	leaf, err := w.r.Leaf(p)
	if err != nil {
		var io *sqlitefile.PageError
		if stray {
			return
		}
		if errors.As(err, &io) && io.Err != nil {
			// The medium itself failed: that page is lost, the rest of the file is not.
			err = fmt.Errorf("%w", io)
		}
		res.counts.BadPages++
		res.faults = append(res.faults, pageFault{Page: p, Cell: -1, Why: err.Error()})
		return
	}
	for i := 0; i < leaf.Len(); i++ {
		err := w.r.Row(leaf, i, &w.row)
		var short bool
		if err != nil {
			if stray {
				continue
			}
			short = true
			if len(w.row.Cols) == 0 {
				res.counts.Nameless++
				res.faults = append(res.faults, pageFault{Page: p, Cell: i, Why: err.Error()})
				continue
			}
		}
		w.addRow(p, i, short, stray, res)
	}
}

func (w *chunkReader) addRow(p uint32, cell int, short, stray bool, res *chunkResult) {
	out := &w.out
	if !w.dec.decode(&w.row, short, out) {
		if !stray {
			res.counts.Nameless++
			res.faults = append(res.faults, pageFault{Page: p, Cell: cell, Why: "row has no usable key"})
		} else if c, ok := strayCheckpoint(&w.row); ok && !short {
			res.ckpts = append(res.ckpts, c)
		}
		return
	}
	if stray && out.Status != statusGood {
		return
	}
	c := &res.counts
	c.Rows++
	c.Bytes += int64(len(out.Content))
	c.Stored += int64(len(out.Stored))
	c.MaxRowID = max(c.MaxRowID, w.row.RowID)
	c.MaxEpoch = max(c.MaxEpoch, out.Epoch)
	c.HasEpochs = c.HasEpochs || out.HasEp
	flags := uint16(out.Status)
	if out.Status != statusGood {
		c.Bad++
	} else {
		first, last := eventCodes(out.Content)
		flags |= eventFlags(first, last)
		if looksLikeDir(out.Content) {
			flags |= flagDirLike
		}
	}
	if out.BlobKey {
		flags |= flagBlobKey
		c.BlobKeys++
	}
	if len(out.Hash) == 32 {
		flags |= flagSHA256
		c.SHA256++
	}
	if stray {
		flags |= flagSalvaged
		c.Salvaged++
	} else {
		c.TableSum += pairSum(out.Hash, out.BlobKey, w.row.RowID)
	}
	shard, fp := printOf(out.Hash)
	res.recs = append(res.recs, spoolRec{shard: uint16(shard), entry: makeEntry(fp, p, cell, flags)})
}

// pairSum mixes one (key, rowid) pair into 64 bits. Sums over all pairs are equal if and, but for an accident of 2^-64,
// only if table and index hold the same pairs, in whatever order they are read.
func pairSum(hash []byte, blob bool, rowid int64) uint64 {
	_, fp := printOf(hash)
	x := fp ^ uint64(rowid)*0x9e3779b97f4a7c15
	if blob {
		x ^= 0xd6e8feb86659fd93
	}
	x ^= x >> 32
	x *= 0xd6e8feb86659fd93
	x ^= x >> 29
	x *= 0x9e3779b97f4a7c15
	return x ^ x>>32
}
