package fluxlab

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"

	"fettle/internal/format/sqliteedit"
	"fettle/internal/lab"
)

// pageSource gives the pages of a file to sqliteedit.
type pageSource struct {
	f    *os.File
	size int
	n    uint32
}

func (s pageSource) PageSize() int     { return s.size }
func (s pageSource) PageCount() uint32 { return s.n }
func (s pageSource) ReadPage(n uint32, buf []byte) error {
	return readPage(s.f, n, buf)
}

// change is what one commit of a live instance writes: pages, and how many the database has afterwards.
type change struct {
	pages map[uint32][]byte
	count uint32
}

// live makes commits on top of the store without writing to it. Each adds blobs to a new key, with all directories up to
// a new root and a checkpoint row.
func (p *patient) live(commits, blobsEach int) (out []change, err error) {
	m, err := p.maps()
	if err != nil {
		return nil, err
	}
	f, err := os.Open(p.path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	e, err := sqliteedit.Begin(p.ctx, pageSource{f, m.size, uint32(m.pages)})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	rootText, err := p.whole.content(p.rowOf(p.root))
	if err != nil {
		return nil, err
	}
	dir := parse(rootText)
	entries, _ := members(dir.data)
	var s surgeon
	put := func(content []byte) (string, error) {
		hash := digest(len(p.root), content)
		size, object := stored(&s.lz, &s.buf, content)
		return hash, e.Exec("INSERT OR IGNORE INTO objects (hash,size,object) VALUES (?1,?2,?3)", hash, size, object)
	}
	now := clock((firstSecond + 1_000_000) * 10_000_000)
	var log []string
	last := map[uint32][]byte{}
	for i := range commits {
		for range blobsEach {
			now.tick(p.rnd, 5)
			hash, err := put(now.event("line", fmt.Sprintf(`{"text":"%x"}`, noise(p.rnd, 20+p.rnd.IntN(120)))))
			if err != nil {
				return nil, err
			}
			log = append(log, hash)
		}
		entries["live"] = refText("valref", log...)
		root, err := put(dirText(entries))
		if err != nil {
			return nil, err
		}
		value := fmt.Sprintf(`{"version":1,"rootref":"%s","sequence":%d,"timestamp":%s}`, blobref(root), 1_000_000+i, now.append(nil))
		if err := e.Exec("INSERT INTO checkpt_v2 (value) VALUES (?1)", value); err != nil {
			return nil, err
		}
		res, err := e.Pages()
		if err != nil {
			return nil, err
		}
		c := change{map[uint32][]byte{}, res.NewPageCount}
		for _, pg := range res.Pages {
			if pg.After != nil && !bytes.Equal(last[pg.Number], pg.After) {
				c.pages[pg.Number] = bytes.Clone(pg.After)
				last[pg.Number] = c.pages[pg.Number]
			}
		}
		out = append(out, c)
	}
	return out, nil
}

// walFile makes a -wal of the commits (https://www.sqlite.org/fileformat2.html, section 4). ends holds the offset behind
// each commit.
func (p *patient) walFile(commits []change, pageSize int) (out []byte, ends []int) {
	be := binary.BigEndian
	out = make([]byte, 32)
	be.PutUint32(out, 0x377f0683) // checksums are over big-endian words
	be.PutUint32(out[4:], 3007000)
	be.PutUint32(out[8:], uint32(pageSize))
	salt := [2]uint32{p.rnd.Uint32(), p.rnd.Uint32()}
	be.PutUint32(out[16:], salt[0])
	be.PutUint32(out[20:], salt[1])
	var sum [2]uint32
	walSum(&sum, out[:24])
	be.PutUint32(out[24:], sum[0])
	be.PutUint32(out[28:], sum[1])
	for _, c := range commits {
		var numbers []uint32
		for n := range c.pages {
			numbers = append(numbers, n)
		}
		slices.Sort(numbers)
		for i, n := range numbers {
			var head [24]byte
			be.PutUint32(head[:], n)
			if i == len(numbers)-1 {
				be.PutUint32(head[4:], c.count)
			}
			walSum(&sum, head[:8])
			walSum(&sum, c.pages[n])
			be.PutUint32(head[8:], salt[0])
			be.PutUint32(head[12:], salt[1])
			be.PutUint32(head[16:], sum[0])
			be.PutUint32(head[20:], sum[1])
			out = append(append(out, head[:]...), c.pages[n]...)
		}
		ends = append(ends, len(out))
	}
	return out, ends
}

// walSum continues the checksum of a -wal over b, whose length is a multiple of 8.
func walSum(s *[2]uint32, b []byte) {
	for ; len(b) >= 8; b = b[8:] {
		s[0] += binary.BigEndian.Uint32(b) + s[1]
		s[1] += binary.BigEndian.Uint32(b[4:]) + s[0]
	}
}

// withWAL adds a -wal of a few commits, spoiled by spoil.
func (p *patient) withWAL(spoil func(wal []byte, ends []int, frame int) []byte) error {
	commits, err := p.live(4, 3)
	if err != nil {
		return err
	}
	wal, ends := p.walFile(commits, p.pages.size)
	wal = spoil(wal, ends, p.pages.size+24)
	p.later(func() error { return os.WriteFile(p.path+"-wal", wal, 0o600) })
	return nil
}

// shortWAL ends the -wal inside a frame of its last commit, so that SQLite reads the ones before.
func (p *patient) shortWAL(d *lab.Done) error {
	p.must(walTruncated, subjectWAL, "ends inside a frame")
	return p.withWAL(func(wal []byte, ends []int, frame int) []byte {
		at := ends[2] + 24 + p.rnd.IntN(frame-48)
		d.Add("-wal of 4 commits cut to %d of %d bytes", at, len(wal))
		return wal[:at]
	})
}

// corruptWAL flips a bit of a page in the second commit.
func (p *patient) corruptWAL(d *lab.Done) error {
	p.must(walCorrupt, subjectWAL, "a frame fails its checksum")
	return p.withWAL(func(wal []byte, ends []int, frame int) []byte {
		at := ends[0] + 24 + p.rnd.IntN(frame-24)
		wal[at] ^= 1 << p.rnd.IntN(8)
		d.Add("-wal of 4 commits with a flipped bit in byte %d", at)
		return wal
	})
}

// tear makes the file what archiving it slowly while it is being written leaves: the header as it was at the start, later
// pages as they were at later moments, cut to the length it had at the start, and no -wal.
func (p *patient) tear(d *lab.Done) error {
	m, err := p.maps()
	if err != nil {
		return err
	}
	const moments = 8
	commits, err := p.live(moments, 40+len(m.rows)/16)
	if err != nil {
		return err
	}
	d.Add("pages of %d moments mixed, %d of %d pages", moments+1, m.pages, commits[moments-1].count)
	p.all = true
	p.must(liveCopy, subjectDB, "torn")
	for _, r := range recipes() {
		if r.Class != liveCopy {
			p.may(r.Class, "", "a consequence of the torn copy")
		}
	}
	p.truth.Unrepairable = "the original may be in order"
	p.later(func() error {
		f, err := os.OpenFile(p.path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		for n := uint32(2); n <= uint32(m.pages) && err == nil; n++ {
			moment := 1 + int(uint64(n)*moments/uint64(m.pages+1)) // 0 would be before the first commit
			for i := moment - 1; i >= 0 && err == nil; i-- {
				if page, ok := commits[i].pages[n]; ok {
					_, err = f.WriteAt(page, int64(n-1)*int64(m.size))
					break
				}
			}
		}
		return errors.Join(err, f.Close())
	})
	return nil
}
