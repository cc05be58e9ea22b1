// Command flux measures a check of a Flux content store beside what nobody can do without: reading the file, and a loop
// that decodes and hashes every blob and does nothing else. All of them run in turn on the same file, each as a process of
// its own, and the medians of CPU, wall time and peak memory are printed.
//
//	go run ./bench/flux -fettle ./fettle -runs 5 content.sqlite...
package main

import (
	"crypto/sha1"
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/ncruces/go-sqlite3"
	"github.com/pierrec/lz4/v4"

	"fettle/bench/beside"
	"fettle/internal/format/sqlitefile"
)

func main() {
	fettle := flag.String("fettle", "", "the binary to measure (build it with go build ./cmd/fettle)")
	runs := flag.Int("runs", 5, "how often each command runs; medians are printed")
	child := flag.String("child", "", "internal: what this process does (read, hash, sqlite)")
	flag.Parse()
	var err error
	switch *child {
	case "read":
		err = readFile(flag.Arg(0))
	case "hash":
		err = hashLoop(flag.Arg(0))
	case "sqlite":
		err = sqliteLoop(flag.Arg(0))
	default:
		err = compare(*fettle, *runs, flag.Args())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/flux:", err)
		os.Exit(1)
	}
}

func compare(fettle string, runs int, stores []string) error {
	if fettle == "" || len(stores) == 0 {
		return fmt.Errorf("usage: bench/flux -fettle BINARY STORE...")
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	state, err := os.MkdirTemp("", "fettle-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(state)
	fmt.Printf("%-28s %-34s %8s %8s %9s %6s\n", "store", "command", "wall s", "CPU s", "peak MiB", "ratio")
	for _, store := range stores {
		rows := []beside.Command{
			{Name: "read the file", Args: []string{self, "-child", "read", store}},
			{Name: "hash every blob (own reader)", Args: []string{self, "-child", "hash", store}},
			{Name: "hash every blob (SQLite)", Args: []string{self, "-child", "sqlite", store}},
			{Name: "fettle check", Args: []string{fettle, "check", "--quiet", "--state-dir", state, store}},
		}
		cost, err := beside.Run(rows, runs, 4)
		if err != nil {
			return err
		}
		for i, m := range cost {
			fmt.Printf("%-28.28s %-34s %8.2f %8.2f %9.1f %6.2f\n", store, rows[i].Name, m.Wall.Seconds(), m.CPU.Seconds(), float64(m.RSS)/(1<<20),
				m.Wall.Seconds()/cost[1].Wall.Seconds())
		}
	}
	fmt.Println("ratio: wall time against the loop that hashes every blob with one goroutine")
	return nil
}

func readFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, make([]byte, 1<<20))
	return err
}

// blobHasher decodes one row and hashes its content.
type blobHasher struct {
	buf  []byte
	rows int
	sum  byte
}

func (h *blobHasher) add(key []byte, size int64, object []byte) error {
	content := object
	if size >= 0 {
		if cap(h.buf) < int(size) {
			h.buf = make([]byte, size)
		}
		n, err := lz4.UncompressBlock(object, h.buf[:size])
		if err != nil {
			return err
		}
		content = h.buf[:n]
	}
	h.rows++
	if len(key) == sha256.Size {
		s := sha256.Sum256(content)
		h.sum ^= s[0]
	} else {
		s := sha1.Sum(content)
		h.sum ^= s[0]
	}
	return nil
}

// hashLoop reads the table through fettle's page reader, in the order of the file.
func hashLoop(path string) error {
	f, err := sqlitefile.Open(path, sqlitefile.Options{})
	if err != nil {
		return err
	}
	defer f.Close()
	objects, _ := f.Schema()
	var h blobHasher
	for _, o := range objects {
		if o.Type != "table" || o.Name != "objects" {
			continue
		}
		var bad error
		f.Tree(o.Root, sqlitefile.Table).EachRow(f.NewReader(1<<20), 1, 0, func(row *sqlitefile.Row, err error) bool {
			if err != nil {
				bad = err
				return false
			}
			bad = h.add(row.Cols[0].B, row.Cols[1].I, row.Cols[2].B)
			return bad == nil
		})
		if bad != nil {
			return bad
		}
	}
	fmt.Println(h.rows, h.sum)
	return nil
}

// sqliteLoop does the same through SQLite.
func sqliteLoop(path string) error {
	db, err := sqlite3.OpenFlags("file:"+path+"?immutable=1", sqlite3.OPEN_READONLY|sqlite3.OPEN_URI)
	if err != nil {
		return err
	}
	defer db.Close()
	stmt, _, err := db.Prepare("SELECT hash, size, object FROM objects")
	if err != nil {
		return err
	}
	defer stmt.Close()
	var h blobHasher
	for stmt.Step() {
		if err := h.add(stmt.ColumnRawText(0), stmt.ColumnInt64(1), stmt.ColumnRawBlob(2)); err != nil {
			return err
		}
	}
	fmt.Println(h.rows, h.sum)
	return stmt.Err()
}
