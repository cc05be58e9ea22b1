package devmapper

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"fettle/internal/fault"
	"fettle/internal/finding"
	"fettle/internal/store"
	"fettle/internal/store/storetest"
	"fettle/internal/systems/devmapper/realctr"
)

// TestPoolNotRead has a left-over record whose thin device may or may not be there, because nobody could ask the pool: its id must not become
// free, or containerd would fail with "file exists" where the device exists after all.
func TestPoolNotRead(t *testing.T) {
	for scenario, want := range map[string]struct {
		class string
		does  finding.Action
	}{"c04": {BlocksNextID, MarkFaulty}, "c06": {StateStuck, finding.Ignore}} {
		t.Run(scenario, func(t *testing.T) {
			tmp := t.TempDir()
			b := &bench{t: t, dir: filepath.Join(tmp, "files"), run: t.TempDir()}
			s, ok := realctr.ByName(scenario)
			if !ok {
				t.Fatalf("no scenario %s", scenario)
			}
			if _, err := s.Run(t.Context(), b.dir, filepath.Join(tmp, "work")); err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(filepath.Join(b.dir, "thin.meta")); err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(b.check(), func(f finding.Finding) bool { return f.Class == want.class })
			if i < 0 {
				t.Fatalf("no %s", want.class)
			}
			f := b.check()[i]
			if f.Suggested != want.does || f.Why == "" || slices.Contains(f.Actions, finding.Discard) {
				t.Errorf("suggested %s (%s), offered %s", f.Suggested, f.Why, f.Actions)
			}
		})
	}
}

// TestEveryLeftFindingSaysWhy keeps "suggested: ignore" from standing alone below an error.
func TestEveryLeftFindingSaysWhy(t *testing.T) {
	for _, c := range Classes {
		all := []judged{{Finding: finding.Finding{Class: c.ID}}}
		giveReasons(all)
		if c.Default() == finding.Ignore && c.Severity == finding.Error && all[0].Why == "" {
			t.Errorf("%s is left without a reason", c.ID)
		}
	}
}

// TestLostDeviceIsNotClean writes metadata anew whose leaf cannot be read. The devices that lose their content are findings afterwards.
func TestLostDeviceIsNotClean(t *testing.T) {
	tmp := t.TempDir()
	b := &bench{t: t, dir: filepath.Join(tmp, "files"), run: t.TempDir()}
	s, _ := realctr.ByName("c04")
	if _, err := s.Run(t.Context(), b.dir, filepath.Join(tmp, "work")); err != nil {
		t.Fatal(err)
	}
	u := openSet(t, b.dir)
	storetest.Check(t, u, Classes...)
	lost := u.ev.thin.report.Devices[1]
	j := join(u.ev)
	at := j.thinByDev[lost.ID]
	u.ev.thin.report.Devices[at].Mapped, u.ev.thin.report.Devices[at].Details.MappedBlocks = 0, 0
	found := judgeLayers(t.Context(), j)
	i := slices.IndexFunc(found, func(f judged) bool { return f.Class == DeviceEmpty })
	if i < 0 || found[i].dev != lost.ID {
		t.Errorf("device %d has lost its content, found %d", lost.ID, i)
	}
}

// TestExchangedFiles refuses databases that were exchanged when they were copied.
func TestExchangedFiles(t *testing.T) {
	tmp := t.TempDir()
	dir := filepath.Join(tmp, "files")
	s, _ := realctr.ByName("c04")
	if _, err := s.Run(t.Context(), dir, filepath.Join(tmp, "work")); err != nil {
		t.Fatal(err)
	}
	meta, metadata := filepath.Join(dir, "meta.db"), filepath.Join(dir, "metadata.db")
	for _, mv := range [][2]string{{meta, meta + "x"}, {metadata, meta}, {meta + "x", metadata}} {
		if err := os.Rename(mv[0], mv[1]); err != nil {
			t.Fatal(err)
		}
	}
	_, err := System{}.Open(t.Context(), store.Location{System: "devmapper", Paths: []string{dir}}, store.Options{})
	if err == nil || len(fault.Hints(err)) == 0 {
		t.Errorf("exchanged files: %v", err)
	}
}
