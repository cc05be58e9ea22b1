package fluxlab

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"

	"fettle/internal/lab"
)

// The names that findings about the files of a store have as their subject.
const (
	subjectDB    = "content.sqlite"
	subjectWAL   = "content.sqlite-wal"
	subjectIndex = "sqlite_autoindex_objects_1"
)

// maps reads the shape of the file, once.
func (p *patient) maps() (m *pageMap, err error) {
	if p.pages == nil {
		p.pages, err = mapPages(p.ctx, p.path)
	}
	return p.pages, err
}

// spoil zeroes a page, or overwrites it with noise that is no page of any kind.
func (p *patient) spoil(n uint32, zero bool) {
	b := make([]byte, p.pages.size)
	if !zero {
		b = noise(p.rnd, p.pages.size)
		b[0] = 0xaa
	}
	p.later(func() error { return patch(p.path, int64(n-1)*int64(len(b)), b) })
}

// pickPages takes pages that no other injury has.
func (p *patient) pickPages(n int, from []uint32) []uint32 {
	from = slices.DeleteFunc(slices.Clone(from), func(n uint32) bool { return p.taken[fmt.Sprint("page ", n)] })
	p.rnd.Shuffle(len(from), func(i, j int) { from[i], from[j] = from[j], from[i] })
	from = from[:min(n, len(from))]
	for _, n := range from {
		p.taken[fmt.Sprint("page ", n)] = true
	}
	return from
}

// badPages takes leaves with their rows, and every third time an interior page, below which every row stays readable.
func (p *patient) badPages(d *lab.Done) error {
	m, err := p.maps()
	if err != nil {
		return err
	}
	want := d.Injury.Of(len(m.leaves))
	inner := p.pickPages(want/3, m.interior)
	for i, n := range append(p.pickPages(want-len(inner), m.leaves), inner...) {
		p.spoil(n, i%2 == 0)
		d.Add("page %d: %s", n, map[bool]string{true: "zeroed", false: "overwritten"}[i%2 == 0])
		if p.orphaned(n, inner) {
			p.may(badPage, fmt.Sprintf("page %d", n), "nothing names it any more")
		} else {
			p.must(badPage, fmt.Sprintf("page %d", n), "zeroed or overwritten")
		}
		for _, r := range m.rows {
			if r.leaf == n {
				p.lost.gone[r.id] = true
			}
		}
	}
	return nil
}

// orphaned tells whether a page above n is among the spoiled ones, so that nobody can know what n was.
func (p *patient) orphaned(n uint32, spoiled []uint32) bool {
	for n = p.pages.parent[n]; n != 0; n = p.pages.parent[n] {
		if slices.Contains(spoiled, n) {
			return true
		}
	}
	return false
}

func (p *patient) badOverflow(d *lab.Done) error {
	m, err := p.maps()
	if err != nil {
		return err
	}
	var mids []uint32 // pages that are not the last of their chain
	owner := map[uint32]int64{}
	for _, r := range m.rows {
		for _, n := range r.overflow[:max(0, len(r.overflow)-1)] {
			mids = append(mids, n)
			owner[n] = r.id
		}
	}
	for _, n := range p.pickPages(d.Injury.Of(len(mids)), mids) {
		p.spoil(n, true)
		p.lost.cut[owner[n]] = true
		p.may(badPage, fmt.Sprintf("page %d", n), "an overflow page")
		d.Add("overflow page %d of row %d zeroed", n, owner[n])
	}
	return nil
}

func (p *patient) badIndexPages(d *lab.Done) error {
	m, err := p.maps()
	if err != nil {
		return err
	}
	want := d.Injury.Of(len(m.index))
	inner := p.pickPages(want/3, m.inner)
	for i, n := range append(p.pickPages(want-len(inner), m.index), inner...) {
		p.spoil(n, i%2 == 0)
		d.Add("index page %d: %s", n, map[bool]string{true: "zeroed", false: "overwritten"}[i%2 == 0])
	}
	p.must(badIndex, subjectIndex, "pages of the index are unreadable")
	return nil
}

func (p *patient) clobberHeader(d *lab.Done) error {
	kinds := []struct {
		what string
		off  int64
		with []byte
	}{
		{"first 100 bytes zeroed", 0, make([]byte, 100)},
		{"magic overwritten", 0, []byte("THIS WAS A FILE.")},
		{"page size is 4660", 16, []byte{0x12, 0x34}},
	}
	k := kinds[p.rnd.IntN(len(kinds))]
	d.Add("%s", k.what)
	p.must(badHeader, subjectDB, k.what)
	p.later(func() error { return patch(p.path, k.off, k.with) })
	return nil
}

func (p *patient) loseSchema(d *lab.Done) error {
	m, err := p.maps()
	if err != nil {
		return err
	}
	p.may(badPage, "", "the schema page")
	p.may(badIndex, "", "the index is not in the schema either")
	switch p.rnd.IntN(3) {
	case 0:
		d.Add("file of zero length")
		p.everythingGone(badSchema)
		p.later(func() error { return os.Truncate(p.path, 0) })
	case 1:
		d.Add("schema zeroed from byte 100 on")
		p.must(badSchema, subjectDB, "no schema")
		p.later(func() error { return patch(p.path, 100, make([]byte, m.size-100)) })
	default:
		d.Add("the table objects taken out of the schema")
		p.must(badSchema, subjectDB, "no table objects")
		p.later(func() error {
			return operate(p.ctx, p.path, func(s *surgeon) error {
				if err := s.exec("PRAGMA writable_schema=ON"); err != nil {
					return err
				}
				return s.exec("DELETE FROM sqlite_schema WHERE tbl_name='objects'")
			})
		})
	}
	return nil
}

// everythingGone is the truth about a file that holds nothing.
func (p *patient) everythingGone(class string) {
	p.all = true
	p.must(class, subjectDB, "nothing is in the file")
	p.truth.Expected = append(p.truth.Expected, lab.Expect{Class: noCheckpoint, Path: new(string)})
	for _, k := range p.before.paths {
		p.truth.Hide(k)
	}
	p.truth.Unrepairable = "nothing of the store is left"
}

// truncate cuts the file somewhere in its second half, on a page boundary or not.
func (p *patient) truncate(d *lab.Done) error {
	m, err := p.maps()
	if err != nil {
		return err
	}
	pages := m.pages/2 + p.rnd.IntN(m.pages/2)
	size := int64(pages) * int64(m.size)
	if p.rnd.IntN(2) == 0 {
		size += 1 + int64(p.rnd.IntN(m.size/8)) // cells fill a page from its end, so none is in what is left of this one
	}
	last := uint32(pages)
	for _, r := range m.rows {
		switch {
		case r.leaf > last:
			p.lost.gone[r.id] = true
		case slices.ContainsFunc(r.overflow, func(n uint32) bool { return n > last }):
			p.lost.cut[r.id] = true
		}
	}
	d.Add("cut to %d bytes, %d of %d pages", size, pages, m.pages)
	p.must(truncatedFile, subjectDB, "cut off")
	p.may(badPage, "", "pages behind the end of the file")
	p.may(badIndex, "", "index pages behind the end of the file")
	p.later(func() error { return os.Truncate(p.path, size) })
	return nil
}

// firstPageOnly leaves what a live store looks like when nothing has been moved from its -wal into the file yet: a header
// and an empty schema.
func (p *patient) firstPageOnly(d *lab.Done) error {
	m, err := p.maps()
	if err != nil {
		return err
	}
	d.Add("one page with an empty schema")
	p.everythingGone(walMissing)
	p.truth.Unrepairable = "what was written is in a -wal elsewhere"
	p.later(func() error {
		page, err := readHead(p.path, m.size)
		if err != nil {
			return err
		}
		clear(page[100:])
		page[100] = pageTableLeaf
		binary.BigEndian.PutUint16(page[105:], uint16(m.size))
		binary.BigEndian.PutUint32(page[28:], 1) // pages in the file
		clear(page[32:40])                       // free pages
		if err := os.Truncate(p.path, int64(m.size)); err != nil {
			return err
		}
		return patch(p.path, 0, page)
	})
	return nil
}

// readHead reads the first n bytes of a file.
func readHead(path string, n int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, n)
	_, err = f.ReadAt(b, 0)
	return b, err
}
