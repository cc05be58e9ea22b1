package flux

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"fettle/internal/repair"
)

// longRows is a store with two long rows whose content is not what their names say: one that a key refers to, one that
// nothing does. It returns the content of the first.
func longRows(t *testing.T) (*bench, string) {
	b := newBench(t)
	s := newSeed(t)
	r := rand.New(rand.NewPCG(1, 2))
	long := func() string {
		raw := make([]byte, 3*longObject) // random: does not shrink
		for i := range raw {
			raw[i] = byte(r.Uint32())
		}
		return string(raw)
	}
	used, unused := s.put("right"), s.put("nobody asks")
	wrong := long()
	s.blobs[used], s.blobs[unused] = []byte(wrong), []byte(long())
	s.checkpoint(s.put(s.dirText("data", s.dir("k", s.valref(s.put("one\n"), used), "x", s.val("y")))))
	s.build(b.path)
	return b, wrong
}

// TestLongRows repairs long rows with a plan that does not hold their content, and takes that back.
func TestLongRows(t *testing.T) {
	b, wrong := longRows(t)
	original := b.digest()
	plan := b.makePlan(b.check(), "flux/damaged-orphan=discard")
	var file bytes.Buffer
	if err := plan.Write(&file); err != nil {
		t.Fatal(err)
	}
	if file.Len() > longObject/2 || strings.Count(file.String(), "object_sha256") != 3 {
		t.Errorf("the plan has %d bytes and says %q", file.Len(), file.String())
	}
	var err error
	if b.plan, err = repair.Load(&file, repair.LoadOptions{}); err != nil {
		t.Fatal(err)
	}
	b.apply()
	accept(t, b.path).holds(map[string]string{"data.k": "-", "data.x": "y", "lost+found.data.k": "one\n", "lost+found.data.k~damaged1": wrong})
	if left := b.check(); len(left) != 0 {
		t.Errorf("left: %q", briefs(left))
	}
	b.undo()
	if b.digest().Content != original.Content {
		t.Error("undo gives other bytes")
	}
}

// TestLongRowChanged writes to a long row after the plan was made: nothing may be written then.
func TestLongRowChanged(t *testing.T) {
	b, _ := longRows(t)
	b.makePlan(b.check(), "flux/damaged-orphan=discard")
	b.sql("UPDATE objects SET object = zeroblob(length(object)) WHERE length(object) > 65536")
	before := b.digest()
	u, done := b.open()
	defer done()
	if _, err := repair.Apply(t.Context(), b.config(u)); err == nil || !strings.Contains(err.Error(), errChanged.Error()) {
		t.Errorf("applied: %v", err)
	}
	if b.digest().Content != before.Content {
		t.Error("something was written")
	}
}

// TestLongRowsRebuilt builds the file anew, where rows have other numbers.
func TestLongRowsRebuilt(t *testing.T) {
	b, wrong := longRows(t)
	b.patch(21, 1) // the header gives a payload fraction that SQLite refuses
	original := b.digest()
	fs := b.check()
	b.makePlan(fs)
	if title := b.plan.Units[0].Steps[0].Title; !strings.Contains(title, "new database") {
		t.Fatalf("the file is not built anew: %s, %q", title, briefs(fs))
	}
	b.apply()
	accept(t, b.path).holds(map[string]string{"lost+found.data.k": "one\n", "lost+found.data.k~damaged1": wrong})
	b.undo()
	if b.digest().Content != original.Content {
		t.Error("undo gives other bytes")
	}
}
