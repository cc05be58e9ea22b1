package lustre

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestShardNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, n := anyFID().Draw(t, "fid"), rapid.IntRange(0, 1999).Draw(t, "index")
		if g, m, ok := ParseShardName(ShardName(f, n)); !ok || g != f || m != n {
			t.Fatalf("%v %d %v", g, m, ok)
		}
		if g, ok := ParseRemoteParentName(RemoteParentName(f)); !ok || g != f {
			t.Fatalf("%v %v", g, ok)
		}
		if g, ok := ParsePendingName(PendingName(f)); !ok || g != f {
			t.Fatalf("%v %v", g, ok)
		}
	})
	for _, name := range []string{"", "[0x1:0x2:0x0]", "[0x1:0x2:0x0]:", "[0x1:0x2:0x0]:-1", "[0x1:0x2:0x0]:01", "0x1:0x2:0x0:1", "[0x01:0x2:0x0]:1", "[1:2:0]:1", "[0x1:0x2:0x0]:4294967296", "a"} {
		if f, n, ok := ParseShardName(name); ok {
			t.Errorf("%q is taken for shard %v %d", name, f, n)
		}
	}
	for _, name := range []string{"[0x1:0x2:0x0]", "0x1:0x2", "a", "0x1:0x2:0x0:1"} {
		if f, ok := ParseRemoteParentName(name); ok {
			t.Errorf("%q is taken for %v", name, f)
		}
	}
	for name, want := range map[string]bool{"0000000200000bd0:00000001:00000000: 0": true, "0000000200000bd0:00000001:00000000": true, "0200000bd0:00000001:00000000: 0": false, "x": false, "000000020000zbd0:00000001:00000000: 0": false} {
		if f, ok := ParsePendingName(name); ok != want || ok && f != (FID{0x200000bd0, 1, 0}) {
			t.Errorf("%q: %v %v", name, f, ok)
		}
	}
}

func TestTargetNames(t *testing.T) {
	for label, want := range map[string]struct {
		fs    string
		index uint32
		ok    bool
	}{
		"t32fs-MDT0001": {"t32fs", 1, true}, "t32fs:MDT00ff": {"t32fs", 255, true}, "a=MDT0000": {"a", 0, true}, "t32fs-OST0001": {},
		"t32fs_MDT0001": {}, "-MDT0001": {}, "MDT0001": {}, "t32fs-MDT00FF": {}, "": {},
	} {
		fs, index, ok := TargetLabel(label)
		if ok != want.ok || ok && (fs != want.fs || index != want.index) {
			t.Errorf("%q: %q %d %v", label, fs, index, ok)
		}
	}
	if MDTName(10) != "MDT000a" {
		t.Error(MDTName(10))
	}
}

func TestLostNames(t *testing.T) {
	for name, says := range map[string]string{
		"[0x200000402:0x2:0x0]-O-0":                          "no link EA",
		"[0x200000402:0x2:0x0]-[0x240000402:0x7:0x0]-D-0":    "belongs to [0x240000402:0x7:0x0]",
		"[0x200000402:0x2:0x0]-P-12":                         "made anew",
		"[0x200000402:0x2:0x0]-[0x240000402:0x7:0x0]-S-1":    "striped directory [0x240000402:0x7:0x0]",
		"[0x200000402:0x2:0x0]-N-0":                          "does not know which file",
		"[0x200000402:0x2:0x0]-R-0":                          "its name is lost",
		"[0x200000402:0x2:0x0]-[0x240000402:0x7:0x0]-1f-C-0": "slot 31 of [0x240000402:0x7:0x0]",
	} {
		l, ok := ParseLostName(name)
		if !ok || l.String() != name || !strings.Contains(l.Explain(), says) || l.Object != (FID{0x200000402, 2, 0}) {
			t.Errorf("%s: %+v %v: %s", name, l, ok, l.Explain())
		}
	}
	for _, name := range []string{"", "x", "[0x1:0x2:0x0]", "[0x1:0x2:0x0]-X-0", "[0x1:0x2:0x0]-O-", "[0x1:0x2:0x0]-O-01", "[0x1:0x2:0x0]-5-O-0", "[1:2:0]-O-0", "0x1:0x2:0x0-O-0", "[0x1:0x2:0x0]-O-0 "} {
		if l, ok := ParseLostName(name); ok {
			t.Errorf("%q is taken for %+v", name, l)
		}
	}
}

func TestDirData(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, name := anyFID().Draw(t, "fid"), anyName().Draw(t, "name")
		tail := AppendEntryFID(nil, f)
		if got, ok := EntryFID(2|DirLUFID, tail); !ok || got != f {
			t.Fatalf("%v %v", got, ok)
		}
		entry := append([]byte{1, 0, 0, 0, 0, 0, byte(len(name)), 2 | DirLUFID}, name...)
		entry = append(append(entry, tail...), make([]byte, rapid.IntRange(3, 50).Draw(t, "slack"))...)
		want := (8 + len(name) + 1 + 17 + 3) &^ 3
		if EntrySizeFID(len(name)) != want || EntryUsed(entry) != want {
			t.Fatalf("%d and %d, want %d", EntrySizeFID(len(name)), EntryUsed(entry), want)
		}
		for cut := range entry[:8+len(name)+18] {
			if got := EntryUsed(entry[:cut]); got != cut {
				t.Fatalf("cut at %d: %d bytes are in use", cut, got)
			}
		}
	})
	if EntrySize(2, 0) != 12 || EntrySizeFID(2) != 28 {
		t.Error(EntrySize(2, 0), EntrySizeFID(2))
	}
	tail := append(AppendEntryFID(nil, FIDRoot), 5, 1, 2, 3, 4)
	records, err := DecodeDirData(DirLUFID|0x20|1, tail)
	if err != nil || len(records) != 2 || records[1].Flag != 0x20 || !bytes.Equal(records[1].Data, []byte{1, 2, 3, 4}) {
		t.Errorf("%v, %v", records, err)
	}
	if f := BigFID(records[0].Data); records[0].Flag != DirLUFID || f != FIDRoot {
		t.Error(f, records[0].Flag)
	}
	for _, bad := range [][]byte{nil, {1}, {0}, {0, 0}, {0, 17, 1}, {0, 16, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}} {
		if records, err := DecodeDirData(DirLUFID|2, bad); err == nil {
			t.Errorf("%x: %v", bad, records)
		}
		if f, ok := EntryFID(DirLUFID|2, bad); ok {
			t.Errorf("%x: %v", bad, f)
		}
	}
	if _, ok := EntryFID(2, tail); ok {
		t.Error("a FID without its flag")
	}
}

func FuzzNames(f *testing.F) {
	f.Add("[0x200000402:0x2:0x0]-[0x240000402:0x7:0x0]-1f-C-0", []byte{12, 0, 0, 0, 40, 0, 1, 0x12, 'a', 0, 17})
	f.Add("[0x200000402:0x2:0x0]:1", []byte{})
	f.Fuzz(func(t *testing.T, name string, entry []byte) {
		if l, ok := ParseLostName(name); ok && l.String() != name {
			t.Fatalf("%q becomes %q", name, l)
		}
		if g, n, ok := ParseShardName(name); ok && ShardName(g, n) != name {
			t.Fatalf("%q becomes %q", name, ShardName(g, n))
		}
		ParsePendingName(name)
		TargetLabel(name)
		for h := uint32(1); h <= 4; h++ {
			if n, ok := NameHash(h, name, 7); !ok || n > 6 {
				t.Fatalf("%d, %v", n, ok)
			}
		}
		if used := EntryUsed(entry); used > len(entry) {
			t.Fatalf("%d of %d bytes", used, len(entry))
		}
	})
}
