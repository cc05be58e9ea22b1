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
	"os/exec"
	"slices"
	"syscall"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/pierrec/lz4/v4"

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

// usage is what one run of a command cost.
type usage struct {
	wall, cpu time.Duration
	rss       int64 // bytes
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
		rows := []struct {
			name string
			args []string
		}{
			{"read the file", []string{self, "-child", "read", store}},
			{"hash every blob (own reader)", []string{self, "-child", "hash", store}},
			{"hash every blob (SQLite)", []string{self, "-child", "sqlite", store}},
			{"fettle check", []string{fettle, "check", "--quiet", "--state-dir", state, store}},
		}
		all := make([][]usage, len(rows))
		for range runs + 1 { // the first round warms the page cache and is not counted
			for i, r := range rows {
				u, err := run(r.args)
				if err != nil {
					return fmt.Errorf("%s: %w", r.name, err)
				}
				all[i] = append(all[i], u)
			}
		}
		base := median(all[1][1:])
		for i, r := range rows {
			m := median(all[i][1:])
			fmt.Printf("%-28.28s %-34s %8.2f %8.2f %9.1f %6.2f\n", store, r.name, m.wall.Seconds(), m.cpu.Seconds(), float64(m.rss)/(1<<20),
				m.wall.Seconds()/base.wall.Seconds())
		}
	}
	fmt.Println("ratio: wall time against the loop that hashes every blob with one goroutine")
	return nil
}

func run(args []string) (usage, error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stderr = os.Stderr
	start := time.Now()
	err := cmd.Run()
	u := usage{wall: time.Since(start)}
	if st := cmd.ProcessState; st != nil {
		u.cpu = st.UserTime() + st.SystemTime()
		if ru, ok := st.SysUsage().(*syscall.Rusage); ok {
			u.rss = ru.Maxrss << 10
		}
		if st.ExitCode() == 4 {
			err = nil // damage found is a result
		}
	}
	return u, err
}

func median(us []usage) usage {
	pick := func(key func(usage) int64) int64 {
		v := make([]int64, len(us))
		for i, u := range us {
			v[i] = key(u)
		}
		slices.Sort(v)
		return v[len(v)/2]
	}
	return usage{
		wall: time.Duration(pick(func(u usage) int64 { return int64(u.wall) })),
		cpu:  time.Duration(pick(func(u usage) int64 { return int64(u.cpu) })),
		rss:  pick(func(u usage) int64 { return u.rss }),
	}
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
