package flux

import (
	"bytes"
	"testing"

	"fettle/internal/format/sqlitefile"
	"fettle/internal/format/treeobj"
)

// FuzzBlobRow gives the row decoder any key, size and object. Whatever it calls good must hash to its name, and content
// that Flux would write must come back.
func FuzzBlobRow(f *testing.F) {
	content := bytes.Repeat([]byte(`{"timestamp":1.0,"name":"submit"}`+"\n"), 40)
	stored := newRow(content, 1, true)
	f.Add(treeobj.Hash(treeobj.SHA1, content).Sum(), *stored.Size, []byte(stored.Object), false)
	f.Add(treeobj.Hash(treeobj.SHA256, content).Sum(), int64(-1), content, true)
	f.Add(make([]byte, 20), int64(1<<40), []byte{0xff, 0xff}, false)
	f.Add(make([]byte, 20), int64(1<<40), []byte{}, true)
	f.Add(make([]byte, 32), int64(0), []byte("not empty"), false)
	f.Add([]byte("short"), int64(0), []byte{}, false)
	f.Fuzz(func(t *testing.T, key []byte, size int64, object []byte, blob bool) {
		kind := sqlitefile.Text
		if blob {
			kind = sqlitefile.Blob
		}
		row := sqlitefile.Row{Cols: []sqlitefile.Value{{Kind: kind, B: key}, {Kind: sqlitefile.Int, I: size}, {Kind: sqlitefile.Blob, B: object}}}
		d := rowDecoder{cols: fluxColumns}
		var out blobRow
		if !d.decode(&row, false, &out) {
			if len(key) == 20 || len(key) == 32 {
				t.Fatal("a row with a usable key was refused")
			}
			return
		}
		if cap(d.buf) > 256*len(object)+4096 {
			t.Fatalf("%d bytes allocated for %d stored ones", cap(d.buf), len(object))
		}
		if ref, err := treeobj.RefFromHash(key); out.Status == statusGood && (err != nil || treeobj.Hash(ref.Alg(), out.Content) != ref) {
			t.Fatal("content that does not hash to its name is called good")
		}
		if out.Status != statusGood {
			budget := int64(1 << 20)
			if fixed, _, ok := mend(&out, &budget); ok && treeobj.Hash(algOf(key), fixed).String() != mustRef(t, key).String() {
				t.Fatal("mended content does not hash to its name")
			}
		}
		first, last := eventCodes(object)
		if (first == evNone) != (last == evNone) {
			t.Fatal("half an eventlog")
		}
		again := newRow(object, 0, false)
		good := sqlitefile.Row{Cols: []sqlitefile.Value{{Kind: sqlitefile.Text, B: treeobj.Hash(treeobj.SHA1, object).Sum()},
			{Kind: sqlitefile.Int, I: *again.Size}, {Kind: sqlitefile.Blob, B: again.Object}}}
		if !d.decode(&good, false, &out) || out.Status != statusGood || !bytes.Equal(out.Content, object) {
			t.Fatalf("what we would store does not come back: %s", out.Why)
		}
	})
}

func mustRef(t *testing.T, hash []byte) treeobj.Ref {
	t.Helper()
	ref, err := treeobj.RefFromHash(hash)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// TestColumnsOf reads the statements that Flux made in its history and ones that it never made.
func TestColumnsOf(t *testing.T) {
	for _, c := range []struct {
		sql  string
		want columns
		why  bool
	}{
		{sqlObjects, columns{0, 1, 2, 3}, false},
		{"CREATE TABLE objects(hash CHAR(20) PRIMARY KEY, size INT, object BLOB)", columns{0, 1, 2, -1}, false},
		{"CREATE TABLE objects(object BLOB, \"epoch\" INT DEFAULT (1+2), size INT, hash BLOB, UNIQUE(hash, size))", columns{3, 2, 0, 1}, false},
		{"CREATE TABLE objects(name TEXT, content BLOB)", columns{-1, -1, -1, -1}, true},
		{"CREATE TABLE objects", fluxColumns, true},
	} {
		got, why := columnsOf(c.sql)
		if got != c.want || (why != "") != c.why {
			t.Errorf("%s: %v %q, want %v", c.sql, got, why, c.want)
		}
	}
}
