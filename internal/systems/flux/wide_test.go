package flux

import (
	"fmt"
	"testing"

	"fettle/internal/finding"
)

// wideStore has a directory of n keys in so many checkpoints, whose directories all differ. In the newest one all keys are
// lost, each in its own way; in the oldest one they are whole if good is set, otherwise they are lost everywhere. The keys are
// values or directories.
func wideStore(t testing.TB, n, versions int, dirs, good bool) *bench {
	w := newBench(t)
	s := newSeed(t)
	value := func(lost bool, i int) string {
		text := fmt.Sprintf("part %d", i)
		switch {
		case !lost && dirs:
			return s.dir("in", s.val("side"))
		case !lost:
			return s.valref(s.put("one\n"))
		case dirs:
			return s.dirref(s.lose(s.dirText(text, s.val("x"))))
		}
		return s.valref(s.put("one\n"), s.lose(text))
	}
	for v := range versions {
		entries := []string{fmt.Sprintf("v%d", v), s.val("x")}
		for i := range n {
			entries = append(entries, fmt.Sprintf("key%06d", i), value(v > 0 || !good, i))
		}
		s.checkpoint(s.put(s.dirText("top", s.dir("wide", s.dir(entries...)))))
	}
	s.build(w.path)
	return w
}

// BenchmarkPlanWide plans for all keys of a wide directory. The time per key must not grow with their number.
func BenchmarkPlanWide(b *testing.B) {
	for _, c := range []struct {
		keys, versions int
		dirs, good     bool
	}{{1000, 2, true, true}, {4000, 2, true, true}, {16000, 2, true, true}, {4000, 5, true, false}, {16000, 5, true, false},
		{4000, 2, false, true}, {16000, 2, false, true}} {
		b.Run(fmt.Sprintf("keys=%d/versions=%d/dirs=%t/good=%t", c.keys, c.versions, c.dirs, c.good), func(b *testing.B) {
			w := wideStore(b, c.keys, c.versions, c.dirs, c.good)
			fs := w.check()
			for i := range fs {
				fs[i].Seq = i + 1
			}
			for b.Loop() {
				w.makePlan(fs, "flux/*="+string(finding.Restore))
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*c.keys), "us/key")
		})
	}
}
