package fluxlab

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/ncruces/go-sqlite3"
	"github.com/pierrec/lz4/v4"
)

// surgeon changes a store through SQL. The file is in rollback mode while it works, so that no -wal comes up.
type surgeon struct {
	path string
	conn *sqlite3.Conn
	lz   lz4.Compressor
	buf  []byte
}

// Offsets of the write and read version in the header; 2 means WAL.
const offVersions = 18

// operate opens the store at path for fn and leaves it in WAL mode.
func operate(ctx context.Context, path string, fn func(*surgeon) error) (err error) {
	if err := setVersions(path, 1); err != nil {
		return err
	}
	conn, err := sqlite3.OpenFlags(path, sqlite3.OPEN_READWRITE)
	if err != nil {
		return fmt.Errorf("injure %s: %w", path, err)
	}
	conn.SetInterrupt(ctx)
	s := &surgeon{path: path, conn: conn}
	for _, p := range []string{"locking_mode=EXCLUSIVE", "journal_mode=OFF", "synchronous=OFF", "cache_size=-65536"} {
		if err == nil {
			err = conn.Exec("PRAGMA " + p)
		}
	}
	if err == nil {
		err = conn.Exec("BEGIN")
	}
	if err == nil {
		if err = fn(s); err == nil {
			err = conn.Exec("COMMIT")
		}
	}
	err = errors.Join(err, conn.Close())
	if err != nil {
		return fmt.Errorf("injure %s: %w", path, err)
	}
	return setVersions(path, 2)
}

func setVersions(path string, v byte) error {
	return patch(path, offVersions, []byte{v, v})
}

// patch writes bytes into a file.
func patch(path string, off int64, b []byte) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("injure: %w", err)
	}
	_, err = f.WriteAt(b, off)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("injure %s: %w", path, err)
	}
	return nil
}

// exec runs one statement. A string binds TEXT with any bytes, a []byte BLOB, nil NULL.
func (s *surgeon) exec(sql string, args ...any) error {
	stmt, _, err := s.conn.Prepare(sql)
	if err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	for i, a := range args {
		switch a := a.(type) {
		case string:
			err = errors.Join(err, stmt.BindText(i+1, a))
		case []byte:
			err = errors.Join(err, stmt.BindBlob(i+1, a))
		case int64:
			err = errors.Join(err, stmt.BindInt64(i+1, a))
		case nil:
			err = errors.Join(err, stmt.BindNull(i+1))
		default:
			err = fmt.Errorf("cannot bind %T", a)
		}
	}
	if err == nil {
		err = stmt.Exec()
	}
	if err = errors.Join(err, stmt.Close()); err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	return nil
}

// store adds a blob as Flux would and returns its raw hash.
func (s *surgeon) store(alg string, content []byte) (string, error) {
	hash := digest(map[string]int{"sha1": 20, "sha256": 32}[alg], content)
	size, object := stored(&s.lz, &s.buf, content)
	return hash, s.exec("INSERT OR IGNORE INTO objects (hash,size,object) VALUES (?1,?2,?3)", hash, size, object)
}

// replace gives a row other content under its old key.
func (s *surgeon) replace(row int64, content []byte) error {
	size, object := stored(&s.lz, &s.buf, content)
	return s.exec("UPDATE objects SET size=?1, object=?2 WHERE rowid=?3", size, object, row)
}
