package fakedm

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/plugins/snapshots/devmapper/dmsetup"
	"golang.org/x/sys/unix"

	"fettle/internal/format/thinmeta"
)

func TestMain(m *testing.M) {
	if Called(os.Args) {
		os.Exit(Main(os.Args))
	}
	os.Exit(m.Run())
}

const pool = "fake-pool"

// installed puts the programs into PATH and returns the path of a state with one pool of 1 GiB.
func installed(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	bin, err := Install(filepath.Join(dir, "bin"))
	if err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(dir, "dm.json")
	if err := Create(state, &State{Pools: []*Pool{NewPool(pool, 1<<30, 4<<20)}}); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv(Env, state)
	return state
}

// TestContainerdUnderstands runs containerd's own wrapper of dmsetup against the fake.
func TestContainerdUnderstands(t *testing.T) {
	installed(t)
	const size = 64 << 20
	if v, err := dmsetup.Version(); err != nil || !strings.HasPrefix(v, "Library version:") {
		t.Fatalf("version: %q (%v)", v, err)
	}
	for i, c := range []struct {
		what string
		do   func() error
		want error
	}{
		{"create_thin", func() error { return dmsetup.CreateDevice(pool, 1) }, nil},
		{"the same again", func() error { return dmsetup.CreateDevice(pool, 1) }, unix.EEXIST},
		{"an id of 25 bits", func() error { return dmsetup.CreateDevice(pool, 1<<24) }, unix.EINVAL},
		{"no such pool", func() error { return dmsetup.CreateDevice("nowhere", 1) }, unix.ENXIO},
		{"activate", func() error { return dmsetup.ActivateDevice(pool, "a", 1, size, "") }, nil},
		{"activate again", func() error { return dmsetup.ActivateDevice(pool, "a", 1, size, "") }, unix.EBUSY},
		{"activate what is not there", func() error { return dmsetup.ActivateDevice(pool, "b", 2, size, "") }, unix.ENODATA},
		{"activate nothing", func() error { return dmsetup.ActivateDevice(pool, "b", 1, 0, "") }, unix.EINVAL},
		{"create_snap", func() error { return dmsetup.CreateSnapshot(pool, 2, 1) }, nil},
		{"snapshot that exists", func() error { return dmsetup.CreateSnapshot(pool, 2, 1) }, unix.EEXIST},
		{"snapshot of nothing", func() error { return dmsetup.CreateSnapshot(pool, 3, 9) }, unix.ENODATA},
		{"delete an active device", func() error { return dmsetup.DeleteDevice(pool, 1) }, unix.EBUSY},
		{"delete nothing", func() error { return dmsetup.DeleteDevice(pool, 9) }, unix.ENODATA},
		{"suspend", func() error { return dmsetup.SuspendDevice("a") }, nil},
		{"resume", func() error { return dmsetup.ResumeDevice("a") }, nil},
		{"suspend nothing", func() error { return dmsetup.SuspendDevice("b") }, unix.ENXIO},
		{"remove the pool", func() error { return dmsetup.RemoveDevice(pool) }, unix.EBUSY},
		{"remove", func() error { return dmsetup.RemoveDevice("a", dmsetup.RemoveWithRetries, dmsetup.RemoveDeferred) }, nil},
		{"remove what is gone", func() error { return dmsetup.RemoveDevice("a") }, nil},
		{"delete", func() error { return dmsetup.DeleteDevice(pool, 1) }, nil},
	} {
		if err := c.do(); !errors.Is(err, c.want) || (c.want == nil) != (err == nil) {
			t.Errorf("%d %s: %v, want %v", i, c.what, err, c.want)
		}
	}
}

func TestWhatContainerdReads(t *testing.T) {
	state := installed(t)
	run(t, "dmsetup", "message", pool, "0", "create_thin 7")
	run(t, "dmsetup", "create", "x", "--table", "0 131072 thin /dev/mapper/"+pool+" 7")
	if st, err := dmsetup.Status("x"); err != nil || st.Params[0] != "0" || st.Params[1] != "-" {
		t.Fatalf("status of a new device: %+v (%v)", st, err)
	}
	run(t, "mkfs.ext4", "-E", "nodiscard", "/dev/mapper/x")
	if st, err := dmsetup.Status("x"); err != nil || st.Target != "thin" || st.Length != 131072 || st.Params[0] != "21760" {
		t.Fatalf("status after mkfs: %+v (%v)", st, err)
	}
	if st, err := dmsetup.Status(pool); err != nil || st.Target != "thin-pool" || st.Params[2] != "170/16384" || st.Params[3] != "-" {
		t.Fatalf("status of the pool: %+v (%v)", st, err)
	}
	if err := dmsetup.SuspendDevice("x"); err != nil {
		t.Fatal(err)
	}
	want := dmsetup.DeviceInfo{Name: "x", BlockDeviceName: "dm-1", TableLive: true, Suspended: true, Major: 253, Minor: 1, TargetCount: 1}
	if info, err := dmsetup.Info("x"); err != nil || len(info) != 1 || *info[0] != want {
		t.Errorf("info: %+v (%v)", info, err)
	}
	if info, err := dmsetup.Info(""); err != nil || len(info) != 2 {
		t.Errorf("info of all: %d (%v)", len(info), err)
	}
	if _, err := dmsetup.Info("y"); err == nil || !strings.Contains(err.Error(), "Device does not exist.") {
		t.Errorf("info of nothing: %v", err)
	}
	if _, err := dmsetup.Info("/dev/mapper/y"); !errors.Is(err, unix.ENXIO) {
		t.Errorf("info of a path that is nothing: %v", err)
	}
	if err := Edit(state, func(s *State) error { s.Node("x").Open = 1; return nil }); err != nil {
		t.Fatal(err)
	}
	if err := dmsetup.DiscardBlocks("x"); !errors.Is(err, dmsetup.ErrInUse) {
		t.Errorf("discard of a device in use: %v", err)
	}
	if err := dmsetup.RemoveDevice("x"); !errors.Is(err, unix.EBUSY) {
		t.Errorf("remove of a device in use: %v", err)
	}
	if err := dmsetup.RemoveDevice("x", dmsetup.RemoveDeferred); err != nil {
		t.Errorf("deferred: %v", err)
	}
	if err := Edit(state, func(s *State) error { return s.Close("x") }); err != nil {
		t.Fatal(err)
	}
	if s := load(t, state); s.Node("x") != nil {
		t.Error("the node is there although nobody holds it open")
	}
	calls, err := Calls(state)
	if err != nil || calls[0] != "dmsetup message "+pool+" 0 create_thin 7" {
		t.Errorf("log: %q (%v)", calls, err)
	}
}

// TestSharing follows times and data blocks through snapshots and writes.
func TestSharing(t *testing.T) {
	p := NewPool("p", 1<<30, 4<<20)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(p.CreateThin(1))
	must(p.Write(1, 0, 4))
	must(p.CreateSnap(2, 1))
	must(p.Write(2, 1, 2))
	must(p.CreateSnap(3, 2))
	must(p.Write(2, 0, 2))
	want := []*Thin{
		{ID: 1, Snapped: 1, Runs: []thinmeta.Run{{Virtual: 0, Data: 0, Length: 4}}},
		{ID: 2, Created: 1, Snapped: 2, Runs: []thinmeta.Run{{Virtual: 0, Data: 6, Length: 2, Time: 2}, {Virtual: 2, Data: 5, Length: 1, Time: 1}, {Virtual: 3, Data: 3, Length: 1}}},
		{ID: 3, Created: 2, Snapped: 2, Runs: []thinmeta.Run{{Virtual: 0, Data: 0, Length: 1}, {Virtual: 1, Data: 4, Length: 2, Time: 1}, {Virtual: 3, Data: 3, Length: 1}}},
	}
	if !reflect.DeepEqual(p.Thins, want) || p.Time != 2 {
		for _, d := range p.Thins {
			t.Logf("%+v", d)
		}
		t.Errorf("time %d", p.Time)
	}
	raw, err := json.Marshal(p)
	must(err)
	var back Pool
	must(json.Unmarshal(raw, &back))
	if !reflect.DeepEqual(&back, p) {
		t.Errorf("through JSON: %+v", back)
	}
	p.DataBlocks = 8
	if err := p.Write(3, 10, 1); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("write to a full pool: %v", err)
	}
	path := filepath.Join(t.TempDir(), "thin.meta")
	must(WriteThinMeta(p, path))
	f, err := thinmeta.Open(path)
	must(err)
	defer f.Close()
	rep, err := f.Check(context.Background(), thinmeta.CheckOptions{})
	must(err)
	if len(rep.Problems) != 1 || rep.Problems[0].Kind != thinmeta.OutOfDataSpace {
		t.Errorf("problems: %+v", rep.Problems)
	}
	got, err := LoadThinMeta(path, "p")
	must(err)
	if !reflect.DeepEqual(got.Thins, want) || got.Time != 2 || got.DataBlocks != 8 || got.BlockSectors != 128 {
		t.Errorf("read back: %+v", got)
	}
}

func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name    string
		fault   Fault
		created bool // the call has done its work
		fails   string
	}{
		{"kill before", Fault{Pattern: "dmsetup message * create_thin *", Nth: 2, When: Before, How: Kill}, false, "signal: killed"},
		{"kill after", Fault{Pattern: "dmsetup message * create_thin *", Nth: 2, When: After, How: Kill}, true, "signal: killed"},
		{"fail", Fault{Pattern: "*create_thin 2", When: Before, How: Fail, Text: "device-mapper: message ioctl on x  failed: Input/output error"}, false, "exit status 1"},
		{"keep", Fault{Pattern: "*create_thin 2", When: After, How: Keep}, true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			state := installed(t)
			file := filepath.Join(t.TempDir(), "f")
			if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
				t.Fatal(err)
			}
			c.fault.Files = []string{file}
			if err := Edit(state, func(s *State) error { s.Faults = []*Fault{&c.fault}; return nil }); err != nil {
				t.Fatal(err)
			}
			// The shell is the caller; it goes on to the last command only if it lives.
			out, err := exec.Command("sh", "-c", `dmsetup message `+pool+` 0 "create_thin 1"; dmsetup message `+pool+` 0 "create_thin 2"; rc=$?; echo new >`+file+`; exit $rc`).CombinedOutput()
			if (err == nil) != (c.fails == "") || err != nil && err.Error() != c.fails {
				t.Errorf("the caller: %v %s", err, out)
			}
			if s := load(t, state); (s.Pool(pool).Thin(2) != nil) != c.created || s.Pool(pool).Thin(1) == nil || !s.Faults[0].Fired {
				t.Errorf("devices: %+v", s.Pool(pool).Thins)
			}
			if c.fault.How == Keep {
				if err := PutBack(file); err != nil {
					t.Fatal(err)
				}
				if b, _ := os.ReadFile(file); string(b) != "old" {
					t.Errorf("put back: %q", b)
				}
			}
		})
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, line string
		want          bool
	}{
		{"a b", "a b", true}, {"a b", "a b c", false}, {"a*", "a b c", true}, {"*c", "a b c", true}, {"*b", "a b c", false},
		{"a*c*e", "a/c d e", true}, {"a*c*e", "a e c", false}, {"*", "", true}, {"a*a", "a", false},
	} {
		if got := match(c.pattern, c.line); got != c.want {
			t.Errorf("%q %q: %v", c.pattern, c.line, got)
		}
	}
}

// TestMetadataSnapshot reads a live pool the way a checker must: through a metadata snapshot.
func TestMetadataSnapshot(t *testing.T) {
	state := installed(t)
	meta := filepath.Join(t.TempDir(), "meta")
	if err := os.WriteFile(meta, make([]byte, 4<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Edit(state, func(s *State) error { s.Pools[0].Metadata = meta; return nil }); err != nil {
		t.Fatal(err)
	}
	run(t, "dmsetup", "message", pool, "0", "create_thin 5")
	run(t, "dmsetup", "message", pool, "0", "reserve_metadata_snap")
	if out, err := exec.Command("dmsetup", "message", pool, "0", "reserve_metadata_snap").CombinedOutput(); err == nil || !strings.Contains(string(out), "Device or resource busy") {
		t.Errorf("a second one: %s", out)
	}
	if out := run(t, "dmsetup", "status", pool); strings.Fields(out)[6] == "-" {
		t.Errorf("no held root in %q", out)
	}
	if out := run(t, "dmsetup", "table", pool); strings.Fields(out)[3] != meta {
		t.Errorf("table: %q", out)
	}
	f, err := thinmeta.Open(meta)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.UseHeldRoot(); err != nil {
		t.Fatal(err)
	}
	if d, err := f.Devices(); err != nil || len(d) != 1 || d[0].ID != 5 {
		t.Errorf("the metadata snapshot has %+v (%v)", d, err)
	}
	run(t, "dmsetup", "message", pool, "0", "release_metadata_snap")
	run(t, "dmsetup", "remove", pool)
	if out := run(t, "dmsetup", "ls"); out != "No devices found\n" {
		t.Errorf("ls: %q", out)
	}
	run(t, "dmsetup", "create", pool, "--table", "0 2097152 thin-pool "+meta+" /dev/data 128 32768 1 skip_block_zeroing")
	if s := load(t, state); s.Pool(pool) == nil || s.Pool(pool).Thin(5) == nil || !s.Pool(pool).Active {
		t.Error("the pool was not read back")
	}
	if out := run(t, "dmsetup", "ls", "--target", "thin-pool"); !slices.Equal(strings.Fields(out), []string{pool, "(253:1)"}) {
		t.Errorf("ls: %q", out)
	}
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func load(t *testing.T, path string) *State {
	t.Helper()
	s, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
