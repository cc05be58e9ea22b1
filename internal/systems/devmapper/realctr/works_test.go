package realctr

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fettle/internal/systems/devmapper/fakedm"
)

// works asks for a verdict on a scenario as the crash left it, without any repair.
func works(t *testing.T, s *Scenario, dir string) {
	first, _, _ := strings.Cut(s.Name, "-")
	want := map[string]string{
		"c04": "is already there", "c05": "is already there", "c14": "file exists", "c17": "no data available", "c08": "garbage collection",
	}[first]
	h, err := Try(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Err(); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("containerd says %v, should be %q", err, want)
	}
	if len(h.Dead) > 0 {
		t.Errorf("dead: %q", h.Dead)
	}
}

// TestWorksSeesDead takes the device away from a container and says so in the record, so that the node works and the container does not.
func TestWorksSeesDead(t *testing.T) {
	s, _ := ByName("c17")
	ctx, dir := context.Background(), t.TempDir()
	m, err := s.Run(ctx, filepath.Join(dir, "files"), filepath.Join(dir, "work"))
	if err != nil {
		t.Fatal(err)
	}
	if r, err := m.Run(ctx); err != nil || r.Start == "" { // marks the device as faulty
		t.Fatalf("%+v (%v)", r, err)
	}
	if err := m.SaveThin(); err != nil {
		t.Fatal(err)
	}
	h, err := Try(ctx, m.Dir)
	if err := errors.Join(err, h.Err()); err != nil {
		t.Fatal(err)
	}
	if len(h.Dead) != 1 || !strings.HasPrefix(h.Dead[0], "c2: ") {
		t.Errorf("dead: %q", h.Dead)
	}
}

// TestWorksByHand repairs the blocked node as an operator would who could edit the database.
func TestWorksByHand(t *testing.T) {
	s, _ := ByName("c04")
	ctx, dir := context.Background(), t.TempDir()
	m, err := s.Run(ctx, filepath.Join(dir, "files"), filepath.Join(dir, "work"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.DMSetup("message", m.Pool, "0", "delete 6"); err != nil {
		t.Fatal(err)
	}
	if err := m.forget("snap-6", 6); err != nil {
		t.Fatal(err)
	}
	if err := m.SaveThin(); err != nil {
		t.Fatal(err)
	}
	if err := Works(ctx, m.Dir); err != nil {
		t.Error(err)
	}
	if st, err := fakedm.Load(m.State()); err != nil || len(st.Nodes) != 0 {
		t.Errorf("Works has touched the machine: %v (%v)", st.Nodes, err)
	}
}

// TestLookAtDamage reads databases that bolt cannot: pages are missing or overwritten.
func TestLookAtDamage(t *testing.T) {
	s, _ := ByName("healthy")
	dir := t.TempDir()
	m, err := s.Run(context.Background(), filepath.Join(dir, "files"), filepath.Join(dir, "work"))
	if err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(m.DB("metadata"))
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at+4096 < len(whole); at += 4096 {
		if err := os.WriteFile(m.DB("metadata"), whole[:at+2048], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Look(m.Dir, m.Pool); err == nil && at < 8192 {
			t.Errorf("a file of %d bytes is fine", at+2048)
		}
		junk := slices.Clone(whole)
		copy(junk[at:], bytes.Repeat([]byte{0xa5}, 4096))
		if err := os.WriteFile(m.DB("metadata"), junk, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Look(m.Dir, m.Pool); err != nil {
			t.Logf("page %d: %v", at/4096, err)
		}
	}
}
