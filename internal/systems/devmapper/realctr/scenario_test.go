package realctr

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
)

func TestMain(m *testing.M) {
	Main()
	os.Exit(m.Run())
}

// TestScenarios plays every scenario and asks: are the four layers as it says, and as they were on a real kernel; what does
// containerd make of them without a repair; and does it answer as it did on a real kernel when it goes on.
func TestScenarios(t *testing.T) {
	for _, s := range Scenarios() {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			m, err := s.Run(context.Background(), filepath.Join(dir, "files"), filepath.Join(dir, "work"))
			if err != nil {
				t.Fatal(err)
			}
			t.Run("facts", func(t *testing.T) { sameFacts(t, &s, m.Dir) })
			if real := realState(t, &s); real != "" {
				t.Run("fixture", func(t *testing.T) { sameAsReal(t, &s, real, m.Dir) })
			}
			t.Run("works", func(t *testing.T) { works(t, &s, m.Dir) })
			t.Run("restart", func(t *testing.T) { restart(t, &s, m) })
		})
	}
}

// restart holds what containerd says after a crash against what it said in the same state on a real kernel.
func restart(t *testing.T, s *Scenario, m *Machine) {
	ctx := context.Background()
	r, err := m.Run(ctx, s.Restart...)
	if err != nil {
		t.Fatal(err)
	}
	if s.StartFails != "" {
		if !strings.Contains(r.Start, s.StartFails) {
			t.Errorf("the start says %q, should be %q", r.Start, s.StartFails)
		}
		if r, err = m.Run(ctx, s.Restart...); err != nil {
			t.Fatal(err)
		}
	}
	if r.Start != "" {
		t.Fatalf("start: %s", r.Start)
	}
	for i, o := range r.Ops {
		if want := s.Answers[i]; want == "" && o.Error != "" || !strings.Contains(o.Error, want) {
			t.Errorf("%s: %q, should be %q", o.Op, o.Error, want)
		}
	}
	if t.Failed() {
		t.Log(strings.Join(r.Log, "\n"))
	}
}

// forget drops a device's record and frees its id.
func (m *Machine) forget(name string, id uint32) error {
	db, err := bbolt.Open(m.DB("pool"), 0o600, nil)
	if err != nil {
		return err
	}
	defer db.Close()
	return db.Update(func(tx *bbolt.Tx) error {
		if err := tx.Bucket([]byte("devices")).Delete([]byte(m.Pool + "-" + name)); err != nil {
			return err
		}
		return tx.Bucket([]byte("device_ids")).Put([]byte(strconv.Itoa(int(id))), []byte{0})
	})
}
