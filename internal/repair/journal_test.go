package repair

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"

	"fettle/internal/store"
)

// oneFile is a file system of one file.
type oneFile struct{ data []byte }

func (o *oneFile) Create(string) (File, error)     { return o, nil }
func (o *oneFile) Open(string, bool) (File, error) { return o, nil }
func (o *oneFile) List(string) ([]string, error)   { return nil, nil }
func (o *oneFile) SyncDir(string) error            { return nil }
func (o *oneFile) Size() (int64, error)            { return int64(len(o.data)), nil }
func (o *oneFile) Truncate(n int64) error          { o.data = o.data[:n]; return nil }
func (o *oneFile) Sync() error                     { return nil }
func (o *oneFile) Close() error                    { return nil }
func (o *oneFile) ReadAt(b []byte, off int64) (int, error) {
	return bytes.NewReader(o.data).ReadAt(b, off)
}

func (o *oneFile) WriteAt(b []byte, off int64) (int, error) {
	if need := off + int64(len(b)); need > int64(len(o.data)) {
		o.data = append(o.data, make([]byte, need-int64(len(o.data)))...)
	}
	return copy(o.data[off:], b), nil
}

var testStep = store.Step{ID: 1, Title: "first", Findings: []int{1, 2}}

var testChanges = []store.Change{
	{Target: "t", Addr: "page/1", Before: store.Bytes("old"), After: store.Bytes("new")},
	{Target: "t", Addr: "page/2", After: store.Bytes("")},
	{Target: "t", Addr: "page/3", Before: store.Bytes("\x00\xff")},
}

// appliedJournal is a whole journal: two steps, applied, undone. marks are the offsets after each barrier.
func appliedJournal(t testing.TB) (file *oneFile, marks []int) {
	t.Helper()
	file = &oneFile{}
	j, err := createJournal(file, "j", headerRecord{Schema: JournalSchema, Run: "r", Unit: "u", Generation: 1, Steps: 2})
	mark := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		marks = append(marks, len(file.data))
	}
	if err != nil {
		t.Fatal(err)
	}
	second := store.Step{ID: 2, Title: "second"}
	mark(j.sealStep(context.Background(), testStep, testChanges, time.Time{}))
	mark(j.barrier(kindDone, stepRecord{Step: 1}))
	mark(j.sealStep(context.Background(), second, testChanges[:1], time.Time{}))
	mark(j.barrier(kindDone, stepRecord{Step: 2}))
	mark(j.barrier(kindApplied, endRecord{}))
	mark(j.barrier(kindUndoing, undoingRecord{Steps: []int{2, 1}}))
	mark(j.barrier(kindUndone, stepRecord{Step: 2}))
	mark(j.barrier(kindUndone, stepRecord{Step: 1}))
	mark(j.barrier(kindUndoEnd, endRecord{}))
	return file, marks
}

func TestJournalRoundTrip(t *testing.T) {
	file, marks := appliedJournal(t)
	want := []State{Applying, Applying, Applying, Applying, Applied, Undoing, Undoing, Undoing, Undone}
	for i, m := range marks {
		s, err := scanJournal(&oneFile{file.data[:m]}, "j", true)
		if err != nil {
			t.Fatal(err)
		}
		if got := stateOf(s); got != want[i] || s.end != int64(m) {
			t.Errorf("after barrier %d: state %q end %d, want %q %d", i, got, s.end, want[i], m)
		}
	}
	s, err := scanJournal(file, "j", true)
	if err != nil {
		t.Fatal(err)
	}
	var got []store.Change
	if err := eachChange(file, "j", s, s.steps[0], false, func(c store.Change) error { got = append(got, c); return nil }); err != nil {
		t.Fatal(err)
	}
	for i, c := range testChanges {
		if g := got[i]; g.Target != c.Target || g.Addr != c.Addr || !same(g.Before, c.Before) || !same(g.After, c.After) {
			t.Errorf("change %d: %+v, want %+v", i, g, c)
		}
	}
}

// TestJournalCutAnywhere: whatever a crash leaves of a journal is understood as the last barrier that is whole.
func TestJournalCutAnywhere(t *testing.T) {
	file, marks := appliedJournal(t)
	for n := 0; n <= len(file.data); n++ {
		s, err := scanJournal(&oneFile{bytes.Clone(file.data[:n])}, "j", true)
		if err != nil {
			t.Fatalf("cut at %d: %v", n, err)
		}
		last := 0
		for _, m := range marks {
			if m <= n {
				last = m
			}
		}
		// Before the first seal the header alone may count; after it, nothing but barriers ends what counts.
		if last > 0 && s.end != int64(last) {
			t.Fatalf("cut at %d: ends at %d, want %d", n, s.end, last)
		}
		if last == 0 && len(s.steps) > 0 {
			t.Fatalf("cut at %d: a step that was never sealed counts", n)
		}
	}
}

// TestJournalRot flips every bit of a journal: before the last barrier it must be an error, in it the frame is left out.
func TestJournalRot(t *testing.T) {
	file, marks := appliedJournal(t)
	lastButOne := marks[len(marks)-2]
	for i := range file.data {
		for bit := range 8 {
			rotten := bytes.Clone(file.data)
			rotten[i] ^= 1 << bit
			s, err := scanJournal(&oneFile{rotten}, "j", true)
			if i < lastButOne && !errors.Is(err, errJournal) {
				t.Fatalf("byte %d bit %d: error %v", i, bit, err)
			}
			if i >= lastButOne && (err != nil || s.end != int64(lastButOne)) {
				t.Fatalf("byte %d bit %d of the last frame: %v", i, bit, err)
			}
		}
	}
}

// TestContinueCuts: what does not count is cut off before anything is appended, or it could be taken for its continuation.
func TestContinueCuts(t *testing.T) {
	file, marks := appliedJournal(t)
	file.data = append(file.data[:marks[1]:marks[1]], file.data[marks[1]:marks[2]-10]...)
	s, err := scanJournal(file, "j", true)
	if err != nil {
		t.Fatal(err)
	}
	j, err := continueJournal(file, "j", s)
	if err != nil {
		t.Fatal(err)
	}
	if len(file.data) != marks[1] {
		t.Fatalf("%d bytes are left, want %d", len(file.data), marks[1])
	}
	if err := j.barrier(kindUndoing, undoingRecord{Steps: []int{1}}); err != nil {
		t.Fatal(err)
	}
	if s, err = scanJournal(file, "j", true); err != nil || stateOf(s) != Undoing || s.end != int64(len(file.data)) {
		t.Fatalf("after continuing: %v %v", s, err)
	}
}

// TestHugeLength: a length is believed only as far as the file reaches.
func TestHugeLength(t *testing.T) {
	file, marks := appliedJournal(t)
	for _, k := range []kind{kindBegin, kindChange, kindSealed} {
		s, err := scanJournal(&oneFile{file.data[:marks[1]]}, "j", true)
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range []uint64{1 << 40, 1<<63 - 1, 1<<64 - 1} {
			head := frame{kind: k, nonce: s.nonce, seq: s.frames, size: size}.head()
			data := append(bytes.Clone(file.data[:marks[1]]), head[:]...)
			got, err := scanJournal(&oneFile{data}, "j", true)
			if err != nil || got.end != int64(marks[1]) {
				t.Errorf("kind %d size %d: %v", k, size, err)
			}
			if _, err := readChange(bytes.NewReader(data), "j", int64(marks[1]), int64(len(data))); !errors.Is(err, errJournal) {
				t.Errorf("kind %d size %d: readChange: %v", k, size, err)
			}
		}
	}
}

func TestChangeCoding(t *testing.T) {
	content := rapid.OneOf(rapid.Just(store.Bytes(nil)), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) store.Bytes { return append(store.Bytes{}, b...) }))
	rapid.Check(t, func(t *rapid.T) {
		c := store.Change{Target: rapid.String().Draw(t, "target"), Addr: rapid.String().Draw(t, "addr"),
			Before: content.Draw(t, "before"), After: content.Draw(t, "after")}
		parts, err := changeParts(c)
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseChange(bytes.Join(parts, nil))
		if err != nil || got.Target != c.Target || got.Addr != c.Addr || !same(got.Before, c.Before) || !same(got.After, c.After) {
			t.Fatalf("%+v became %+v, %v", c, got, err)
		}
	})
}

// TestTorn: every mixture of a crash is recognised, and a foreign byte is not.
func TestTorn(t *testing.T) {
	for _, tc := range []struct {
		present, before, after string
		want                   standing
	}{
		{"aaaa", "aaaa", "bbbb", isBefore},
		{"bbbb", "aaaa", "bbbb", isAfter},
		{"bbaa", "aaaa", "bbbb", isTorn},
		{"abab", "aaaa", "bbbb", isTorn},
		{"abcb", "aaaa", "bbbb", isOther},
		{"bb", "aaaa", "bbbb", isOther},
		{"aabb", "aa", "bbbb", isTorn},
		{"aa\x00\x00", "aa", "bbbb", isTorn},
		{"aa\x00b\x00", "aa", "bbbb", isOther},
		{"", "aa", "bb", isOther},
	} {
		c := store.Change{Before: store.Bytes(tc.before), After: store.Bytes(tc.after)}
		if got := standingOf(store.Bytes(tc.present), c); got != tc.want {
			t.Errorf("%q between %q and %q: %d, want %d", tc.present, tc.before, tc.after, got, tc.want)
		}
	}
	if got := standingOf(store.Bytes("b"), store.Change{After: store.Bytes("bb")}); got != isTorn {
		t.Errorf("half of a new record: %d", got)
	}
	if got := standingOf(nil, store.Change{Before: store.Bytes("a"), After: store.Bytes("bb")}); got != isOther {
		t.Errorf("a record that vanished: %d", got)
	}
}

func FuzzScanJournal(f *testing.F) {
	file, marks := appliedJournal(f)
	f.Add([]byte{})
	f.Add(file.data)
	f.Add(file.data[:marks[0]-7])
	f.Add(append(bytes.Clone(file.data[:marks[1]]), file.data...))
	f.Fuzz(func(t *testing.T, data []byte) {
		file := &oneFile{data}
		s, err := scanJournal(file, "j", true)
		if err != nil {
			return
		}
		if s.end > int64(len(data)) {
			t.Fatalf("ends at %d of %d", s.end, len(data))
		}
		for _, st := range s.steps {
			if len(st.changes) != st.Changes || !st.sealed {
				t.Fatalf("step %d counts and is not whole", st.Step)
			}
			// A change may hold anything but must not fail in another way.
			if err := eachChange(file, "j", s, st, true, func(store.Change) error { return nil }); err != nil && !errors.Is(err, errBadChange) && !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
		}
		stateOf(s)
	})
}

// BenchmarkJournal is a step of 10,000 pages of 4 KiB: written and made durable, then scanned and read backwards.
func BenchmarkJournal(b *testing.B) {
	page := func(c byte) store.Bytes { return bytes.Repeat([]byte{c}, 4096) }
	changes := make([]store.Change, 10_000)
	for i := range changes {
		changes[i] = store.Change{Target: "t", Addr: "page/x", Before: page('a'), After: page('b')}
	}
	dir := b.TempDir()
	b.SetBytes(int64(len(changes)) * 8192)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		path := filepath.Join(dir, journalName("u", i+1))
		j, err := createJournal(osFiles{}, path, headerRecord{Schema: JournalSchema, Unit: "u", Generation: i + 1})
		if err != nil {
			b.Fatal(err)
		}
		if err := j.sealStep(context.Background(), testStep, changes, time.Time{}); err != nil {
			b.Fatal(err)
		}
		s, err := scanJournal(osFiles{}, path, true)
		if err != nil {
			b.Fatal(err)
		}
		if err := eachChange(j.f, path, s, s.steps[0], true, func(store.Change) error { return nil }); err != nil {
			b.Fatal(err)
		}
		if err := errors.Join(j.close(), os.Remove(path)); err != nil {
			b.Fatal(err)
		}
	}
}
