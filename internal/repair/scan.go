package repair

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"fettle/internal/store"
)

// scanned is what a journal says, without the content of the changes: those are read one by one where they are needed.
type scanned struct {
	header  headerRecord
	void    bool // no complete header: the apply died before it wrote anything to the store
	nonce   uint64
	frames  uint64 // that count; the next one has this number
	size    int64  // of the file
	end     int64  // of the last frame that counts; what follows is to be cut off
	steps   []*stepLog
	applied bool
	undoing bool // an undo began and did not end
	undoEnd bool // the last thing that happened is the end of an undo
}

// stepLog is one step in a journal.
type stepLog struct {
	beginRecord
	changes []int64 // offsets of the frames
	bytes   int64   // of journal that they take
	sealed  bool
	done    bool
	undoing bool
	undone  bool
	after   string // fingerprint of the unit when it was done
}

// applies tells whether the step's records are, or may be, in the store.
func (s *stepLog) applies() bool { return s.sealed && !s.undone }

// errJournal is the cause of every error about a journal that cannot be believed.
var errJournal = errors.New("the journal is damaged")

// scanner reads frames one after the other.
type scanner struct {
	f    File
	path string
	r    *bufio.Reader
	pos  int64
	out  *scanned
	cur  *stepLog // begun and not yet sealed
	cut  int64    // where cur began
	cutN uint64
	byID map[int]*stepLog
	deep bool
}

// scanJournal reads the journal at path. A tail that a crash may have torn is left out of the result; a bad frame that
// no crash explains is an error. The content of changes is verified if deep is set. Memory is 8 bytes per change.
func scanJournal(fs Files, path string, deep bool) (_ *scanned, err error) {
	f, err := fs.Open(path, false)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, fmt.Errorf("journal %s: %w", path, err)
	}
	s := &scanner{f: f, path: path, deep: deep, byID: map[int]*stepLog{}, out: &scanned{size: size}}
	s.r = bufio.NewReaderSize(io.NewSectionReader(f, 0, size), 64<<10)
	for s.pos < size {
		ok, err := s.next()
		if err != nil {
			return nil, err
		}
		if !ok {
			if err := s.explainTail(); err != nil {
				return nil, err
			}
			break
		}
	}
	s.out.end = s.pos
	if s.out.header.Schema == 0 {
		s.out.void = true
	}
	if s.cur != nil {
		// Begun, not sealed: the store was not touched for it.
		s.out.end, s.out.frames = s.cut, s.cutN
		s.out.steps = s.out.steps[:len(s.out.steps)-1]
	}
	return s.out, nil
}

// next reads one frame; false means that there is no whole frame at the position.
func (s *scanner) next() (bool, error) {
	var raw [headSize]byte
	if _, err := io.ReadFull(s.r, raw[:]); err != nil {
		return false, s.eof(err)
	}
	fr, ok := parseHead(raw[:])
	if !ok || fr.seq != s.out.frames || (fr.seq > 0 && fr.nonce != s.out.nonce) {
		return false, nil
	}
	fr.off = s.pos
	if fr.size > uint64(s.out.size-s.pos) || fr.end() > s.out.size {
		return false, nil
	}
	if fr.seq == 0 {
		s.out.nonce = fr.nonce
	}
	whole, err := s.payload(fr)
	if !whole || err != nil {
		return false, err
	}
	s.pos = fr.end()
	s.out.frames++
	return true, nil
}

// payload reads, verifies and interprets a frame's payload.
func (s *scanner) payload(fr frame) (whole bool, err error) {
	if fr.kind == kindChange {
		if err := s.change(fr); err != nil {
			return false, err
		}
		if !s.deep {
			_, err := io.CopyN(io.Discard, s.r, int64(fr.size)+tailSize)
			return err == nil, s.eof(err)
		}
		h := crc32.New(castagnoli)
		if _, err := io.CopyN(h, s.r, int64(fr.size)); err != nil {
			return false, s.eof(err)
		}
		return s.tail(h.Sum32())
	}
	if fr.size > maxControl {
		return false, s.bad(fr, "its length makes no sense")
	}
	var b bytes.Buffer
	if _, err := io.CopyN(&b, s.r, int64(fr.size)); err != nil {
		return false, s.eof(err)
	}
	if ok, err := s.tail(crc32.Checksum(b.Bytes(), castagnoli)); !ok || err != nil {
		return false, err
	}
	return true, s.control(fr, b.Bytes())
}

func (s *scanner) tail(want uint32) (bool, error) {
	var t [tailSize]byte
	if _, err := io.ReadFull(s.r, t[:]); err != nil {
		return false, s.eof(err)
	}
	return binary.LittleEndian.Uint32(t[:]) == want, nil
}

// eof turns the end of the file into "no whole frame".
func (s *scanner) eof(err error) error {
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return fmt.Errorf("read journal %s at %d: %w", s.path, s.pos, err)
}

func (s *scanner) bad(fr frame, why string) error {
	return fmt.Errorf("%w: %s at byte %d (frame %d, kind %d): %s", errJournal, s.path, fr.off, fr.seq, fr.kind, why)
}

func (s *scanner) change(fr frame) error {
	switch {
	case s.cur == nil || len(s.cur.changes) >= s.cur.Changes:
		return s.bad(fr, "a change outside of a step")
	case fr.size < changeHead || fr.size > maxChange:
		return s.bad(fr, "its length makes no sense")
	}
	s.cur.changes = append(s.cur.changes, fr.off)
	s.cur.bytes += int64(fr.size)
	return nil
}

// control applies a JSON frame to the result. A frame with a good checksum that cannot follow what came before is never
// the work of a crash, so that is an error.
func (s *scanner) control(fr frame, p []byte) error {
	if (fr.kind == kindHeader) != (fr.seq == 0) {
		return s.bad(fr, "the header is not where it belongs")
	}
	if s.cur != nil && fr.kind != kindSealed {
		return s.bad(fr, "a step was not sealed")
	}
	switch fr.kind {
	case kindHeader:
		return s.header(fr, p)
	case kindBegin:
		var rec beginRecord
		if err := json.Unmarshal(p, &rec); err != nil || rec.Changes < 0 || s.byID[rec.Step] != nil || s.out.applied || s.out.undoing || s.out.undoEnd {
			return s.bad(fr, "a step begins where it cannot")
		}
		if n := len(s.out.steps); n > 0 && !s.out.steps[n-1].done {
			return s.bad(fr, "a step begins before the last one is done")
		}
		s.cur, s.cut, s.cutN = &stepLog{beginRecord: rec}, fr.off, fr.seq
		s.out.steps = append(s.out.steps, s.cur)
		s.byID[rec.Step] = s.cur
	case kindSealed, kindDone, kindUndone:
		return s.progress(fr, p)
	case kindUndoing:
		var rec undoingRecord
		if err := json.Unmarshal(p, &rec); err != nil {
			return s.bad(fr, err.Error())
		}
		for _, id := range rec.Steps {
			st := s.byID[id]
			if st == nil || !st.applies() {
				return s.bad(fr, fmt.Sprintf("step %d cannot be taken back here", id))
			}
			st.undoing = true
		}
		s.out.undoing, s.out.undoEnd = true, false
	case kindApplied, kindUndoEnd:
		if fr.kind == kindApplied {
			s.out.applied = true
		} else {
			s.out.undoing, s.out.undoEnd = false, true
		}
	default:
		return s.bad(fr, "a newer fettle wrote this")
	}
	return nil
}

func (s *scanner) header(fr frame, p []byte) error {
	if err := json.Unmarshal(p, &s.out.header); err != nil {
		return s.bad(fr, err.Error())
	}
	if s.out.header.Schema != JournalSchema {
		return s.bad(fr, fmt.Sprintf("schema %d, want %d", s.out.header.Schema, JournalSchema))
	}
	return nil
}

func (s *scanner) progress(fr frame, p []byte) error {
	var rec stepRecord
	if err := json.Unmarshal(p, &rec); err != nil {
		return s.bad(fr, err.Error())
	}
	st := s.byID[rec.Step]
	switch {
	case st == nil:
		return s.bad(fr, fmt.Sprintf("step %d never began", rec.Step))
	case fr.kind == kindSealed && st == s.cur && len(st.changes) == st.Changes:
		st.sealed, s.cur = true, nil
	case fr.kind == kindDone && st.sealed && !st.done && !st.undoing:
		st.done, st.after = true, rec.Fingerprint
	case fr.kind == kindUndone && st.undoing && !st.undone:
		st.undone = true
	default:
		return s.bad(fr, fmt.Sprintf("step %d is not at this point", rec.Step))
	}
	return nil
}

// explainTail decides whether what is at the position can be the work of a crash. It cannot if a barrier follows: that is
// only written after everything before it was made durable.
func (s *scanner) explainTail() error {
	window := min(s.out.size-s.pos, 1<<20)
	buf := make([]byte, window+headSize)
	for at := s.pos + 1; at < s.out.size; at += window {
		n, err := s.f.ReadAt(buf[:min(int64(len(buf)), s.out.size-at)], at)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read journal %s at %d: %w", s.path, at, err)
		}
		for i := 0; i < n; {
			hit := bytes.Index(buf[i:n], []byte(frameMarker))
			if hit < 0 {
				break
			}
			i += hit
			fr, ok := parseHead(buf[i:n])
			if ok && fr.kind.barrier() && (s.out.frames == 0 || fr.nonce == s.out.nonce) {
				return fmt.Errorf("%w: %s at byte %d: the frame there is bad, but frame %d at byte %d proves that it was complete once",
					errJournal, s.path, s.pos, fr.seq, at+int64(i))
			}
			i++
		}
	}
	return nil
}

// readChange reads the change whose frame is at off and verifies it.
// end is where the journal's good part ends.
func readChange(f io.ReaderAt, path string, off, end int64) (store.Change, error) {
	fail := func(err error) (store.Change, error) {
		return store.Change{}, fmt.Errorf("read journal %s at byte %d: %w", path, off, err)
	}
	var raw [headSize]byte
	if _, err := f.ReadAt(raw[:], off); err != nil {
		return fail(err)
	}
	fr, ok := parseHead(raw[:])
	if !ok || fr.kind != kindChange || fr.size > maxChange || int64(fr.size) > end-off {
		return fail(errJournal)
	}
	p := make([]byte, fr.size+tailSize)
	if n, err := f.ReadAt(p, off+headSize); n < len(p) {
		return fail(err)
	}
	body, sum := p[:fr.size], binary.LittleEndian.Uint32(p[fr.size:])
	if crc32.Checksum(body, castagnoli) != sum {
		return fail(errJournal)
	}
	c, err := parseChange(body)
	if err != nil {
		return fail(err)
	}
	return c, nil
}
