package devmapper

import (
	"slices"
	"testing"

	"fettle/internal/finding"
	"fettle/internal/format/snapshotdb"
	"fettle/internal/format/thinmeta"
	"fettle/internal/systems/devmapper/livepool"
)

// TestJudgeStatus: what the kernel says about a pool becomes a finding unless its metadata has said the same.
func TestJudgeStatus(t *testing.T) {
	good := livepool.Status{Mode: livepool.ReadWrite, UsedMetadata: 5, TotalMetadata: 10, UsedData: 3, TotalData: 9}
	for _, c := range []struct {
		name     string
		change   func(*livepool.Status)
		readOnly bool // by its table
		told     []string
		want     []string
	}{
		{name: "healthy", change: func(*livepool.Status) {}},
		{name: "needs check", change: func(s *livepool.Status) { s.NeedsCheck, s.Mode = true, livepool.ReadOnly }, want: []string{ThinNeedsCheck}},
		{name: "needs check, told", change: func(s *livepool.Status) { s.NeedsCheck, s.Mode = true, livepool.ReadOnly }, told: []string{ThinNeedsCheck}},
		{name: "failed", change: func(s *livepool.Status) { *s = livepool.Status{Mode: livepool.Failed} }, want: []string{ThinNeedsCheck}},
		{name: "no state", change: func(s *livepool.Status) { *s = livepool.Status{Mode: livepool.Errored} }, want: []string{ThinNeedsCheck}},
		{name: "read-only without a reason", change: func(s *livepool.Status) { s.Mode = livepool.ReadOnly }, want: []string{ThinNeedsCheck}},
		{name: "read-only by its table", change: func(s *livepool.Status) { s.Mode = livepool.ReadOnly }, readOnly: true},
		{name: "metadata full", change: func(s *livepool.Status) { s.Mode, s.UsedMetadata = livepool.ReadOnly, 10 }, want: []string{ThinOutOfMetadata}},
		{name: "data full", change: func(s *livepool.Status) { s.Mode, s.UsedData = livepool.OutOfDataSpace, 9 }, want: []string{ThinOutOfData}},
		{name: "all at once", change: func(s *livepool.Status) { s.Mode, s.UsedMetadata, s.NeedsCheck = livepool.OutOfDataSpace, 10, true }, want: []string{ThinNeedsCheck, ThinOutOfMetadata, ThinOutOfData}},
	} {
		u := &unit{active: active{pool: &livepool.Pool{Name: "p", TableReadOnly: c.readOnly}, status: good, asked: true}}
		c.change(&u.active.status)
		var told []judged
		for _, class := range c.told {
			told = append(told, judged{Finding: finding.Finding{Class: class}})
		}
		var got []string
		for _, f := range u.judgeStatus(told) {
			got = append(got, f.Class)
			if _, ok := Classes.Lookup(f.Class); !ok || len(f.Evidence) == 0 {
				t.Errorf("%s: %+v", c.name, f)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if got := new(unit).judgeStatus(nil); len(got) != 0 {
		t.Errorf("without a live pool: %+v", got)
	}
}

// TestGuardOpen: the deletion of an open device is not offered, whatever the finding; that of an active one is not suggested.
func TestGuardOpen(t *testing.T) {
	for _, c := range []struct {
		name     string
		active   bool
		open     int
		actions  []finding.Action
		want     []finding.Action
		evidence int
	}{
		{"inactive", false, 0, []finding.Action{finding.Discard, finding.Ignore}, []finding.Action{finding.Discard, finding.Ignore}, 0},
		{"active", true, 0, []finding.Action{finding.Discard, finding.Ignore}, []finding.Action{finding.Ignore, finding.Discard}, 1},
		{"open", true, 3, []finding.Action{finding.Discard, MarkFaulty, finding.Ignore}, []finding.Action{MarkFaulty, finding.Ignore}, 1},
		{"open, deletion not suggested", true, 3, []finding.Action{MarkFaulty, finding.Discard, finding.Ignore}, []finding.Action{MarkFaulty, finding.Ignore}, 1},
		{"open, nothing else", true, 1, []finding.Action{finding.Discard}, []finding.Action{finding.Ignore}, 1},
		{"open, not about deletion", true, 1, []finding.Action{finding.Rewrite, finding.Ignore}, []finding.Action{finding.Rewrite, finding.Ignore}, 1},
	} {
		e := &evidence{live: true, open: map[uint32]int{}, names: map[uint32]string{}}
		if c.active {
			e.open[7], e.names[7] = c.open, "p-snap-3"
		}
		g := &judge{joined: &joined{evidence: e}}
		f := judged{Finding: finding.Finding{Actions: slices.Clone(c.actions), Suggested: c.actions[0]}}
		f.about(&snapshotdb.Device{ID: 7}, nil, &thinmeta.Device{ID: 7})
		g.guardOpen(&f)
		if !slices.Equal(f.Actions, c.want) || f.Suggested != c.want[0] || len(f.Evidence) != c.evidence {
			t.Errorf("%s: %q, suggested %s, evidence %v; want %q", c.name, f.Actions, f.Suggested, f.Evidence, c.want)
		}
	}
}

func TestSameRecords(t *testing.T) {
	a := "1@2 3@4 live:rw:0:false" + usedMark + "5/10:3/9"
	if !sameRecords(a, "1@2 3@4 live:rw:0:false"+usedMark+"6/10:4/9") || sameRecords(a, "1@2 3@5 live:rw:0:false"+usedMark+"5/10:3/9") ||
		sameRecords(a, "1@2 3@4 live:ro:0:false"+usedMark+"5/10:3/9") {
		t.Error("what was written to devices and what was written to records is not told apart")
	}
}
