package realctr

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/plugins/snapshots/devmapper"
	"github.com/klauspost/compress/zstd"
)

// facts lists what is wrong, in the words of the fixtures' truth files. It is the simplest join of the four layers that can be written down.
func facts(p *Picture) []string {
	out := []string{}
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	ids, known, owners := map[uint64]bool{}, map[string]bool{}, map[uint32]string{}
	for key, k := range p.Keys {
		known[k.Name] = true
		if _, ok := p.Snapshots[k.Name]; !ok {
			say("metadb_dangling_backend %s", key)
		}
		for _, c := range k.Children {
			if _, ok := p.Keys[c]; !ok {
				say("child_link_stale %s", c)
			}
		}
	}
	for name, s := range p.Snapshots {
		ids[s.ID] = true
		if !known[name] {
			say("unreferenced_backend_snapshot %d", s.ID)
		}
		if p.Devices[fmt.Sprintf("snap-%d", s.ID)] == nil {
			say("snapshot_without_device %d", s.ID)
		}
	}
	for name, d := range p.Devices {
		owners[d.DeviceID] = name
		id, _ := strconv.ParseUint(strings.TrimPrefix(name, "snap-"), 10, 64)
		if _, ok := p.Thins[d.DeviceID]; !ok {
			say("device_in_db_not_in_pool %s dev %d", name, d.DeviceID)
		}
		switch {
		case id > p.SnapSeq:
			say("device_without_snapshot_blocks_next_id %s state %d (metastore seq %d)", name, d.State, p.SnapSeq)
		case !ids[id]:
			say("device_without_snapshot %s", name)
		case d.State == devmapper.Removed:
			say("removed_state_live_snapshot %s", name)
		}
		if slices.Contains([]devmapper.DeviceState{0, 1, 2, 3, 5, 7, 9, 11}, d.State) {
			say("state_stuck %s %s", name, d.State)
		}
	}
	for id := range p.Thins {
		state, ok := p.IDs[id]
		switch {
		case !ok:
			say("pool_device_unknown %d", id)
		case state == 0:
			say("pool_device_id_free %d", id)
		case owners[id] == "":
			say("leaked_thin_device %d (id state %d)", id, state)
		}
	}
	for id, state := range p.IDs {
		if _, ok := p.Thins[id]; !ok && state != 0 && owners[id] == "" {
			say("id_%s_orphan %d", map[byte]string{1: "taken", 2: "faulty"}[state], id)
		}
	}
	slices.Sort(out)
	return out
}

// sameFacts holds the state after a scenario against what the scenario says.
func sameFacts(t *testing.T, s *Scenario, dir string) {
	p, err := Look(dir, PoolName)
	if err != nil {
		t.Fatal(err)
	}
	want := slices.Sorted(slices.Values(s.Facts))
	if got := facts(p); !slices.Equal(got, want) {
		t.Errorf("%q, should be %q", got, want)
	}
}

// realState is the directory of what a real kernel and a real containerd left in a scenario's situation, "" if there is none.
func realState(t *testing.T, s *Scenario) string {
	root := os.Getenv("FETTLE_FIXTURES")
	if root == "" {
		t.Log("FETTLE_FIXTURES is not set: real states are not at hand")
		return ""
	}
	name, _, _ := strings.Cut(s.Name, "-")
	if name == "healthy" {
		name = "base"
	}
	found, err := filepath.Glob(filepath.Join(root, "devmapper", "real", name+"*"))
	if err != nil || len(found) > 1 {
		t.Fatalf("real states of %s: %v, %v", name, found, err)
	}
	return strings.Join(found, "")
}

// sameAsReal holds a scenario's state against the real one in a directory.
func sameAsReal(t *testing.T, s *Scenario, from, dir string) {
	files := t.TempDir()
	for _, f := range []string{"meta.db", "metadata.db", "vg0-mythinpool.db", "thin.meta"} {
		unpack(t, filepath.Join(from, f+".zst"), filepath.Join(files, f))
	}
	real, err := Look(files, "vg0-mythinpool")
	if err != nil {
		t.Fatal(err)
	}
	if got := facts(real); !slices.Equal(got, slices.Sorted(slices.Values(s.Facts))) {
		t.Errorf("the real state is %q", got)
	}
	ours, err := Look(dir, PoolName)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []struct {
		what string
		a, b any
	}{
		{"keys", real.Keys, ours.Keys}, {"containers", real.Containers, ours.Containers}, {"snapshots", real.Snapshots, ours.Snapshots},
		{"links", real.Links, ours.Links}, {"snapshot sequence", real.SnapSeq, ours.SnapSeq}, {"devices", real.Devices, ours.Devices},
		{"ids", real.IDs, ours.IDs}, {"id sequence", real.IDSeq, ours.IDSeq}, {"thin devices", real.Thins, ours.Thins}, {"time", real.Time, ours.Time},
	} {
		a, _ := json.Marshal(part.a)
		b, _ := json.Marshal(part.b)
		if string(a) != string(b) {
			t.Errorf("%s:\nreal %s\nours %s", part.what, a, b)
		}
	}
}

func unpack(t *testing.T, from, to string) {
	t.Helper()
	raw, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	if raw, err = z.DecodeAll(raw, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}
