package sqliteedit

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Whatever SQL runs: the after-images make a sound database with the content the
// Edit shows, and the before-images give the original bytes back.
func TestResultIsExactAndReversible(t *testing.T) {
	bases := map[int][]byte{}
	for _, size := range []int{512, 4096} {
		e := begin(t, &image{size: size})
		must(t, e.Exec("PRAGMA incremental_vacuum; "+schema))
		for i := range 60 {
			must(t, e.Exec("INSERT INTO objects VALUES(?,?,?,?)", rawKey(i), i, make([]byte, 40*i), 1))
		}
		r, err := e.Pages()
		must(t, err)
		bases[size] = patch(nil, r, true)
	}
	const dump = "SELECT hash, size, object, epoch FROM objects ORDER BY 1,2"
	rapid.Check(t, func(rt *rapid.T) {
		size := rapid.SampledFrom([]int{512, 4096}).Draw(rt, "size")
		old := bases[size]
		e, err := Begin(context.Background(), &image{data: old, size: size})
		if err != nil {
			rt.Fatal(err)
		}
		defer e.Close()
		for range rapid.IntRange(1, 4).Draw(rt, "rounds") {
			for range rapid.IntRange(0, 5).Draw(rt, "statements") {
				randomStatement(rt, e)
			}
			r, err := e.Pages()
			if err != nil {
				rt.Fatal(err)
			}
			next := patch(old, r, true)
			if !bytes.Equal(patch(next, r, false), old) {
				rt.Fatal("before-images do not give the original")
			}
			again, err := Begin(context.Background(), &image{data: next, size: size})
			if err != nil {
				rt.Fatal(err)
			}
			found, err := again.IntegrityCheck()
			if err != nil || len(found) > 0 {
				rt.Fatalf("integrity check: %v %v", found, err)
			}
			if a, b := fmt.Sprint(collect(rt, e.DB, dump)), fmt.Sprint(collect(rt, again.DB, dump)); a != b {
				rt.Fatal("the patched image holds other rows than the Edit")
			}
			if err := again.Close(); err != nil {
				rt.Fatal(err)
			}
		}
	})
}

func collect(t *rapid.T, db *DB, sql string) (all [][]any) {
	for row, err := range db.Query(sql) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, row)
	}
	return all
}

func randomStatement(t *rapid.T, e *Edit) {
	key := rawKey(rapid.IntRange(0, 80).Draw(t, "key"))
	var err error
	switch rapid.IntRange(0, 5).Draw(t, "kind") {
	case 0:
		err = e.Exec("INSERT OR REPLACE INTO objects VALUES(?,?,?,?)", key, 1, rapid.SliceOfN(rapid.Byte(), 0, 5000).Draw(t, "blob"), 2)
	case 1:
		err = e.Exec("DELETE FROM objects WHERE hash=?", key)
	case 2:
		err = e.Exec("UPDATE objects SET epoch=epoch+1 WHERE hash<?", key)
	case 3:
		err = e.Exec("INSERT INTO checkpt_v2(value) VALUES(?)", key)
	case 4:
		err = e.Exec("REINDEX objects")
	case 5:
		err = e.Exec("DELETE FROM objects")
	}
	if err != nil {
		t.Fatal(err)
	}
}

// goodImage is a sound store of 512 byte pages.
func goodImage(t testing.TB) []byte {
	t.Helper()
	e := begin(t, &image{size: 512})
	must(t, e.Exec(schema))
	for i := range 20 {
		must(t, e.Exec("INSERT INTO objects VALUES(?,?,?,?)", rawKey(i), i, make([]byte, 60*i), 1))
	}
	r, err := e.Pages()
	must(t, err)
	return patch(nil, r, true)
}

// tryHostile edits any bytes as a database of 512 byte pages. Nothing may panic
// or hang, and a result must be reversible.
func tryHostile(data []byte) error {
	src := &image{data: data[:len(data)/512*512], size: 512}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	e, err := Begin(ctx, src)
	if err != nil {
		return nil // refused: fine
	}
	defer e.Close()
	_, _ = e.IntegrityCheck() // an error is an answer as well
	for _, sql := range []string{
		"INSERT INTO objects(hash,object) VALUES('k',zeroblob(3000))",
		"DELETE FROM objects WHERE rowid%2=0",
		"REINDEX",
	} {
		if e.Exec(sql) != nil {
			break
		}
	}
	if ctx.Err() != nil {
		return fmt.Errorf("no end within the time: %w", ctx.Err())
	}
	r, err := e.Pages()
	if err != nil {
		return nil
	}
	if !bytes.Equal(patch(patch(src.data, r, true), r, false), src.data) {
		return fmt.Errorf("before-images do not give the original")
	}
	return nil
}

func TestHostileImages(t *testing.T) {
	good := goodImage(t)
	pages := len(good) / 512
	rapid.Check(t, func(t *rapid.T) {
		data := bytes.Clone(good)
		for range rapid.IntRange(1, 6).Draw(t, "changes") {
			page := rapid.IntRange(0, pages-1).Draw(t, "page")
			at := data[page*512 : page*512+512]
			switch rapid.IntRange(0, 5).Draw(t, "kind") {
			case 0: // anywhere
				at[rapid.IntRange(0, 511).Draw(t, "offset")] = rapid.Byte().Draw(t, "byte")
			case 1: // b-tree page header and cell pointers
				at[rapid.IntRange(0, 40).Draw(t, "offset")] = rapid.Byte().Draw(t, "byte")
			case 2: // page numbers: cycles, pages used twice
				at[rapid.SampledFrom([]int{3, 11, 511}).Draw(t, "offset")] = byte(rapid.IntRange(0, pages+1).Draw(t, "number"))
			case 3:
				copy(at, data[rapid.IntRange(0, pages-1).Draw(t, "from")*512:][:512])
			case 4:
				clear(at)
			case 5: // database header: size, free list, schema, encoding
				data[rapid.IntRange(16, 99).Draw(t, "offset")] = rapid.Byte().Draw(t, "byte")
			}
		}
		if rapid.IntRange(0, 9).Draw(t, "truncate") == 0 { // mostly refused at once
			data = data[:rapid.IntRange(0, len(data)).Draw(t, "length")]
		}
		if err := tryHostile(data); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzEdit is TestHostileImages for the native fuzzer.
func FuzzEdit(f *testing.F) {
	good := goodImage(f)
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add(good[:100])
	f.Add([]byte{})
	for _, at := range []int{18, 28, 36, 52, 56, 105, 512 + 3, 1024 + 8, 2048 + 1} {
		bad := bytes.Clone(good)
		bad[at] ^= 0x82
		f.Add(bad)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := tryHostile(data); err != nil {
			t.Fatal(err)
		}
	})
}
