package sqliteedit

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/ncruces/go-sqlite3"
)

// maxCachedStatements bounds the prepared statements kept for reuse.
const maxCachedStatements = 32

// maxCheckMessages is the number of problems after which an integrity check stops.
const maxCheckMessages = 100

// ErrClosed is returned by calls on a closed DB or Edit.
var ErrClosed = errors.New("sqliteedit: already closed")

// DB runs SQL statements inside one transaction. It is what Edit and Build have
// in common. It is not safe for use by several goroutines.
//
// Triggers and foreign key actions of the schema do not run: a statement changes
// the rows it names and nothing else. No other database can be attached.
//
// One DB uses at most 256 MiB inside SQLite (a limit of the driver); statements
// that need more fail with SQLite's "out of memory".
type DB struct {
	ctx   context.Context // ends every call; checked by SQLite while it runs
	conn  *sqlite3.Conn
	stmts map[string]*sqlite3.Stmt
	// failed is the first error of a statement that may have changed something.
	// It is sticky: a change that is known to be incomplete must not get out.
	failed error
	// cause returns the first error of the file below SQLite, which SQLite itself
	// reports only as "disk I/O error". It may be nil.
	cause func() error
}

// newDB sets up an open connection. Every pragma must be one that works before
// the first transaction. ctx ends every later call when it is done.
func newDB(ctx context.Context, conn *sqlite3.Conn, pragmas []string) (*DB, error) {
	conn.SetInterrupt(ctx)
	conn.Limit(sqlite3.LIMIT_ATTACHED, 0)
	settings := []struct {
		op sqlite3.DBConfig
		on bool
	}{
		{sqlite3.DBCONFIG_ENABLE_FKEY, false},
		{sqlite3.DBCONFIG_ENABLE_TRIGGER, false},
		{sqlite3.DBCONFIG_TRUSTED_SCHEMA, false},
	}
	for _, s := range settings {
		if _, err := conn.Config(s.op, s.on); err != nil {
			return nil, fmt.Errorf("set up SQLite (option %d): %w", s.op, err)
		}
	}
	// Checks the structure of each b-tree page when it is read; without it a
	// damaged page can be changed further before the damage is noticed.
	pragmas = append([]string{"cell_size_check=ON"}, pragmas...)
	for _, p := range pragmas {
		if err := conn.Exec("PRAGMA " + p); err != nil {
			return nil, fmt.Errorf("set up SQLite (PRAGMA %s): %w", p, err)
		}
	}
	return &DB{ctx: ctx, conn: conn, stmts: map[string]*sqlite3.Stmt{}}, nil
}

// Exec runs one SQL statement with arguments, or one or more without.
//
// Arguments: string binds TEXT and may hold any bytes, also NUL and bytes that
// are not UTF-8; []byte binds BLOB (a nil slice is a BLOB of length 0); int,
// int64, float64 and nil (NULL) bind as such. In a database whose encoding is
// UTF-16 SQLite converts TEXT, so there only valid UTF-8 survives unchanged.
//
// The first Exec opens a transaction, which lasts until Edit.Pages or the end of
// Build. After an error the change is incomplete, so every later call that would
// give a result returns that same error.
func (d *DB) Exec(sql string, args ...any) (err error) {
	if err := d.usable(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			d.failed = err
		}
	}()
	defer d.rescue(sql, &err)
	if err := d.begin(); err != nil {
		return err
	}
	if err := d.execAll(sql, args); err != nil {
		return fmt.Errorf("run SQL %q: %w", shorten(sql), d.withCause(err))
	}
	return nil
}

// withCause adds to an error of SQLite what it hides: the error of the file below
// it ("disk I/O error") or of the context ("interrupted").
func (d *DB) withCause(err error) error {
	if d.cause != nil && d.cause() != nil {
		err = fmt.Errorf("%w: %w", err, d.cause())
	}
	if d.ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", err, context.Cause(d.ctx))
	}
	return err
}

func (d *DB) execAll(sql string, args []any) error {
	for rest := sql; strings.TrimSpace(rest) != ""; {
		stmt, tail, err := d.prepare(rest)
		if err != nil {
			return err
		}
		if stmt == nil {
			return nil // only comments are left
		}
		if len(args) > 0 && strings.TrimSpace(tail) != "" {
			stmt.Close()
			return errors.New("arguments need a single statement")
		}
		err = bindAll(stmt, args)
		if err == nil {
			err = stmt.Exec()
		}
		if err := d.release(rest, tail, stmt, err); err != nil {
			return err
		}
		rest = tail
	}
	return nil
}

// Query runs one statement and yields its rows. The values of a row are int64,
// float64, string (TEXT, raw bytes), []byte (BLOB) and nil (NULL), so the storage
// class is always visible. The row belongs to the caller. An error ends the
// sequence: it is yielded once with a nil row.
func (d *DB) Query(sql string, args ...any) iter.Seq2[[]any, error] {
	return func(yield func([]any, error) bool) {
		stopped := false
		err := d.query(sql, args, func(row []any) bool {
			stopped = !yield(row, nil)
			return !stopped
		})
		if err != nil && !stopped {
			yield(nil, err)
		}
	}
}

func (d *DB) query(sql string, args []any, row func([]any) bool) (err error) {
	if err := d.usable(); err != nil {
		return err
	}
	if err := d.begin(); err != nil {
		return err
	}
	stmt, tail, err := d.prepare(sql)
	if err == nil && (stmt == nil || strings.TrimSpace(tail) != "") {
		err = errors.New("a query needs exactly one statement")
	}
	if err == nil {
		err = bindAll(stmt, args)
	}
	if err != nil {
		stmt.Close()
		return fmt.Errorf("query %q: %w", shorten(sql), err)
	}
	readOnly := stmt.ReadOnly()
	// Deferred, so that a row function that panics or ends its goroutine does
	// not leave the statement open.
	defer func() {
		if err = d.release(sql, tail, stmt, err); err != nil {
			err = fmt.Errorf("query %q: %w", shorten(sql), d.withCause(err))
			if !readOnly || d.conn.GetAutocommit() {
				d.failed = err
			}
		}
	}()
	for {
		cols, err := d.step(sql, stmt)
		if cols == nil || err != nil {
			return err
		}
		if !row(cols) {
			return nil
		}
	}
}

// step returns the next row, or nil at the end.
func (d *DB) step(sql string, stmt *sqlite3.Stmt) (cols []any, err error) {
	defer d.rescue(sql, &err)
	if !stmt.Step() {
		return nil, stmt.Err()
	}
	cols = make([]any, stmt.ColumnCount())
	if err := stmt.Columns(cols...); err != nil {
		return nil, err
	}
	return cols, nil
}

// Changes returns the number of rows that the last INSERT, UPDATE or DELETE changed.
func (d *DB) Changes() int64 {
	if d.conn == nil {
		return 0
	}
	return d.conn.Changes()
}

// IntegrityCheck runs PRAGMA integrity_check on the present content, including
// changes that are not committed yet. It returns the problems found, at most 100,
// and none if the database is sound. An error means that the check did not finish.
func (d *DB) IntegrityCheck() ([]string, error) {
	var found []string
	for row, err := range d.Query(fmt.Sprintf("PRAGMA integrity_check(%d)", maxCheckMessages)) {
		if err != nil {
			return found, err
		}
		if s, ok := row[0].(string); ok && s != "ok" {
			found = append(found, s)
		}
	}
	return found, nil
}

func (d *DB) usable() error {
	if d.conn == nil {
		return ErrClosed
	}
	return d.failed
}

// begin opens the transaction if none is open.
func (d *DB) begin() (err error) {
	defer d.rescue("BEGIN", &err)
	if !d.conn.GetAutocommit() {
		return nil
	}
	if err := d.conn.Exec("BEGIN"); err != nil {
		return fmt.Errorf("begin transaction: %w", d.withCause(err))
	}
	return nil
}

// commit ends the transaction if one is open.
func (d *DB) commit() (err error) {
	if err := d.usable(); err != nil {
		return err
	}
	defer d.rescue("COMMIT", &err)
	if d.conn.GetAutocommit() {
		return nil
	}
	if err := d.conn.Exec("COMMIT"); err != nil {
		d.failed = fmt.Errorf("commit: %w", d.withCause(err))
		return d.failed
	}
	return nil
}

// close drops an open transaction and the connection.
func (d *DB) close() (err error) {
	if d.conn == nil {
		return nil
	}
	defer d.rescue("close", &err)
	conn := d.conn
	d.conn = nil
	for _, s := range d.stmts {
		s.Close() // reports again the error of the last run, already returned
	}
	d.stmts = nil
	if err := conn.Close(); err != nil {
		return fmt.Errorf("close SQLite: %w", err)
	}
	return nil
}

// prepare takes a cached statement out of the cache (so that a nested use of the
// same text gets its own) or compiles the first statement of sql.
func (d *DB) prepare(sql string) (*sqlite3.Stmt, string, error) {
	if s, ok := d.stmts[sql]; ok {
		delete(d.stmts, sql)
		return s, "", nil
	}
	return d.conn.Prepare(sql)
}

// release gives a statement back after a run that ended with err, and returns err
// or its own error. Only texts that hold a single statement are cached.
func (d *DB) release(sql, tail string, s *sqlite3.Stmt, err error) error {
	if err != nil {
		s.Close() // would report the same error again
		return err
	}
	if tail != "" || len(d.stmts) >= maxCachedStatements || d.stmts[sql] != nil {
		return s.Close()
	}
	if err := errors.Join(s.Reset(), s.ClearBindings()); err != nil {
		s.Close()
		return err
	}
	d.stmts[sql] = s
	return nil
}

// rescue turns a panic of the SQLite engine (it signals lack of address space
// and internal faults that way) into an error. Nothing is believed after it.
func (d *DB) rescue(sql string, err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("SQLite engine stopped at %q: %v", shorten(sql), r)
		d.failed = *err
	}
}

func bindAll(stmt *sqlite3.Stmt, args []any) error {
	if n := stmt.BindCount(); n != len(args) {
		return fmt.Errorf("statement has %d parameters, %d arguments given", n, len(args))
	}
	for i, a := range args {
		if err := bind(stmt, i+1, a); err != nil {
			return fmt.Errorf("argument %d: %w", i+1, err)
		}
	}
	return nil
}

func bind(stmt *sqlite3.Stmt, i int, arg any) error {
	switch v := arg.(type) {
	case nil:
		return stmt.BindNull(i)
	case string:
		return stmt.BindText(i, v)
	case []byte:
		return stmt.BindBlob(i, v)
	case int64:
		return stmt.BindInt64(i, v)
	case int:
		return stmt.BindInt64(i, int64(v))
	case float64:
		return stmt.BindFloat(i, v)
	}
	return fmt.Errorf("type %T cannot be bound (use string, []byte, int, int64, float64 or nil)", arg)
}

// shorten makes SQL text fit into an error message.
func shorten(sql string) string {
	const limit = 120
	if len(sql) <= limit {
		return sql
	}
	return sql[:limit] + "..."
}
