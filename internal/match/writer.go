package match

import (
	"fmt"

	"fettle/internal/claim"
)

// Writer adds claims. One Writer serves one goroutine; as many may work at the same
// time as Options.Writers says.
type Writer struct {
	m      *Matcher
	blocks []*block // open block per partition, or nil
	held   int      // how many are open
	shift  uint
	seed   uint64
	closed bool
}

// Writer returns a new Writer. It must be closed when it is no longer needed. It is
// an error to have more than Options.Writers open.
func (m *Matcher) Writer() (*Writer, error) {
	if err := m.usable(); err != nil {
		return nil, err
	}
	w := &Writer{m: m, blocks: make([]*block, m.plan.partitions), shift: m.shift, seed: m.opts.Seed}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.writers) >= m.plan.writers {
		return nil, fmt.Errorf("match: %d writers are open already (hint: raise Options.Writers)", len(m.writers))
	}
	m.writers[w] = struct{}{}
	return w, nil
}

// Add adds one claim, copying its bytes. An error about the claim itself (too
// long) leaves the Matcher as it was; any other is final: some claims are lost, and
// Checkpoint and Groups refuse to go on.
func (w *Writer) Add(c claim.Claim) error {
	if err := c.Check(); err != nil {
		return err
	}
	if w.blocks == nil || w.closed {
		return ErrClosed
	}
	i := partitionOf(Hash(w.seed, c.Subject), w.shift)
	n := c.EncodedLen()
	b := w.blocks[i]
	if b == nil || cap(b.buf)-len(b.buf) < n {
		var err error
		if b, err = w.next(i, n); err != nil {
			return w.m.fail(fmt.Errorf("add a claim: %w", err))
		}
	}
	buf, err := c.AppendTo(b.buf)
	if err != nil {
		return err
	}
	b.buf = buf
	b.claims++
	if !b.pooled {
		if err := w.m.hand(i, b); err != nil {
			return w.m.fail(fmt.Errorf("add a claim: %w", err))
		}
	}
	return nil
}

// next returns a block for partition i with room for n bytes. That is the open
// block from now on, after the one before was handed over, unless n bytes need a
// block of their own.
func (w *Writer) next(i, n int) (*block, error) {
	if err := w.m.usable(); err != nil {
		return nil, err
	}
	if blockHeader+n > w.m.plan.block {
		b, full := w.m.pool.room(n)
		if full {
			return b, w.m.spill()
		}
		return b, nil
	}
	if err := w.handOver(i); err != nil {
		return nil, err
	}
	b, err := w.take()
	if err != nil {
		return nil, err
	}
	w.blocks[i] = b
	w.held++
	return b, nil
}

// take gets an empty block. When the budget for blocks is used up it spills what
// waits in memory, then gives up its own open blocks, then takes one regardless.
func (w *Writer) take() (*block, error) {
	if b := w.m.pool.get(); b != nil {
		return b, nil
	}
	if err := w.m.spill(); err != nil {
		return nil, err
	}
	if b := w.m.pool.get(); b != nil {
		return b, nil
	}
	if err := w.Flush(); err != nil {
		return nil, err
	}
	if b := w.m.pool.get(); b != nil {
		return b, nil
	}
	return w.m.pool.force(), nil
}

// handOver gives the open block of partition i to the Matcher.
func (w *Writer) handOver(i int) error {
	b := w.blocks[i]
	if b == nil {
		return nil
	}
	w.blocks[i] = nil
	w.held--
	return w.m.hand(i, b)
}

// Flush hands over what the Writer still holds. It is not a Checkpoint: nothing is
// made durable.
func (w *Writer) Flush() error {
	if w.held == 0 {
		return nil
	}
	for i := range w.blocks {
		if err := w.handOver(i); err != nil {
			return w.m.fail(err)
		}
	}
	return nil
}

// Close flushes the Writer, after which it cannot be used. Closing again does
// nothing.
func (w *Writer) Close() error {
	if w.closed {
		return nil
	}
	w.closed = true
	err := w.Flush()
	w.m.mu.Lock()
	delete(w.m.writers, w)
	w.m.mu.Unlock()
	return err
}

// flushWriters flushes every open writer; none is in use.
func (m *Matcher) flushWriters() error {
	m.mu.Lock()
	open := make([]*Writer, 0, len(m.writers))
	for w := range m.writers {
		open = append(open, w)
	}
	m.mu.Unlock()
	for _, w := range open {
		if err := w.Flush(); err != nil {
			return err
		}
	}
	return nil
}
