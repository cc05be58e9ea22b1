package sqliteedit

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
)

// journalSector is the sector size given in the journal: the header fills one.
const journalSector = 512

// journalMagic starts every journal header, https://www.sqlite.org/fileformat2.html
// section 3 ("The Rollback Journal").
const journalMagic = "\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"

// journalTail is written after the last record. SQLite takes the last 16 bytes of
// a journal for the name of a super-journal if they end with the magic; zeros
// there make sure that page content is never read as one.
const journalTail = 16

// HotJournal writes a rollback journal in SQLite's format to w. before yields the
// page numbers (from 1 to origPageCount, each once) with the bytes the pages had.
// origPageCount is the size of the database before the change, in pages. Both are
// about the main file itself, without its WAL.
//
// How to use it: write the journal to "<database>-journal", sync the file and the
// directory, only then write pages of the database, sync that, then remove the
// journal and sync the directory. If a SQLite program opens the database in
// between, it writes the old pages back and cuts the file to origPageCount pages
// before it reads anything. That holds for rollback mode and for WAL mode
// databases (header bytes 18 and 19 = 2). It needs write access to the directory:
// a read-only open fails, and an open with immutable=1 does not look at journals.
//
// A -wal that holds frames is read on top of the restored main file, and also on
// top of a completely written one. So first copy the WAL's pages to the main file,
// sync, remove the WAL, and only then make the change that the journal protects.
//
// SQLite restores whole pages only: a database file whose length is no multiple
// of the page size loses its odd end. While the file is empty (0 bytes) SQLite
// deletes the journal instead of using it, so the caller must not truncate a
// non-empty database to 0 bytes.
func HotJournal(w io.Writer, pageSize int, origPageCount uint32, before iter.Seq2[uint32, []byte]) error {
	if err := checkPageSize(pageSize); err != nil {
		return fmt.Errorf("write rollback journal: %w", err)
	}
	var nonce [4]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return fmt.Errorf("write rollback journal: %w", err)
	}
	if err := writeAll(w, journalHeader(nonce, origPageCount, pageSize)); err != nil {
		return err
	}
	lockPage := uint32(lockByteOffset/pageSize) + 1
	record := make([]byte, 4+pageSize+4)
	for n, data := range before {
		switch {
		case n == 0 || n > origPageCount:
			return fmt.Errorf("write rollback journal: page %d did not exist before (the database had %d pages)", n, origPageCount)
		case n == lockPage:
			return fmt.Errorf("write rollback journal: page %d is the lock page, SQLite cannot restore it", n)
		case len(data) != pageSize:
			return fmt.Errorf("write rollback journal: page %d has %d bytes, not %d", n, len(data), pageSize)
		}
		binary.BigEndian.PutUint32(record, n)
		copy(record[4:], data)
		sum := journalChecksum(binary.BigEndian.Uint32(nonce[:]), data)
		binary.BigEndian.PutUint32(record[4+pageSize:], sum)
		if err := writeAll(w, record); err != nil {
			return err
		}
	}
	return writeAll(w, make([]byte, journalTail))
}

// journalHeader returns the first sector of a journal. The number of records is
// given as -1: "as many as the file holds".
func journalHeader(nonce [4]byte, origPageCount uint32, pageSize int) []byte {
	h := make([]byte, journalSector)
	copy(h, journalMagic)
	binary.BigEndian.PutUint32(h[8:], 0xFFFFFFFF)
	copy(h[12:], nonce[:])
	binary.BigEndian.PutUint32(h[16:], origPageCount)
	binary.BigEndian.PutUint32(h[20:], journalSector)
	binary.BigEndian.PutUint32(h[24:], uint32(pageSize))
	return h
}

// journalChecksum is the nonce plus every 200th byte of the page, counted from
// its end, without the byte at offset 0.
func journalChecksum(nonce uint32, page []byte) uint32 {
	sum := nonce
	for i := len(page) - 200; i > 0; i -= 200 {
		sum += uint32(page[i])
	}
	return sum
}

// writeAll reports a short write as an error even if w breaks its contract.
func writeAll(w io.Writer, b []byte) error {
	n, err := w.Write(b)
	if err == nil && n != len(b) {
		err = errors.New("short write")
	}
	if err != nil {
		return fmt.Errorf("write rollback journal: %w", err)
	}
	return nil
}
