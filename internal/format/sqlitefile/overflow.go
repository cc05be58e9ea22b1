package sqlitefile

import (
	"encoding/binary"
	"errors"
)

// assemble puts the local payload and the overflow chain from page next on into the Reader's buffer. It returns what could
// be read and, if that is not all, why. The buffer grows only with bytes that were really read, and the number of pages
// is bounded by the declared size, which is bounded by the size of the file.
func (r *Reader) assemble(local []byte, c *cell, next uint32) ([]byte, *RowError) {
	usable := r.f.usable
	if c.payload > uint64(r.f.pageCount)*uint64(usable) {
		return local, &RowError{What: FaultPayload}
	}
	r.payload = append(r.payload[:0], local...)
	total := int(c.payload)
	mark, steps, power := uint32(0), 0, 1 // Brent's cycle detection: mark is the page met at the last power of two
	for len(r.payload) < total {
		if next == 0 {
			return r.payload, &RowError{What: FaultOverflowShort}
		}
		if next == mark {
			r.cutCycle(len(local), steps)
			return r.payload, &RowError{What: FaultOverflowCycle, Overflow: next}
		}
		if steps == power {
			mark, steps, power = next, 0, 2*power
		} else if mark == 0 {
			mark = next
		}
		steps++
		if fault := r.track(next); fault != nil {
			return r.payload, fault
		}
		data, fault := r.overflowPage(next)
		take := min(total-len(r.payload), usable-4, max(0, len(data)-4))
		if fault == nil || fault.What == FaultOverflowRead {
			r.payload = append(r.payload, data[min(4, len(data)):min(4, len(data))+take]...)
		}
		if fault != nil && len(r.payload) < total {
			return r.payload, fault
		}
		follow := binary.BigEndian.Uint32(data)
		if follow == 0 && len(r.payload) < total && allZero(data) {
			r.payload = r.payload[:len(r.payload)-take]
			return r.payload, &RowError{What: FaultOverflowZero, Overflow: next}
		}
		next = follow
	}
	return r.payload, nil
}

// cutCycle takes back the pages that were read a second time: the chain repeats after length pages, and mark was met
// again, so at most the part after the first mark+length pages is repeated. Only the part before the repetition is sure;
// the contents tell where it starts.
func (r *Reader) cutCycle(local, length int) {
	step := r.f.usable - 4
	pages := (len(r.payload) - local) / step
	first := pages // index of the first page that repeats the one length pages before it
	for first > length && string(r.payload[local+(first-1)*step:local+first*step]) ==
		string(r.payload[local+(first-1-length)*step:local+(first-length)*step]) {
		first--
	}
	r.payload = r.payload[:local+first*step]
}

// track notes that overflow page n was read, and fails when the budget for repeats is used up.
func (r *Reader) track(n uint32) *RowError {
	if r.overflow == nil || n > r.f.pageCount || r.overflow.Add(n) {
		return nil
	}
	if r.repeats--; r.repeats < 0 {
		return &RowError{What: FaultShared, Overflow: n}
	}
	return nil
}

// overflowPage returns the readable usable bytes of overflow page n, at least 4 unless it fails.
func (r *Reader) overflowPage(n uint32) ([]byte, *RowError) {
	if data := r.pages.held(n); data != nil {
		return data[:r.f.usable], nil
	}
	data, avail, err := r.chains.page(n)
	if err != nil {
		what := FaultOverflowRead
		var pe *PageError
		if errors.As(err, &pe) && pe.Found != FoundIOError {
			what = FaultOverflowRange
		}
		return nil, &RowError{What: what, Overflow: n, Err: err}
	}
	if avail < r.f.pageSize {
		return data[:min(avail, r.f.usable)], &RowError{What: FaultOverflowRead, Overflow: n,
			Err: &PageError{Page: n, Found: FoundPartial}}
	}
	return data[:r.f.usable], nil
}
