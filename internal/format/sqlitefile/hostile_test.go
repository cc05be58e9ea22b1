package sqlitefile

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// A file of nothing but interior pages that refer to each other and to garbage at random: each page is walked once, and
// unusable ones are not read again for each of their many parents.
func TestHostileInteriorPages(t *testing.T) {
	const pages, pageSize = 2000, 4096
	rnd := rand.New(rand.NewPCG(7, 7))
	raw := make([]byte, pages*pageSize)
	for n := 1; n < pages; n++ {
		page := raw[n*pageSize : (n+1)*pageSize]
		if n%3 == 0 {
			for i := range page {
				page[i] = byte(rnd.Uint32())
			}
			page[0] = 99
			continue
		}
		const cells = 500
		page[0] = byte(TableInterior)
		binary.BigEndian.PutUint16(page[3:], cells)
		binary.BigEndian.PutUint16(page[5:], pageSize-5*cells)
		binary.BigEndian.PutUint32(page[8:], rnd.Uint32N(pages+10))
		for i := range cells {
			at := pageSize - 5*(i+1)
			binary.BigEndian.PutUint16(page[12+2*i:], uint16(at))
			binary.BigEndian.PutUint32(page[at:], rnd.Uint32N(pages+10))
			page[at+4] = byte(i)
		}
	}
	reads := 40 * pages // of at most four pages each
	limited := &limitedReader{bytes.NewReader(raw), reads, func() { t.Fatal("too much was read") }}
	f, err := newFile(limited, int64(len(raw)), nil, 0, Options{PageSize: pageSize})
	if err != nil {
		t.Fatal(err)
	}
	tree := f.Tree(2, Table)
	if tree.Interior.Count() < 20 || tree.Interior.Count() > pages || tree.Leaves.Count() != 0 || len(tree.Problems) > maxProblems+1 {
		t.Errorf("%d interior, %d leaves, %d problems", tree.Interior.Count(), tree.Leaves.Count(), len(tree.Problems))
	}
	kinds := map[ProblemKind]int{}
	for _, p := range tree.Problems {
		kinds[p.Kind]++
	}
	for _, k := range []ProblemKind{ProblemCycle, ProblemTwice, ProblemChild, ProblemDepth, ProblemOrder} {
		if kinds[k] == 0 {
			t.Errorf("no %s in %v", k, kinds)
		}
	}
}
