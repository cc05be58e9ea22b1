package lustre

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

// keyAt is a key of ShapeOI.
func keyAt(n int) []byte { return binary.BigEndian.AppendUint64(make([]byte, 8), uint64(n)) }

// A root that is full gives its pointers to an index block, as often as a server can follow.
func TestRaise(t *testing.T) {
	blocks, err := ShapeOI.Build(1024, 256, nil)
	if err != nil {
		t.Fatal(err)
	}
	root := blocks[0]
	for level := range 6 {
		for i := 1; ; i++ {
			full, err := ShapeOI.NodeFull(root, true)
			if err != nil {
				t.Fatal(err)
			}
			if full {
				break
			}
			if root, err = ShapeOI.InsertPointer(root, true, keyAt(i), uint64(100+i)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := ShapeOI.InsertPointer(root, true, keyAt(9999), 9); !errors.Is(err, ErrIAMFull) {
			t.Fatalf("insert into a full root: %v", err)
		}
		had, err := ShapeOI.Pointers(root, true)
		if err != nil {
			t.Fatal(err)
		}
		now, node, err := ShapeOI.Raise(root, 77)
		if level >= 4 {
			if !errors.Is(err, ErrIAMTall) {
				t.Fatalf("level %d: %v", level, err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		below, err := ShapeOI.Pointers(node, false)
		if err != nil || len(below) != len(had) {
			t.Fatalf("%d pointers of %d below: %v", len(below), len(had), err)
		}
		if full, err := ShapeOI.NodeFull(node, false); full || err != nil {
			t.Fatalf("the new block has no room: %v", err)
		}
		head, err := DecodeIAMRoot(now)
		child, err2 := ShapeOI.Child(now, true, keyAt(3))
		if err != nil || err2 != nil || head.Levels != level+1 || child != 77 {
			t.Fatalf("%+v, child %d, %v, %v", head, child, err, err2)
		}
		root = now
	}
}

// Splits keep every entry, and refuse what is not sound.
func TestSplits(t *testing.T) {
	var records []byte
	n := ShapeOI.LeafCapacity(1024)
	for i := range n {
		records = append(append(records, keyAt(i)...), make([]byte, 8)...)
	}
	leaf, err := ShapeOI.Leaf(1024, records)
	if err != nil {
		t.Fatal(err)
	}
	low, high, pivot, err := ShapeOI.Split(leaf)
	if err != nil || !bytes.Equal(pivot, keyAt(n/2)) {
		t.Fatalf("pivot %x, %v", pivot, err)
	}
	var keys []byte
	for _, b := range [][]byte{low, high} {
		if ps, err := ShapeOI.Records(b, func(key, _ []byte) bool { keys = append(keys, key...); return true }); err != nil || len(ps) > 0 {
			t.Fatal(ps, err)
		}
	}
	if want := n * ShapeOI.Key; len(keys) != want {
		t.Errorf("%d bytes of keys, want %d", len(keys), want)
	}
	bad := bytes.Clone(leaf)
	copy(bad[iamLeafHeader+5*24:], keyAt(2))
	if _, _, _, err := ShapeOI.Split(bad); err == nil {
		t.Error("a leaf out of order is split")
	}
	one, err := ShapeOI.Leaf(1024, records[:24])
	if err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := ShapeOI.Split(one); err == nil {
		t.Error("a leaf of one record is split")
	}
	node := make([]byte, 1024)
	ShapeOI.putPointers(node, 0, ShapeOI.nodeLimit(1024), []IAMPointer{{keyAt(1), 1}, {keyAt(5), 2}, {keyAt(4), 3}})
	if _, _, _, err := ShapeOI.SplitNode(node); err == nil {
		t.Error("an index block out of order is split")
	}
}
