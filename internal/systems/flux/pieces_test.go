package flux

import (
	"bytes"
	"crypto/sha1"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/pierrec/lz4/v4"
	"pgregory.net/rapid"

	"fettle/internal/format/treeobj"
)

// hostileHash draws hashes that crowd into few shards and share most of the bits that the index keeps.
func hostileHash(t *rapid.T) []byte {
	h := make([]byte, rapid.SampledFrom([]int{20, 32}).Draw(t, "length"))
	b := rapid.SampledFrom([]byte{0, 1, 0x7f, 0xff})
	h[0], h[1] = b.Draw(t, "shard"), b.Draw(t, "shard low")
	h[2], h[9] = b.Draw(t, "high"), rapid.Byte().Draw(t, "low")
	return h
}

type indexKey struct {
	shard  int
	fp     uint64
	sha256 bool
}

func keyOfHash(h []byte) indexKey {
	shard, fp := printOf(h)
	return indexKey{shard, fp, len(h) == 32}
}

// TestIndexIsAMap compares the index with a map of the best row of each hash.
func TestIndexIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := &index{}
		best := map[indexKey]int{} // rank of the best row
		rows := map[indexKey]int{}
		n := rapid.IntRange(0, 400).Draw(t, "rows")
		for i := range n {
			h := hostileHash(t)
			st := rapid.IntRange(0, 2).Draw(t, "status")
			flags := uint16(st)
			if len(h) == 32 {
				flags |= flagSHA256
			}
			class := rapid.SampledFrom([]uint16{0, flagBlobKey, flagSalvaged, flagBlobKey | flagSalvaged}).Draw(t, "class")
			shard, fp := printOf(h)
			x.add(shard, makeEntry(fp, uint32(i+1), i, flags|class))
			k, rank := keyOfHash(h), st<<8|int(class)
			if old, ok := best[k]; !ok || rank < old {
				best[k] = rank
			}
			rows[k]++
		}
		x.seal(rapid.IntRange(1, 4).Draw(t, "workers"))
		if x.n != n {
			t.Fatalf("%d entries, %d were added", x.n, n)
		}
		check := func(h []byte) {
			k := keyOfHash(h)
			i := x.find(h)
			rank, ok := best[k]
			if !ok {
				if i >= 0 {
					t.Fatalf("%x was found and never added", h)
				}
				return
			}
			if i < 0 {
				t.Fatalf("%x was added and is not found", h)
			}
			e := x.at(i)
			if e.fp != k.fp || e.has(flagSHA256) != k.sha256 {
				t.Fatalf("%x: found the row of another hash", h)
			}
			if got := int(e.status())<<8 | int(e.where&(flagBlobKey|flagSalvaged)); got != rank {
				t.Fatalf("%x: found a row of rank %x, the best is %x", h, got, rank)
			}
			if e.has(flagDuplicate) != (rows[k] > 1) {
				t.Fatalf("%x: %d rows, flagged as duplicate: %v", h, rows[k], e.has(flagDuplicate))
			}
		}
		for range 50 {
			check(hostileHash(t))
		}
		for i := range x.n { // every number leads to an entry, and rows of one hash stand together
			if i > 0 && x.at(i-1) == x.at(i) {
				t.Fatal("one entry under two numbers")
			}
		}
	})
}

// TestIndexUniform uses hashes as they are, which the search is tuned for.
func TestIndexUniform(t *testing.T) {
	x := &index{}
	hash := func(i int) []byte { h := sha1.Sum([]byte(fmt.Sprint(i))); return h[:] }
	const n = 200000
	for i := range n {
		shard, fp := printOf(hash(i))
		x.add(shard, makeEntry(fp, uint32(i), 7, 0))
	}
	x.seal(2)
	for i := range n {
		if at := x.find(hash(i)); at < 0 || x.at(at).page() != uint32(i) || x.at(at).cell() != 7 {
			t.Fatalf("hash %d: found at %d", i, at)
		}
		if x.find(hash(n+i)) >= 0 {
			t.Fatalf("hash %d was found and never added", n+i)
		}
	}
	if x.twins != 0 || x.find(nil) != -1 {
		t.Error("twins or the zero reference were found")
	}
}

// damagedRow makes a row as the decoder would after a sweep.
func damagedRow(content, stored []byte, size int64) *blobRow {
	return &blobRow{Hash: treeobj.Hash(treeobj.SHA1, content).Sum(), Stored: stored, Size: size, Status: statusMismatch}
}

func compressed(t testing.TB, content []byte) []byte {
	t.Helper()
	buf := make([]byte, lz4.CompressBlockBound(len(content)))
	n, err := lz4.CompressBlock(content, buf, nil)
	if err != nil || n == 0 {
		t.Fatalf("not compressible: %v", err)
	}
	return buf[:n]
}

// TestMendEveryBit flips each bit of stored rows.
func TestMendEveryBit(t *testing.T) {
	packed := []byte(strings.Repeat("abcdefgh", 40) + "tail")
	for _, c := range []struct {
		name            string
		content, stored []byte
		size            int64
	}{
		{"one byte", []byte("x"), []byte("x"), -1},
		{"raw", []byte("hello, content store\n"), []byte("hello, content store\n"), -1},
		{"lz4", packed, compressed(t, packed), int64(len(packed))},
	} {
		for bit := range len(c.stored) * 8 {
			stored := slices.Clone(c.stored)
			stored[bit/8] ^= 1 << (bit % 8)
			budget := int64(mendAll)
			got, how, ok := mend(damagedRow(c.content, stored, c.size), &budget)
			if !ok || !bytes.Equal(got, c.content) || how == "" {
				t.Fatalf("%s, bit %d: %v, %q", c.name, bit, ok, got)
			}
			if budget > mendAll || budget < mendAll-mendRow {
				t.Fatalf("%s: budget %d", c.name, budget)
			}
		}
	}
}

func TestMend(t *testing.T) {
	packed := []byte(strings.Repeat("abcdefgh", 40))
	lz := compressed(t, packed)
	twoBits := []byte("hello, content stose\n")
	twoBits[0] ^= 1
	for _, c := range []struct {
		name    string
		content []byte
		stored  []byte
		size    int64
		budget  int64
		ok      bool
	}{
		{"size too small", packed, lz, 12, 0, true},
		{"size too large", packed, lz, 100000, 0, true},
		{"size says raw", packed, lz, -1, 0, true},
		{"size says lz4", []byte("as it is"), []byte("as it is"), 8, 0, true},
		{"size absurd", packed, lz, -77, 0, true},
		{"two bits", []byte("hello, content store\n"), twoBits, -1, mendAll, false},
		{"cut off", packed, lz[:len(lz)-3], int64(len(packed)), mendAll, false},
		{"no object", packed, nil, -1, mendAll, false},
		{"empty object", packed, []byte{}, -1, mendAll, false},
		{"one bit without budget", []byte("ab"), []byte("aa"), -1, 31, false},
		{"two bits apart with budget", []byte("ab"), []byte("ac"), -1, 32, true},
		{"too large for one row", bytes.Repeat([]byte{1}, 1<<14), append(bytes.Repeat([]byte{1}, 1<<14-1), 3), -1, 1 << 60, false},
	} {
		budget := c.budget
		got, _, ok := mend(damagedRow(c.content, c.stored, c.size), &budget)
		if ok != c.ok || ok && !bytes.Equal(got, c.content) {
			t.Errorf("%s: %v, %q", c.name, ok, got)
		}
		if budget < 0 {
			t.Errorf("%s: the budget was overdrawn: %d", c.name, budget)
		}
	}
}

// TestUnpackedLen reads the length of blocks without decoding them, so that a bomb is not decoded to find out.
func TestUnpackedLen(t *testing.T) {
	for _, n := range []int{1, 14, 15, 16, 255, 270, 5000, 1 << 20} {
		for _, content := range [][]byte{bytes.Repeat([]byte("ab"), n), []byte(strings.Repeat("0123456789abcdef!", n))} {
			buf := make([]byte, lz4.CompressBlockBound(len(content)))
			stored, err := lz4.CompressBlock(content, buf, nil)
			if err != nil || stored == 0 {
				continue // not compressible
			}
			if got := unpackedLen(buf[:stored]); got != int64(len(content)) {
				t.Errorf("block of %d bytes: length %d", len(content), got)
			}
			if got := unpackedLen(buf[:stored-1]); got == int64(len(content)) {
				t.Errorf("a block of %d bytes that is cut off passes", len(content))
			}
		}
	}
	bomb := append([]byte{0x1f, 'A', 1, 0}, bytes.Repeat([]byte{255}, 1<<20)...)
	bomb = append(bomb, 0, 0x50, 'A', 'A', 'A', 'A', 'A')
	if got, want := unpackedLen(bomb), int64(1+4+15+255*(1<<20)+5); got != want {
		t.Errorf("length of a bomb: %d, want %d", got, want)
	}
	budget := int64(mendRow)
	if _, ok := unpackUnknown(bomb, &budget); ok || budget != mendRow {
		t.Errorf("a bomb is decoded: %v, budget %d", ok, budget)
	}
}

func TestEventCodes(t *testing.T) {
	line := func(name string) string {
		return `{"timestamp":1795225792.97,"name":"` + name + `","context":{"name":"clean"}}` + "\n"
	}
	for _, c := range []struct {
		content     string
		first, last eventCode
	}{
		{"", evNone, evNone},
		{"text", evNone, evNone},
		{`{"name":"submit"}`, evNone, evNone},
		{line("submit"), evSubmit, evSubmit},
		{line("submit") + line("validate") + line("clean"), evSubmit, evClean},
		{strings.TrimSuffix(line("submit")+line("finish"), "\n"), evSubmit, evFinish},
		{line("exception"), evOther, evOther},
		{line("submit-x"), evOther, evOther},
		{`{"timestamp":1}`, evOther, evOther},
		{`{"timestamp":1,"name":"submit`, evOther, evOther},
		{line("alloc") + "\n", evAlloc, evOther},
		{`{"timestamp":` + strings.Repeat("1", 200) + `,"name":"submit"}`, evOther, evOther},
	} {
		if first, last := eventCodes([]byte(c.content)); first != c.first || last != c.last {
			t.Errorf("%.60q: %d %d, want %d %d", c.content, first, last, c.first, c.last)
		}
		e := makeEntry(1, 2, 3, eventFlags(c.first, c.last))
		if e.firstEvent() != c.first || e.lastEvent() != c.last || e.page() != 2 || e.cell() != 3 || e.status() != statusGood {
			t.Errorf("%.60q: changed by an entry: %d %d", c.content, e.firstEvent(), e.lastEvent())
		}
	}
}

func TestJobOrder(t *testing.T) {
	for _, c := range []struct {
		blobs string // first and last event of each blob
		bad   bool
	}{
		{"", false},
		{"submit-submit validate-validate alloc-start finish-clean", false},
		{"submit-clean", false},
		{"submit-submit exception-exception clean-clean", false},
		{"validate-validate", true},
		{"exception-exception submit-submit", true},
		{"submit-submit submit-submit", true},
		{"submit-clean alloc-alloc", true},
		{"submit-clean exception-exception", false},
		{"submit-clean clean-clean", true},
		{"none-none submit-submit", false},
		{"submit-submit none-none clean-clean", false},
		{"none-none alloc-alloc", true},
	} {
		var o jobOrder
		code := func(s string) eventCode {
			if s == "none" {
				return evNone
			}
			if c, ok := eventNames[s]; ok {
				return c
			}
			return evOther
		}
		for _, b := range strings.Fields(c.blobs) {
			first, last, _ := strings.Cut(b, "-")
			o.add(makeEntry(0, 1, 0, eventFlags(code(first), code(last))))
		}
		if o.bad != c.bad {
			t.Errorf("%s: bad is %v", c.blobs, o.bad)
		}
	}
}

func TestMatchKey(t *testing.T) {
	for _, c := range []struct {
		pattern, key string
		want         bool
	}{
		{"job.*.guest.output", "job.0000.0016.0400.0000.guest.output", true},
		{"job.*.guest", "job.0000.0016.0400.0000.guest.output", true},
		{"job.*.guest.output", "job.0000.0016.0400.0000.guest.input", false},
		{"job", "job.0000", true},
		{"job", "jobs.0000", false},
		{"a.b", "a", false},
		{"[", "[", false},
	} {
		if got := matchKey(c.pattern, c.key); got != c.want {
			t.Errorf("%s on %s: %v", c.pattern, c.key, got)
		}
	}
}
