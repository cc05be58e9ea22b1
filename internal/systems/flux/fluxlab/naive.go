package fluxlab

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/ncruces/go-sqlite3"
	"github.com/pierrec/lz4/v4"
)

// Class ids of package flux. They are written out here because the truth must not depend on what it judges.
const (
	danglingValref   = "flux/dangling-valref"
	danglingDirref   = "flux/dangling-dirref"
	danglingRoot     = "flux/dangling-root"
	hashMismatch     = "flux/hash-mismatch"
	undecodableBlob  = "flux/undecodable-blob"
	invalidTreeobj   = "flux/invalid-treeobj"
	notADirectory    = "flux/not-a-directory"
	hashStorageClass = "flux/hash-storage-class"
	duplicateBlob    = "flux/duplicate-blob"
	damagedOrphan    = "flux/damaged-orphan"
	eventlogOrder    = "flux/eventlog-order"
	badCheckpoint    = "flux/bad-checkpoint"
	lostCheckpoint   = "flux/unusable-checkpoint"
	noCheckpoint     = "flux/no-checkpoint"
	legacyCheckpoint = "flux/legacy-checkpoint"
	badPage          = "flux/bad-page"
	badIndex         = "flux/bad-index"
	badHeader        = "flux/bad-header"
	badSchema        = "flux/bad-schema"
	truncatedFile    = "flux/truncated-file"
	walTruncated     = "flux/wal-truncated"
	walCorrupt       = "flux/wal-corrupt"
	walMissing       = "flux/wal-missing"
	liveCopy         = "flux/live-copy"
)

// blobRow is what the walker remembers of one row of the objects table.
type blobRow struct {
	id      int64
	blobKey bool
	fault   string // "", hashMismatch or undecodableBlob
}

// checkptRow is one row of a checkpoint table.
type checkptRow struct {
	id     int64
	value  string
	text   bool // the value has storage class TEXT
	legacy bool
}

// picture is the whole content of a store as SQLite reads it, all of it in memory but the content of blobs.
type picture struct {
	conn    *sqlite3.Conn
	alg     string
	rows    map[string][]blobRow // by raw hash, in the order of row ids
	order   []string             // hashes in the order of their first row
	count   int
	checkpt []checkptRow // newest first
	tables  map[string]bool
}

// lost says which rows an injury that is still to be made will take away.
type lost struct {
	gone map[int64]bool // the whole row
	cut  map[int64]bool // part of its content
}

// look reads the store at path. It must be whole as a SQLite file. The picture must be closed.
func look(ctx context.Context, path string, without lost) (_ *picture, err error) {
	conn, err := sqlite3.OpenFlags("file:"+escapeURI(path)+"?immutable=1", sqlite3.OPEN_READONLY|sqlite3.OPEN_URI)
	if err != nil {
		return nil, fmt.Errorf("look at %s: %w", path, err)
	}
	p := &picture{conn: conn, alg: "sha1", rows: map[string][]blobRow{}, tables: map[string]bool{}}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	err = p.query("SELECT name FROM sqlite_master WHERE type='table'", func(s *sqlite3.Stmt) error {
		p.tables[s.ColumnText(0)] = true
		return nil
	})
	if err != nil {
		return nil, err
	}
	if p.tables["objects"] {
		if err := p.readObjects(ctx, without); err != nil {
			return nil, err
		}
	}
	return p, p.readCheckpoints()
}

func (p *picture) close() error { return p.conn.Close() }

// escapeURI protects the characters that mean something in a SQLite URI.
func escapeURI(path string) string {
	return strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path)
}

func (p *picture) query(sql string, fn func(*sqlite3.Stmt) error) error {
	s, _, err := p.conn.Prepare(sql)
	if err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	defer s.Close()
	for s.Step() {
		if err := fn(s); err != nil {
			return err
		}
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	return nil
}

func (p *picture) readObjects(ctx context.Context, without lost) error {
	return p.query("SELECT rowid, hash, size, object FROM objects NOT INDEXED ORDER BY rowid", func(s *sqlite3.Stmt) error {
		if p.count&1023 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		p.count++
		r := blobRow{id: s.ColumnInt64(0), blobKey: s.ColumnType(1) == sqlite3.BLOB}
		if without.gone[r.id] {
			return nil
		}
		hash := string(s.ColumnRawBlob(1))
		if r.blobKey = s.ColumnType(1) == sqlite3.BLOB; !r.blobKey && s.ColumnType(1) != sqlite3.TEXT {
			return nil
		}
		if len(hash) == sha256.Size {
			p.alg = "sha256"
		}
		content, ok := decode(s, 2, 3)
		switch {
		case !ok || without.cut[r.id]:
			r.fault = undecodableBlob
		case digest(len(hash), content) != hash:
			r.fault = hashMismatch
		}
		if len(p.rows[hash]) == 0 {
			p.order = append(p.order, hash)
		}
		p.rows[hash] = append(p.rows[hash], r)
		return nil
	})
}

// decode undoes the storage form of a row: size -1 is plain, everything else the exact length of one LZ4 block.
func decode(s *sqlite3.Stmt, size, object int) ([]byte, bool) {
	if t := s.ColumnType(object); t != sqlite3.BLOB && t != sqlite3.TEXT || s.ColumnType(size) != sqlite3.INTEGER {
		return nil, false
	}
	raw, n := s.ColumnRawBlob(object), s.ColumnInt64(size)
	if n == -1 {
		return append([]byte{}, raw...), true
	}
	if n < 0 || n > 1<<30 || n > int64(len(raw))*256+256 {
		return nil, false
	}
	out := make([]byte, n+1) // one more, so that a block that holds too much is noticed
	got, err := lz4.UncompressBlock(raw, out)
	return out[:min(got, int(n))], err == nil && int64(got) == n
}

func digest(size int, content []byte) string {
	switch size {
	case sha1.Size:
		h := sha1.Sum(content)
		return string(h[:])
	case sha256.Size:
		h := sha256.Sum256(content)
		return string(h[:])
	}
	return ""
}

func (p *picture) readCheckpoints() error {
	add := func(legacy bool) func(*sqlite3.Stmt) error {
		return func(s *sqlite3.Stmt) error {
			p.checkpt = append(p.checkpt, checkptRow{id: s.ColumnInt64(0), value: s.ColumnText(1), text: s.ColumnType(1) == sqlite3.TEXT, legacy: legacy})
			return nil
		}
	}
	if p.tables["checkpt_v2"] {
		if err := p.query("SELECT id, value FROM checkpt_v2 ORDER BY id DESC", add(false)); err != nil {
			return err
		}
	}
	if p.tables["checkpt"] {
		return p.query("SELECT 0, value FROM checkpt WHERE key='kvs-primary'", add(true))
	}
	return nil
}

// content reads the content of a row that is good.
func (p *picture) content(id int64) (out []byte, err error) {
	err = p.query(fmt.Sprintf("SELECT size, object FROM objects WHERE rowid=%d", id), func(s *sqlite3.Stmt) error {
		var ok bool
		if out, ok = decode(s, 0, 1); !ok {
			return fmt.Errorf("row %d cannot be decoded", id)
		}
		return nil
	})
	return out, err
}

// best is the row that stands for a hash: good content before bad, a TEXT key before a BLOB one, an old row before a new one.
func (p *picture) best(hash string) (blobRow, bool) {
	rows := p.rows[hash]
	if len(rows) == 0 {
		return blobRow{}, false
	}
	at := rows[0]
	for _, r := range rows[1:] {
		if rank(r) < rank(at) {
			at = r
		}
	}
	return at, true
}

func rank(r blobRow) int {
	switch {
	case r.fault == "" && !r.blobKey:
		return 0
	case r.fault == "":
		return 1
	}
	return 2
}

// blobKeys counts the rows whose key has the wrong storage class.
func (p *picture) blobKeys() (n int) {
	for _, rows := range p.rows {
		for _, r := range rows {
			if r.blobKey {
				n++
			}
		}
	}
	return n
}

// rawHash reads a blobref; "" if it is none.
func rawHash(ref string) string {
	alg, digits, ok := strings.Cut(ref, "-")
	if want := map[string]int{"sha1": sha1.Size, "sha256": sha256.Size}[alg]; !ok || want == 0 || len(digits) != 2*want || strings.ToLower(digits) != digits {
		return ""
	}
	raw, err := hex.DecodeString(digits)
	if err != nil {
		return ""
	}
	return string(raw)
}

// blobref writes a raw hash as a blobref.
func blobref(hash string) string {
	alg := "sha1-"
	if len(hash) == sha256.Size {
		alg = "sha256-"
	}
	return alg + hex.EncodeToString([]byte(hash))
}
