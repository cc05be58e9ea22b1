package thinmeta

import (
	"context"
	"sync"
)

// How blocks are read: neighbours together, across small gaps.
const (
	spanBlocks = 64 // most blocks of one read
	spanGap    = 4  // blocks that are read in vain rather than begin another read
	spansAhead = 3  // for each worker
)

// fetched is a block with the mask its checksum claims. The bytes are valid until the visitor returns.
type fetched struct {
	block uint32
	b     []byte
	mask  uint32
	err   error // of the operating system
}

// span is one read and what came of it.
type span struct {
	want  []uint32
	buf   []byte
	masks [spanBlocks]uint32
	errs  []error       // by block, when the read failed
	done  chan struct{} // closed when it is filled
}

// fetch reads blocks and gives them to visit in the order of the list, which should be ascending in long stretches. Reading and
// checksums are the work of other goroutines; visit runs on the caller's. All blocks are less than f.blocks.
func (f *File) fetch(ctx context.Context, workers int, blocks []uint32, visit func(fetched) error) error {
	if len(blocks) <= 2 {
		s := spans.Get().(*span)
		defer spans.Put(s)
		for i := range blocks {
			s.want = blocks[i : i+1]
			f.fill(s)
			if err := s.each(visit); err != nil {
				return err
			}
		}
		return ctx.Err()
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	all := make([]*span, min(workers*spansAhead, len(blocks)))
	free := make(chan *span, len(all))
	for i := range all {
		all[i] = spans.Get().(*span)
		free <- all[i]
	}
	defer func() {
		cancel()
		wg.Wait()
		for _, s := range all {
			spans.Put(s)
		}
	}()
	for s := range f.readAhead(ctx, &wg, workers, blocks, free) {
		<-s.done
		if err := s.each(visit); err != nil {
			return err
		}
		free <- s
	}
	return ctx.Err()
}

// readAhead reads the blocks into free spans and gives these in the order of the list, each perhaps before it is filled. It ends with
// the list or the context; wg is done when nothing uses a span any more.
func (f *File) readAhead(ctx context.Context, wg *sync.WaitGroup, workers int, blocks []uint32, free <-chan *span) <-chan *span {
	order := make(chan *span, cap(free))
	jobs := make(chan *span, cap(free))
	wg.Go(func() {
		defer close(order)
		defer close(jobs)
		for len(blocks) > 0 {
			select {
			case s := <-free:
				s.done = make(chan struct{})
				s.want = blocks[:spanLength(blocks)]
				blocks = blocks[len(s.want):]
				order <- s // never blocks: there are no more spans than room
				jobs <- s
			case <-ctx.Done():
				return
			}
		}
	})
	for range workers {
		wg.Go(func() {
			for s := range jobs {
				f.fill(s)
				close(s.done)
			}
		})
	}
	return order
}

// spans keeps the buffers from one fetch to the next.
var spans = sync.Pool{New: func() any {
	return &span{buf: alignedBuffer(spanBlocks * BlockSize)}
}}

// spanLength gives how many of the blocks one read can take.
func spanLength(blocks []uint32) int {
	n := 1
	for n < len(blocks) && blocks[n] > blocks[n-1] && blocks[n]-blocks[n-1] <= spanGap+1 && blocks[n]-blocks[0] < spanBlocks {
		n++
	}
	return n
}

// fill reads the blocks of a span, one by one if they cannot be read together.
func (f *File) fill(s *span) {
	s.errs = nil
	first := s.want[0]
	all := s.buf[:int(s.want[len(s.want)-1]-first+1)*BlockSize]
	if err := f.readAt(all, int64(first)*BlockSize); err != nil {
		s.errs = make([]error, len(s.want))
		for i, block := range s.want {
			s.errs[i] = f.readAt(s.at(block), int64(block)*BlockSize)
		}
	}
	for i, block := range s.want {
		s.masks[i] = claimedMask(s.at(block))
	}
}

func (s *span) at(block uint32) []byte {
	off := int(block-s.want[0]) * BlockSize
	return s.buf[off : off+BlockSize]
}

func (s *span) each(visit func(fetched) error) error {
	for i, block := range s.want {
		got := fetched{block: block, b: s.at(block), mask: s.masks[i]}
		if s.errs != nil {
			got.err = s.errs[i]
		}
		if err := visit(got); err != nil {
			return err
		}
	}
	return nil
}
