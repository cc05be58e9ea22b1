package livepool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fettle/internal/fault"
	"fettle/internal/format/thinmeta"
	"fettle/internal/systems/devmapper/fakedm"
)

// jobEnv makes the test binary a process that holds a snapshot: its value is a state directory and what to do in between.
const jobEnv = "FETTLE_LIVEPOOL_TEST"

func TestMain(m *testing.M) {
	switch {
	case fakedm.Called(os.Args):
		os.Exit(fakedm.Main(os.Args))
	case Watching(os.Args):
		os.Exit(Watch(os.Args))
	case os.Getenv(jobEnv) != "":
		os.Exit(child(os.Getenv(jobEnv)))
	}
	os.Exit(m.Run())
}

const poolName = "test-pool"

// machine is a fake computer with one thin pool.
type machine struct {
	t     *testing.T
	state string // of the fake device-mapper
	desk  string // state directory
}

// newMachine makes a pool with a base device 1, its snapshot 2, and device 7 with nothing in common with them. Device 2 is active
// as test-pool-snap-2.
func newMachine(t *testing.T) *machine {
	t.Helper()
	dir := t.TempDir()
	bin, err := fakedm.Install(filepath.Join(dir, "bin"))
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t, filepath.Join(dir, "dm.json"), filepath.Join(dir, "desk")}
	p := fakedm.NewPool(poolName, 1<<30, 4<<20)
	p.Metadata = filepath.Join(dir, "tmeta")
	p.Minor = 4
	err = errors.Join(p.CreateThin(1), p.Write(1, 0, 100), p.CreateSnap(2, 1), p.Write(2, 50, 10), p.CreateThin(7), p.Write(7, 0, 5))
	s := &fakedm.State{Pools: []*fakedm.Pool{p}, Minor: 5, Nodes: []*fakedm.Node{{Name: poolName + "-snap-2", Pool: poolName, Device: 2, Sectors: 1 << 14, Minor: 5}}}
	if err := errors.Join(err, fakedm.WriteThinMeta(p, p.Metadata), fakedm.Create(m.state, s)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv(fakedm.Env, m.state)
	return m
}

func (m *machine) find() *Pool {
	m.t.Helper()
	p, ok, err := Find(context.Background(), poolName)
	if err != nil || !ok {
		m.t.Fatalf("find: %v, %v", ok, err)
	}
	return p
}

func (m *machine) edit(change func(*fakedm.State, *fakedm.Pool)) {
	m.t.Helper()
	err := fakedm.Edit(m.state, func(s *fakedm.State) error { change(s, s.Pool(poolName)); return nil })
	if err != nil {
		m.t.Fatal(err)
	}
}

// held is the block of the snapshot that is held, 0 for none.
func (m *machine) held() uint64 {
	m.t.Helper()
	s, err := fakedm.Load(m.state)
	if err != nil {
		m.t.Fatal(err)
	}
	return s.Pool(poolName).HeldRoot
}

// marked tells whether there is a marker.
func (m *machine) marked() bool {
	_, err := os.Stat(desk{m.desk, poolName}.path("held"))
	return err == nil
}

// messages lists the messages that were sent.
func (m *machine) messages() []string {
	m.t.Helper()
	calls, err := fakedm.Calls(m.state)
	if err != nil {
		m.t.Fatal(err)
	}
	var out []string
	for _, c := range calls {
		if text, ok := strings.CutPrefix(c, "dmsetup message "+poolName+" 0 "); ok {
			out = append(out, text)
		}
	}
	return out
}

// clean waits until nothing is held and no marker is left; a watchdog needs its time.
func (m *machine) clean() {
	m.t.Helper()
	for range 600 {
		if m.held() == 0 && !m.marked() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	m.t.Fatalf("held at block %d, marker: %v", m.held(), m.marked())
}

func TestFind(t *testing.T) {
	m := newMachine(t)
	p := m.find()
	if p.Name != poolName || p.DataBlockSectors != 128 || !strings.HasSuffix(p.MetadataDevice, "/tmeta") || p.number != "253:4" {
		t.Errorf("%+v", p)
	}
	if _, ok, err := Find(context.Background(), "other"); ok || err != nil {
		t.Errorf("a pool that is not there: %v, %v", ok, err)
	}
	m.edit(func(_ *fakedm.State, p *fakedm.Pool) { p.Active = false })
	if _, ok, err := Find(context.Background(), poolName); ok || err != nil {
		t.Errorf("a pool that is not active: %v, %v", ok, err)
	}
	for _, bad := range []string{"", "-h", "a/b", "a b", "/dev/mapper/x", strings.Repeat("x", 128)} {
		if _, _, err := Find(context.Background(), bad); fault.KindOf(err) != fault.Usage {
			t.Errorf("name %q: %v", bad, err)
		}
	}
	t.Setenv("PATH", t.TempDir())
	if _, ok, err := Find(context.Background(), poolName); ok || err != nil {
		t.Errorf("without dmsetup: %v, %v", ok, err)
	}
}

// TestFindFails: a dmsetup that cannot do its work is an error with a hint, but for a kernel without device-mapper.
func TestFindFails(t *testing.T) {
	for _, c := range []struct{ text, hint string }{
		{"/dev/mapper/control: open failed: Permission denied", "root"},
		{"something else", ""},
		{"/dev/mapper/control: open failed: No such device", "no error"},
	} {
		m := newMachine(t)
		m.edit(func(s *fakedm.State, _ *fakedm.Pool) {
			s.Faults = []*fakedm.Fault{{Pattern: "dmsetup table*", When: fakedm.Before, How: fakedm.Fail, Text: c.text}}
		})
		_, ok, err := Find(context.Background(), poolName)
		if c.hint == "no error" {
			if ok || err != nil {
				t.Errorf("%s: %v, %v", c.text, ok, err)
			}
			continue
		}
		var e *CommandError
		if ok || !errors.As(err, &e) || e.Code != 1 || e.Text != c.text || e.Command != "dmsetup table --target thin-pool" {
			t.Fatalf("%s: %v, %v", c.text, ok, err)
		}
		if !strings.Contains(strings.Join(fault.Hints(err), " "), c.hint) {
			t.Errorf("%s: hints %q", c.text, fault.Hints(err))
		}
	}
}

func TestParseStatus(t *testing.T) {
	full := Status{Mode: OutOfDataSpace, TransactionID: 3, UsedMetadata: 112, TotalMetadata: 1024, UsedData: 384, TotalData: 384, Discard: "discard_passdown"}
	for _, c := range []struct {
		line string
		want func(*Status)
		bad  bool
	}{
		{line: "0 49152 thin-pool 3 112/1024 384/384 - out_of_data_space discard_passdown queue_if_no_space - 1024"},
		{line: "0 49152 thin-pool 3 112/1024 384/384 1023 rw no_discard_passdown error_if_no_space needs_check 1024 new words",
			want: func(s *Status) {
				s.Mode, s.HeldRoot, s.Discard, s.ErrorIfNoSpace, s.NeedsCheck = ReadWrite, 1023, "no_discard_passdown", true, true
			}},
		{line: "0 49152 thin-pool 3 112/1024 384/384 - ro ignore_discard queue_if_no_space",
			want: func(s *Status) { s.Mode, s.Discard = ReadOnly, "ignore_discard" }},
		{line: "0 49152 thin-pool Fail", want: func(s *Status) { *s = Status{Mode: Failed} }},
		{line: "0 49152 thin-pool Error", want: func(s *Status) { *s = Status{Mode: Errored} }},
		{line: "", bad: true},
		{line: "0 1 linear 8:1 0", bad: true},
		{line: "0 1 thin-pool x 1/2 1/2 - rw discard_passdown queue_if_no_space", bad: true},
		{line: "0 1 thin-pool 1 1/ 1/2 - rw discard_passdown queue_if_no_space", bad: true},
		{line: "0 1 thin-pool 1 1/2 -1/2 - rw discard_passdown queue_if_no_space", bad: true},
		{line: "0 1 thin-pool 1 1/2 1/2 0 rw discard_passdown queue_if_no_space", bad: true},
		{line: "0 1 thin-pool 1 1/2 1/2 - wr discard_passdown queue_if_no_space", bad: true},
		{line: "0 1 thin-pool 1 1/2 1/2 - rw passdown queue_if_no_space", bad: true},
		{line: "0 1 thin-pool 1 1/2 1/2 - rw discard_passdown queue", bad: true},
		{line: "0 1 thin-pool 1 1/2 1/2 - rw discard_passdown queue_if_no_space maybe", bad: true},
		{line: "0 1 thin-pool 1 1/2 1/2 - rw", bad: true},
	} {
		got, err := parseStatus(c.line)
		want := full
		if c.want != nil {
			c.want(&want)
		}
		if (err != nil) != c.bad || err == nil && got != want {
			t.Errorf("%q: %+v, %v", c.line, got, err)
		}
	}
}

func TestParseTable(t *testing.T) {
	p, err := parseTable("p", "0 2097152 thin-pool /dev/x /dev/y 128 32768 2 skip_block_zeroing read_only")
	if err != nil || p.MetadataDevice != "/dev/x" || p.DataDevice != "/dev/y" || p.DataBlockSectors != 128 || !p.TableReadOnly {
		t.Errorf("%+v, %v", p, err)
	}
	p, err = parseTable("p", "0 2097152 thin-pool 7:1234 7:1235 256 0")
	if err != nil || p.MetadataDevice != "/dev/block/7:1234" || p.TableReadOnly {
		t.Errorf("%+v, %v", p, err)
	}
	for _, bad := range []string{"", "0 1 thin 253:0 1", "0 1 thin-pool 7:1 7:2 0 0", "0 1 thin-pool x 7:2 128 0", "0 1 thin-pool 7:1 :2 128 0", "0 1 thin-pool 7:1 7:2 128", "1 1 thin-pool 7:1 7:2 128 0"} {
		if p, err := parseTable("p", bad); err == nil {
			t.Errorf("%q: %+v", bad, p)
		}
	}
}

func TestParseThin(t *testing.T) {
	for _, c := range []struct {
		table string
		pool  string
		id    uint32
		bad   bool
	}{
		{"0 131072 thin 253:2 10", "253:2", 10, false},
		{"0 131072 thin 253:2 16777215 8:1", "253:2", 1<<24 - 1, false},
		{"0 131072 thin Fail", "", 0, false}, // of a kernel whose pool had lost its metadata device
		{"0 131072 thin -", "", 0, false},
		{"0 131072 thin 253:2 16777216", "", 0, true},
		{"0 131072 thin 253:2 -1", "", 0, true},
		{"0 131072 linear 253:2 10", "", 0, true},
		{"0 131072 thin 253:2", "", 0, true},
		{"", "", 0, true},
	} {
		pool, id, err := parseThin(c.table)
		if pool != c.pool || id != c.id || (err != nil) != c.bad {
			t.Errorf("%q: %q, %d, %v", c.table, pool, id, err)
		}
	}
}

func FuzzAnswers(f *testing.F) {
	for _, s := range []string{"0 49152 thin-pool 3 112/1024 384/384 - rw discard_passdown queue_if_no_space - 1024", "0 1 thin-pool Fail",
		"0 2097152 thin-pool 253:0 253:1 128 32768 1 skip_block_zeroing", "L--w:253:4:0:a:b", "", ":::::"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if st, err := parseStatus(s); err == nil && st.Mode == "" {
			t.Errorf("status without mode from %q", s)
		}
		if p, err := parseTable("p", s); err == nil && (p.DataBlockSectors == 0 || !filepath.IsAbs(p.MetadataDevice)) {
			t.Errorf("%+v from %q", p, s)
		}
		if _, id, err := parseThin(s); err == nil && id > thinmeta.MaxDevice {
			t.Errorf("device %d from %q", id, s)
		}
		if i, err := parseInfo(s); err == nil && (i.name == "" || i.open < 0 || !isNumber(i.number)) {
			t.Errorf("%+v from %q", i, s)
		}
	})
}

func TestNodes(t *testing.T) {
	m := newMachine(t)
	m.edit(func(s *fakedm.State, _ *fakedm.Pool) {
		s.Nodes[0].Open, s.Nodes[0].Suspended = 3, true
		s.Nodes = append(s.Nodes, &fakedm.Node{Name: "a:b", Pool: poolName, Device: 7, Sectors: 8, Minor: 6})
		other := fakedm.NewPool("other", 1<<20, 1<<20)
		other.Minor = 9
		s.Pools = append(s.Pools, other)
		s.Nodes = append(s.Nodes, &fakedm.Node{Name: "others", Pool: "other", Device: 1, Sectors: 8, Minor: 10})
	})
	got, err := m.find().Nodes(context.Background())
	want := []Node{{poolName + "-snap-2", 2, 3, true}, {"a:b", 7, 0, false}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	m.edit(func(s *fakedm.State, _ *fakedm.Pool) { s.Nodes = nil })
	if got, err := m.find().Nodes(context.Background()); err != nil || len(got) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestExists(t *testing.T) {
	m := newMachine(t)
	p := m.find()
	check := func(want map[uint32]bool) {
		t.Helper()
		var ids []uint32
		for id := range want {
			ids = append(ids, id)
		}
		got, err := p.Exists(context.Background(), ids)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%v, %v; want %v", got, err, want)
		}
	}
	check(map[uint32]bool{0: false, 1: true, 2: true, 3: false, 7: true, 8: false, thinmeta.MaxDevice: false})
	// More devices than a node has room for, so that the tree has two levels.
	m.edit(func(_ *fakedm.State, p *fakedm.Pool) {
		for id := uint32(10); id < 410; id += 2 {
			if err := p.CreateThin(id); err != nil {
				t.Error(err)
			}
		}
		if err := fakedm.WriteThinMeta(p, p.Metadata); err != nil {
			t.Error(err)
		}
	})
	want := map[uint32]bool{}
	for id := uint32(9); id < 420; id++ {
		want[id] = id >= 10 && id < 410 && id%2 == 0
	}
	check(want)
	if msgs := m.messages(); len(msgs) != 0 {
		t.Errorf("messages %q", msgs)
	}
	if err := os.WriteFile(p.MetadataDevice, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := p.Exists(context.Background(), []uint32{1}); err == nil {
		t.Errorf("without a superblock: %v", got)
	}
}

func TestDelete(t *testing.T) {
	busy := fakedm.Fault{Pattern: "dmsetup message * delete *", When: fakedm.Before, How: fakedm.Fail, Text: "device-mapper: message ioctl on test-pool  failed: Device or resource busy"}
	for _, c := range []struct {
		name   string
		id     uint32
		before func(*fakedm.State, *fakedm.Pool)
		err    string // part of the error, "" for success
		left   string // devices afterwards
		calls  int    // messages
	}{
		{name: "inactive", id: 7, left: "1 2", calls: 1},
		{name: "the origin before its snapshot", id: 1, left: "2 7", calls: 1},
		{name: "not there", id: 5, left: "1 2 7", calls: 1},
		{name: "active", id: 2, err: "active as test-pool-snap-2, open count 0", left: "1 2 7"},
		{name: "open", id: 2, before: func(s *fakedm.State, _ *fakedm.Pool) { s.Nodes[0].Open = 1 }, err: "open count 1", left: "1 2 7"},
		{name: "busy once", id: 7, before: func(s *fakedm.State, _ *fakedm.Pool) { s.Faults = []*fakedm.Fault{&busy} }, left: "1 2", calls: 2},
		{name: "read-only pool", id: 7, before: func(_ *fakedm.State, p *fakedm.Pool) { p.ReadOnly = true }, err: "Operation not supported", left: "1 2 7", calls: 1},
		{name: "id of 25 bits", id: 1 << 24, err: "ids go up to", left: "1 2 7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t)
			if c.before != nil {
				m.edit(c.before)
			}
			p := m.find()
			err := p.Delete(context.Background(), c.id)
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Fatalf("%v, want %q", err, c.err)
			}
			if err != nil && strings.Contains(c.err, "open count") != errors.Is(err, ErrActive) {
				t.Errorf("%v: ErrActive is %v", err, errors.Is(err, ErrActive))
			}
			if err == nil {
				if err := p.Delete(context.Background(), c.id); err != nil {
					t.Errorf("a second time: %v", err)
				}
				if there, err := p.Exists(context.Background(), []uint32{c.id}); err != nil || there[c.id] {
					t.Errorf("it is still there: %v, %v", there, err)
				}
				c.calls++
			}
			var left []string
			m.edit(func(_ *fakedm.State, p *fakedm.Pool) {
				for _, d := range p.Thins {
					left = append(left, fmt.Sprint(d.ID))
				}
			})
			if got := strings.Join(left, " "); got != c.left {
				t.Errorf("devices %s, want %s", got, c.left)
			}
			if got := m.messages(); len(got) != c.calls {
				t.Errorf("messages %q, want %d", got, c.calls)
			}
		})
	}
}
