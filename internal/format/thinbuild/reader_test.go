package thinbuild

import (
	"context"
	"testing"

	"fettle/internal/format/thinmeta"
)

// readModel reads a file with our own reader; what it cannot read is an error.
func readModel(t testing.TB, path string) model {
	t.Helper()
	f, err := thinmeta.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, problems := f.Super(); len(problems) > 0 {
		t.Fatalf("superblock: %v", problems)
	}
	wantHealthy(t, f)
	devices, err := f.Devices()
	if err != nil {
		t.Fatal(err)
	}
	m := model{}
	for _, d := range devices {
		if !d.HasDetails || !d.HasMapping {
			t.Fatalf("device %d: details %v, mapping %v", d.ID, d.HasDetails, d.HasMapping)
		}
		md := &modelDevice{d.Details, map[uint64]Entry{}}
		for r, err := range f.Runs(d.ID) {
			if err != nil {
				t.Fatal(err)
			}
			for i := range r.Length {
				md.mappings[r.Virtual+i] = Entry{r.Virtual + i, r.Data + i, r.Time}
			}
		}
		m[d.ID] = md
	}
	return m
}

// wantReader compares what our own reader finds with what should be.
func wantReader(t testing.TB, path string, want model) {
	t.Helper()
	wantModel(t, readModel(t, path), want)
}

// wantHealthy checks everything, reference counts of data blocks included, which thin_check 0.9 does not look at.
func wantHealthy(t testing.TB, f *thinmeta.File) {
	t.Helper()
	report, err := f.Check(context.Background(), thinmeta.CheckOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range report.Problems {
		if p.Kind == thinmeta.TimeWrong {
			continue // times in the models say nothing
		}
		switch p.Kind {
		case thinmeta.NeedsCheck, thinmeta.OutOfDataSpace, thinmeta.OutOfMetadataSpace, thinmeta.HeldRoot, thinmeta.TransactionID: // no damage
		default:
			t.Errorf("%s: %s", p.Kind, p.Text)
		}
	}
	if !report.Complete {
		t.Error("not everything could be looked at")
	}
}
