package lustre

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
)

func TestDescribe(t *testing.T) {
	links := LinkEA{Links: []Link{{FIDRoot, "a"}, {FIDRoot, "a"}}, Overflow: 77}
	repeated, _ := links.Encode(0)
	numbers := binary.LittleEndian.AppendUint64([]byte{1, 0, 0, 0, 0, 0, 0, 0}, 4096)
	numbers = binary.LittleEndian.AppendUint64(numbers, 8)
	for _, c := range []struct {
		name  string
		value []byte
		says  []string
	}{
		{XattrLMA, LMA{Incompat: LMAIStriped, FID: FIDRoot}.Encode(), []string{"[0x200000007:0x1:0x0]", "striped"}},
		{XattrLMA, []byte{1}, []string{"1 bytes"}},
		{XattrLink, repeated, []string{`[0x200000007:0x1:0x0] "a"`, "overflow at 77", "problem: repeated at byte 43"}},
		{XattrLink, []byte("junk"), []string{"crashed"}},
		{XattrLMV, LMV{Magic: LMVShard, Count: 4, Index: 2, HashType: HashCrush2, MigrateHash: HashFNV, Pool: [16]byte{'p'}}.Encode(),
			[]string{"shard", "count=4", "index=2", "crush2", "migrate_hash=fnv_1a_64", "pool=p"}},
		{XattrLMV, Foreign{Type: 7}.Encode(LMVForeign), []string{"Type:7"}},
		{XattrLOV, []byte{1, 2, 3, 4}, []string{"32"}},
		{"trusted.som", numbers, []string{"Size:4096", "Blocks:8"}},
		{"trusted.hsm", numbers, []string{"Archive:4096", "Copied:8"}},
		{"trusted.hsm", nil, []string{"want 24"}},
	} {
		text, ok := Describe(c.name, c.value)
		for _, want := range c.says {
			if !ok || !strings.Contains(text, want) {
				t.Errorf("%s %x: %q, %v does not say %q", c.name, c.value, text, ok, want)
			}
		}
	}
	for want, l := range map[string]LOV{"v3 owner=[0x200000007:0x1:0x0] components=1 objects=4": {Magic: LOVv3, Owner: FIDRoot, Components: 1, Objects: 4}, "foreign": {Magic: LOVForeign},
		"magic=0x00000007 owner=[0x0:0x0:0x0] components=0 objects=0 released data-on-mdt": {Magic: 7, Released: true, OnMDT: true}} {
		if got := l.String(); got != want {
			t.Errorf("%#v is %q, want %q", l, got, want)
		}
	}
	if text, ok := Describe("user.x", nil); ok {
		t.Errorf("user.x is described: %s", text)
	}
	if _, ok := KnownXattr("trusted.dmv"); !ok {
		t.Error("trusted.dmv is not known")
	}
	if _, ok := KnownXattr("trusted.nonsense"); ok {
		t.Error("trusted.nonsense is known")
	}
}

// A leaf that is laid out by hand is the one that Build makes.
func TestLeaf(t *testing.T) {
	r := Range{SeqNormal, SeqNormal + 5, 3, RangeOST}
	blocks, err := BuildFLD(4096, []Range{r})
	if err != nil {
		t.Fatal(err)
	}
	entries := append(make([]byte, 32), r.AppendBig(binary.BigEndian.AppendUint64(nil, r.Start))...)
	leaf, err := ShapeFLD.Leaf(4096, entries)
	if err != nil || !bytes.Equal(leaf, blocks[1]) {
		t.Errorf("%x, %v; want %x", leaf[:80], err, blocks[1][:80])
	}
	if r.String() != "[0x200000400-0x200000405):3:ost" {
		t.Error(r)
	}
	for _, bad := range [][]byte{entries[1:], make([]byte, 4096)} {
		if _, err := ShapeFLD.Leaf(4096, bad); err == nil {
			t.Errorf("%d bytes are accepted", len(bad))
		}
	}
	for kind, b := range map[IAMKind][]byte{
		IAMLeafBlock: leaf, IAMRootBlock: blocks[0], IAMIdleBlock: {3, 0x79, 0, 0, 0, 0, 0, 0}, IAMVariableLeaf: {0x73, 0x19, 0, 0, 0, 0, 0, 0},
		IAMVariableRoot: {0xce, 0xfa, 0x1d, 0xb0, 0, 0, 0, 0}, IAMOther: make([]byte, 8),
	} {
		if got := IAMBlockKind(b); got != kind {
			t.Errorf("%x is of kind %d, want %d", b[:8], got, kind)
		}
	}
}
