package flux

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// spoolRec is an index entry with its shard: what the sweep knows of one row.
type spoolRec struct {
	shard uint16
	entry entry
}

// spoolRecSize: shard 2, print 8, where 8, all big endian.
const spoolRecSize = 18

// spool is the file in the run's scratch directory that holds the index entries in the order of the table, so that a
// resumed check, a plan and a repair need not sweep again.
type spool struct {
	f   *os.File
	w   *bufio.Writer
	buf []byte
}

func spoolPath(dir string) string { return filepath.Join(dir, "objects.spool") }

// openSpool opens the spool for appending after its first keep records; what lies behind them is cut off.
func openSpool(dir string, keep int64) (*spool, error) {
	f, err := os.OpenFile(spoolPath(dir), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open index spool: %w", err)
	}
	if err := resizeSpool(f, keep); err != nil {
		f.Close()
		return nil, err
	}
	return &spool{f: f, w: bufio.NewWriterSize(f, 1<<18)}, nil
}

func resizeSpool(f *os.File, keep int64) error {
	fi, err := f.Stat()
	if err != nil {
		return fmt.Errorf("index spool: %w", err)
	}
	size := keep * spoolRecSize
	if fi.Size() < size {
		return fmt.Errorf("index spool %s has %d bytes, the checkpoint needs %d", f.Name(), fi.Size(), size)
	}
	if err := f.Truncate(size); err != nil {
		return fmt.Errorf("cut index spool: %w", err)
	}
	_, err = f.Seek(size, io.SeekStart)
	return err
}

func (s *spool) append(recs []spoolRec) error {
	for _, r := range recs {
		s.buf = binary.BigEndian.AppendUint16(s.buf[:0], r.shard)
		s.buf = binary.BigEndian.AppendUint64(s.buf, r.entry.fp)
		s.buf = binary.BigEndian.AppendUint64(s.buf, r.entry.where)
		if _, err := s.w.Write(s.buf); err != nil {
			return fmt.Errorf("write index spool: %w", err)
		}
	}
	return nil
}

func (s *spool) sync() error {
	if err := s.w.Flush(); err != nil {
		return fmt.Errorf("write index spool: %w", err)
	}
	return s.f.Sync()
}

// Close closes the file; records that were not synced may be lost, as a checkpoint does not count them.
func (s *spool) Close() error {
	err := s.w.Flush()
	if e := s.f.Close(); err == nil {
		err = e
	}
	return err
}

// loadIndex reads n entries of the spool in dir into a new index, which is still to be sealed.
func loadIndex(dir string, n int64) (*index, error) {
	x := &index{}
	if n == 0 {
		return x, nil
	}
	f, err := os.Open(spoolPath(dir))
	if err != nil {
		return nil, fmt.Errorf("read index spool: %w", err)
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 1<<18)
	var b [spoolRecSize]byte
	for i := int64(0); i < n; i++ {
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return nil, fmt.Errorf("read index spool %s, record %d of %d: %w", f.Name(), i, n, err)
		}
		shard := binary.BigEndian.Uint16(b[:])
		if shard >= shardCount {
			return nil, fmt.Errorf("index spool %s, record %d: shard %d", f.Name(), i, shard)
		}
		x.add(int(shard), entry{fp: binary.BigEndian.Uint64(b[2:]), where: binary.BigEndian.Uint64(b[10:])})
	}
	return x, nil
}
