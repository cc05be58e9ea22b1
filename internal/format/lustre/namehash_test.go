package lustre

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestCrushHash(t *testing.T) {
	for _, c := range []struct{ a, b, want uint32 }{{0, 0, 0x19ad4ce9}, {1, 2, 0xb78dee9c}, {4095, 3, 0x61bd085a}} {
		if got := crushHash(c.a, c.b); got != c.want {
			t.Errorf("H(%d,%d) = %08x, want %08x", c.a, c.b, got, c.want)
		}
	}
}

// The values were computed from the description of the algorithm by a program of its own.
var nameVectors = []struct {
	name       string
	fnv        uint64
	two        [4]uint32 // all_char, fnv_1a_64, crush, crush2 of 2 shards
	four, many [4]uint32 // of 4 and of 7
}{
	{"a", 0xaf63dc4c8601ec8c, [4]uint32{1, 0, 0, 0}, [4]uint32{1, 0, 2, 2}, [4]uint32{6, 5, 6, 6}},
	{"foo", 0xdcb27518fed9d577, [4]uint32{0, 1, 1, 1}, [4]uint32{0, 3, 1, 1}, [4]uint32{2, 2, 1, 1}},
	{"rc4.d", 0xc2856d242dc59d60, [4]uint32{1, 0, 1, 1}, [4]uint32{3, 0, 3, 3}, [4]uint32{5, 5, 3, 3}},
	{"README", 0x05273d06e413b107, [4]uint32{0, 1, 0, 0}, [4]uint32{2, 3, 2, 2}, [4]uint32{3, 3, 6, 6}},
	{"file.12345678", 0xf2dd05c37fe36f37, [4]uint32{0, 1, 0, 0}, [4]uint32{2, 3, 0, 0}, [4]uint32{0, 0, 0, 0}},
	{"out.6334.log", 0xb54eb003b9a82077, [4]uint32{0, 1, 0, 1}, [4]uint32{2, 3, 0, 1}, [4]uint32{0, 2, 0, 6}},
	{".foo.123456", 0x6005161a0ca20930, [4]uint32{1, 0, 1, 0}, [4]uint32{1, 0, 1, 0}, [4]uint32{4, 5, 1, 0}},
	{".foo.1a3456", 0x6126a195bdf6cc05, [4]uint32{0, 1, 1, 0}, [4]uint32{0, 1, 1, 2}, [4]uint32{2, 4, 1, 6}},
	{"x.orig", 0x4426c195769c1fca, [4]uint32{1, 0, 1, 1}, [4]uint32{3, 2, 3, 3}, [4]uint32{4, 4, 4, 4}},
}

func TestNameHash(t *testing.T) {
	for _, v := range nameVectors {
		if got := FNV1a(v.name); got != v.fnv {
			t.Errorf("fnv(%q) = %016x, want %016x", v.name, got, v.fnv)
		}
		for h := uint32(HashAllChar); h <= HashCrush2; h++ {
			for n, want := range map[uint32]uint32{1: 0, 2: v.two[h-1], 4: v.four[h-1], 7: v.many[h-1]} {
				if got, ok := NameHash(h|HashFlagFixed, v.name, n); !ok || got != want {
					t.Errorf("%s of %q over %d: %d, %v; want %d", HashName(h), v.name, n, got, ok, want)
				}
			}
		}
	}
	for _, h := range []uint32{0, 5, 0xffff} {
		if _, ok := NameHash(h, "a", 2); ok {
			t.Errorf("hash %d is known", h)
		}
	}
	if _, ok := NameHash(HashFNV, "a", 0); ok {
		t.Error("no shards")
	}
}

func TestNameHashVectors(t *testing.T) {
	dir := os.Getenv("FETTLE_FIXTURES")
	if dir == "" {
		t.Skip("FETTLE_FIXTURES is not set")
	}
	raw, err := os.ReadFile(filepath.Join(dir, "lustre", "hash-vectors.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Vectors []map[string]json.RawMessage
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, v := range file.Vectors {
		var name string
		if err := json.Unmarshal(v["name"], &name); err != nil {
			t.Fatal(err)
		}
		for key, value := range v {
			count, err := strconv.Atoi(strings.TrimPrefix(key, "n"))
			if err != nil {
				continue
			}
			var want map[string]uint32
			if err := json.Unmarshal(value, &want); err != nil {
				t.Fatal(err)
			}
			for hash, shard := range want {
				h, err := ParseHash(hash)
				if err != nil {
					t.Fatal(err)
				}
				if got, ok := NameHash(h, name, uint32(count)); !ok || got != shard {
					t.Errorf("%s of %q over %d: %d, want %d", hash, name, count, got, shard)
				}
				checked++
			}
		}
	}
	if checked < 500 {
		t.Errorf("only %d vectors were found", checked)
	}
}

// A temporary or backup file goes where its file goes.
func TestCrushStem(t *testing.T) {
	for _, c := range []struct{ name, crush, crush2 string }{
		{".file.aB3xYz", "file", "file"},
		{".file.abcdef", ".file.abcdef", ".file.abcdef"},
		{".file.ABCDEF", ".file.ABCDEF", ".file.ABCDEF"},
		{".f.123456", "f", ".f.123456"},
		{".f.12345a", "f", ".f.12345a"},
		{".f.a12345", ".f.a12345", "f"},
		{".f.a-B3xY", "f", ".f.a-B3xY"},
		{".file.a\xe9B3xY", "file", "file"},
		{"file.aB3xYz12", "file", "file"},
		{"f.20240101", "f", "f.20240101"},
		{".x.aB3xYz12", ".x", ".x"},
		{"..aB3xYz", "..aB3xYz", "..aB3xYz"},
		{"x~", "x", "x"},
		{".~", ".~", ".~"},
		{"~", "~", "~"},
		{"x.BaK", "x", "x"},
		{".bak", ".bak", ".bak"},
		{"x.sav", "x", "x"},
		{"x.ORIG", "x", "x"},
		{".orig", ".orig", ".orig"},
		{"", "", ""},
	} {
		if got := crushStem(c.name, false); got != c.crush {
			t.Errorf("crush: %q is taken for %q, want %q", c.name, got, c.crush)
		}
		if got := crushStem(c.name, true); got != c.crush2 {
			t.Errorf("crush2: %q is taken for %q, want %q", c.name, got, c.crush2)
		}
	}
}

func TestAllowed(t *testing.T) {
	const name = "foo" // fnv: 1 of 2, 3 of 4; all_char: 0 of 2 and 4; crush2: 1 of 2 and 4
	for _, c := range []struct {
		what string
		v    LMV
		want []int
	}{
		{"plain", LMV{Magic: LMVMaster, Count: 4, HashType: HashFNV}, []int{3}},
		{"lost LMV", LMV{Magic: LMVMaster, Count: 4, HashType: HashFNV | HashFlagLostLMV}, []int{3}},
		{"bad type", LMV{Magic: LMVMaster, Count: 4, HashType: HashFNV | HashFlagBadType}, nil},
		{"unknown hash", LMV{Magic: LMVMaster, Count: 4, HashType: 9}, nil},
		{"one shard of unknown hash", LMV{Magic: LMVMaster, Count: 1, HashType: 9}, []int{0}},
		{"splitting", LMV{Magic: LMVMaster, Count: 4, HashType: HashFNV | HashFlagMigration | HashFlagSplit, MigrateOffset: 2, MigrateHash: HashFNV}, []int{3, 1}},
		{"splitting, same shard", LMV{Magic: LMVMaster, Count: 4, HashType: HashCrush2 | HashFlagMigration | HashFlagSplit, MigrateOffset: 2, MigrateHash: HashCrush2}, []int{1}},
		{"merging", LMV{Magic: LMVMaster, Count: 4, HashType: HashFNV | HashFlagMigration | HashFlagMerge, MigrateOffset: 2, MigrateHash: HashAllChar}, []int{0, 3}},
		{"migrating", LMV{Magic: LMVMaster, Count: 6, HashType: HashFNV | HashFlagMigration, MigrateOffset: 4, MigrateHash: HashFNV}, []int{3, 5}},
		{"migrating from a plain directory", LMV{Magic: LMVMaster, Count: 3, HashType: HashFNV | HashFlagMigration, MigrateOffset: 2, MigrateHash: HashUnknown}, []int{1, 2}},
		{"migrating, senseless", LMV{Magic: LMVMaster, Count: 2, HashType: HashFNV | HashFlagMigration, MigrateOffset: 9}, nil},
		{"split without migration", LMV{Magic: LMVMaster, Count: 4, HashType: HashFNV | HashFlagSplit, MigrateOffset: 2}, []int{3}},
	} {
		if got := c.v.Allowed(name); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
}

// Whatever a layout says, the shards are among those that it counts.
func TestAllowedInRange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := LMV{
			Magic: LMVMaster, Count: rapid.Uint32Range(0, 3000).Draw(t, "count"),
			HashType:      rapid.Uint32Range(0, 5).Draw(t, "hash") | rapid.SampledFrom([]uint32{0, HashFlagMigration, HashFlagMigration | HashFlagSplit, HashFlagMigration | HashFlagMerge}).Draw(t, "flags"),
			MigrateOffset: rapid.Uint32Range(0, 3000).Draw(t, "offset"), MigrateHash: rapid.Uint32Range(0, 5).Draw(t, "mhash"),
		}
		if v.Insane() != "" || v.Changing() && v.MigrateOffset > v.Count {
			return
		}
		for _, n := range v.Allowed(anyName().Draw(t, "name")) {
			if n < 0 || n >= int(v.Count) {
				t.Fatalf("%v: shard %d", v, n)
			}
		}
	})
}

func BenchmarkNameHash(b *testing.B) {
	for _, h := range []uint32{HashFNV, HashCrush2} {
		b.Run(HashName(h), func(b *testing.B) {
			for b.Loop() {
				NameHash(h, "some-ordinary-name.dat", 8)
			}
		})
	}
}
