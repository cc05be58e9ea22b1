package match

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// jsonMark sends a mark through JSON, as a run's state does.
func jsonMark(t fataler, k Mark) Mark {
	t.Helper()
	text, err := json.Marshal(k)
	if err != nil {
		t.Fatalf("%v", err)
	}
	var back Mark
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatalf("%v", err)
	}
	return back
}

// copyDir is what a crash leaves: the files as they are now.
func copyDir(t fataler, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatalf("%v", err)
	}
}

// tear does to files after the mark what a crash may do: it cuts them anywhere
// after the mark, adds garbage, or zeroes what came later.
func tear(t *rapid.T, dir string, k Mark) {
	names, err := spillFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	sizes := map[string]int64{}
	for i, p := range k.Partitions {
		sizes[partitionName(i)] = p.Size
	}
	for _, n := range names {
		path := filepath.Join(dir, n)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		safe := int(sizes[n])
		switch rapid.IntRange(0, 3).Draw(t, "fate of "+n) {
		case 0:
			data = data[:rapid.IntRange(safe, len(data)).Draw(t, "cut")]
		case 1:
			data = append(data, "torn block"...)
		case 2:
			clear(data[safe:])
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCrashAndResume adds claims, marks at a random point, adds more, crashes,
// resumes and adds the rest again: the result is that of no crash.
func TestCrashAndResume(t *testing.T) {
	base := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		dir, crashed := filepath.Join(base, "a"), filepath.Join(base, "b")
		defer os.RemoveAll(crashed)
		n := rapid.IntRange(0, 20000).Draw(t, "claims")
		markAt := rapid.IntRange(0, n).Draw(t, "mark at")
		crashAt := rapid.IntRange(markAt, n).Draw(t, "crash at")
		o := Options{Dir: dir, Memory: MinMemory, Seed: 9}
		m, w := newMatch(t, o)
		var mark Mark
		want := tally{}
		for i := range n {
			c := numbered(uint64(i/3), uint64(i))
			want.add(c)
			if i > crashAt {
				continue
			}
			if i == markAt {
				mark = checkpoint(t, m)
			}
			mustAdd(t, w, c)
		}
		if markAt == n {
			mark = checkpoint(t, m)
		}
		copyDir(t, dir, crashed)
		mustClose(t, m)
		tear(t, crashed, mark)
		if mark.Claims() != int64(markAt) {
			t.Fatalf("mark of %d claims, want %d", mark.Claims(), markAt)
		}

		m, err := Resume(Options{Dir: crashed, Memory: MinMemory}, mark)
		if err != nil {
			t.Fatal(err)
		}
		w = newWriter(t, m)
		for i := markAt; i < n; i++ {
			mustAdd(t, w, numbered(uint64(i/3), uint64(i)))
		}
		collect(t, m, Pass{}).want(t, want)
		mustClose(t, m)
		wantEmpty(t, crashed)
	})
}

func checkpoint(t fataler, m *Matcher) Mark {
	t.Helper()
	k, err := m.Checkpoint()
	if err != nil {
		t.Fatalf("Checkpoint: %v", err)
	}
	return jsonMark(t, k)
}

// TestResumeGroups interrupts Groups, suspends, resumes and skips what is done.
func TestResumeGroups(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spill")
	m, w := newMatch(t, Options{Dir: dir, Partitions: 16})
	want := tally{}
	for i := range uint64(20000) {
		c := numbered(i/2, i)
		mustAdd(t, w, c)
		want.add(c)
	}
	mark := checkpoint(t, m)
	stop := errors.New("stop")
	var done Done
	k := newCollector()
	pass := Pass{Ordered: true, PartitionDone: func(i int) error {
		if done.Has(i) {
			t.Errorf("partition %d is done twice", i)
		}
		done.Add(i)
		if done.Len() == 7 {
			return stop
		}
		return nil
	}}
	if err := m.Groups(context.Background(), pass, k.group); !errors.Is(err, stop) {
		t.Fatal(err)
	}
	if err := m.Suspend(); err != nil {
		t.Fatal(err)
	}
	mustClose(t, m) // removes nothing after Suspend
	m, err := Resume(Options{Dir: dir}, mark)
	if err != nil {
		t.Fatal(err)
	}
	pass.Done = slices.Clone(done)
	if err := m.Groups(context.Background(), pass, k.group); err != nil {
		t.Fatal(err)
	}
	k.want(t, want) // k.group rejects subjects that come twice
	if done.Len() != 16 {
		t.Errorf("%d done", done.Len())
	}
	mustClose(t, m)
}

func TestNewRefusesOldFiles(t *testing.T) {
	dir := t.TempDir()
	m, w := newMatch(t, Options{Dir: dir})
	mustAdd(t, w, numbered(1, 1))
	mark := checkpoint(t, m)
	if err := m.Suspend(); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Options{Dir: dir}); !errors.Is(err, os.ErrExist) {
		t.Errorf("New over an old run: %v", err)
	}
	m, err := Resume(Options{Dir: dir}, mark)
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, m)
	wantEmpty(t, dir)
}

func TestResumeRefusals(t *testing.T) {
	dir := t.TempDir()
	m, w := newMatch(t, Options{Dir: dir, Partitions: 2})
	for i := range uint64(100) {
		mustAdd(t, w, numbered(i, i))
	}
	good := checkpoint(t, m)
	if err := m.Suspend(); err != nil {
		t.Fatal(err)
	}
	change := func(f func(k *Mark)) Mark {
		k := jsonMark(t, good)
		f(&k)
		return k
	}
	for name, k := range map[string]Mark{
		"zero":              {},
		"version":           change(func(k *Mark) { k.Version = 2 }),
		"three partitions":  change(func(k *Mark) { k.Partitions = append(k.Partitions, PartitionMark{}) }),
		"negative claims":   change(func(k *Mark) { k.Partitions[0].Claims = -1 }),
		"more than written": change(func(k *Mark) { k.Partitions[1].Size++ }),
		"claims, no file":   change(func(k *Mark) { k.Partitions[1].Size = 0 }),
	} {
		if m, err := Resume(Options{Dir: dir}, k); err == nil {
			t.Errorf("%s: accepted", name)
			mustClose(t, m)
		}
	}
	if _, err := Resume(Options{}, good); err == nil {
		t.Error("no directory: accepted")
	}
	if _, err := Resume(Options{Dir: t.TempDir()}, good); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("empty directory: %v", err)
	}
	// The mark of another run: the sizes fit, the contents do not.
	k := change(func(k *Mark) { k.Seed++ })
	other, err := Resume(Options{Dir: dir}, k)
	if err != nil {
		t.Fatal(err)
	}
	var c *CorruptError
	if err := other.Groups(context.Background(), Pass{}, newCollector().group); !errors.As(err, &c) {
		t.Errorf("another seed: %v", err)
	}
	mustClose(t, other)
}

func TestDone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var d Done
		want := map[int]bool{}
		for _, i := range rapid.SliceOf(rapid.IntRange(0, MaxPartitions-1)).Draw(t, "partitions") {
			d.Add(i)
			want[i] = true
		}
		for i := range MaxPartitions + 100 {
			if d.Has(i) != want[i] {
				t.Fatalf("Has(%d) is %v", i, d.Has(i))
			}
		}
		if d.Len() != len(want) {
			t.Fatalf("Len %d, want %d", d.Len(), len(want))
		}
	})
}
