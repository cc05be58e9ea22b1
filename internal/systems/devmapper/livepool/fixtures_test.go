package livepool

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/klauspost/compress/zstd"

	"fettle/internal/format/thinmeta"
)

// script is a dmsetup that knows one pool, whose metadata device is a file with a snapshot in its last block: it can be told to hold it
// and to release it. Package fakedm is too slow for pools of this size.
const script = `#!/bin/sh
case "$*" in
"table --target thin-pool") echo "big: 0 8 thin-pool %[1]s /dev/null 128 0" ;;
table*) echo "No devices found" ;;
info*) echo "L--w:253:0:0:big" ;;
status*) h=-; [ -e %[1]s.held ] && h=%[2]d; echo "0 8 thin-pool 0 1/2 1/2 $h rw discard_passdown queue_if_no_space - 1" ;;
"message big 0 reserve_metadata_snap") >%[1]s.held ;;
"message big 0 release_metadata_snap") rm %[1]s.held ;;
*) exit 1 ;;
esac
`

// TestFixtures captures pools of up to 50,000 devices and compares what the copy and the whole file say.
func TestFixtures(t *testing.T) {
	root := os.Getenv("FETTLE_FIXTURES")
	if root == "" {
		t.Skip("FETTLE_FIXTURES is not set: large pools are not at hand")
	}
	for _, set := range []string{"n10", "n1000", "n50000"} {
		t.Run(set, func(t *testing.T) {
			ctx, dir := context.Background(), t.TempDir()
			meta := filepath.Join(dir, "tmeta")
			unpack(t, filepath.Join(root, "devmapper", "base", set, "thin.meta.zst"), meta)
			whole, err := thinmeta.Open(meta)
			if err != nil {
				t.Fatal(err)
			}
			want, err := whole.Check(ctx, thinmeta.CheckOptions{})
			if err != nil {
				t.Fatal(err)
			}
			block := hold1(t, meta)
			if err := os.WriteFile(filepath.Join(dir, "dmsetup"), fmt.Appendf(nil, script, meta, block), 0o700); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
			p, ok, err := Find(ctx, "big")
			if err != nil || !ok {
				t.Fatalf("%v, %v", ok, err)
			}
			c, err := p.Capture(ctx, filepath.Join(dir, "desk"), dir)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			got, err := c.File.Check(ctx, thinmeta.CheckOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got.Devices, want.Devices) || got.Mappings != want.Mappings || !got.Complete || len(got.Problems) != len(want.Problems)+1 {
				t.Errorf("%d devices, %d mappings, complete %v, problems %v; want %d devices, %d mappings, problems %v", len(got.Devices), got.Mappings, got.Complete,
					got.Problems, len(want.Devices), want.Mappings, want.Problems)
			}
			ids := []uint32{got.Devices[0].ID, got.Devices[len(got.Devices)-1].ID, got.Devices[len(got.Devices)-1].ID + 1}
			there, err := p.Exists(ctx, ids)
			if err != nil || !there[ids[0]] || !there[ids[1]] || there[ids[2]] {
				t.Errorf("%v, %v", there, err)
			}
			t.Logf("%d devices, %d blocks copied, held for %s", len(got.Devices), c.Blocks, c.Held)
		})
	}
}

// hold1 adds a block with a metadata snapshot to the file, and makes the superblock point to it.
func hold1(t *testing.T, path string) uint64 {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, thinmeta.BlockSize)
	if _, err := f.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	block := uint64(end / thinmeta.BlockSize)
	put := func(b []byte, at uint64) {
		binary.LittleEndian.PutUint64(b[8:], at)
		binary.LittleEndian.PutUint32(b, thinmeta.Checksum(thinmeta.KindSuperblock, b))
		if _, err := f.WriteAt(b, int64(at)*thinmeta.BlockSize); err != nil {
			t.Fatal(err)
		}
	}
	held := append([]byte(nil), b...)
	clear(held[64:320]) // no space maps
	put(held, block)
	binary.LittleEndian.PutUint64(b[56:], block)
	put(b, 0)
	return block
}

// unpack makes a sparse file of a packed one.
func unpack(t *testing.T, packed, path string) {
	t.Helper()
	in, err := os.Open(packed)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	z, err := zstd.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	buf, zero := make([]byte, 64<<10), make([]byte, 64<<10)
	size := int64(0)
	for err = nil; err == nil; {
		var n int
		n, err = io.ReadFull(z, buf)
		if n > 0 && string(buf[:n]) != string(zero[:n]) {
			if _, err := out.WriteAt(buf[:n], size); err != nil {
				t.Fatal(err)
			}
		}
		size += int64(n)
	}
	if err != io.EOF && err != io.ErrUnexpectedEOF {
		t.Fatal(err)
	}
	if err := out.Truncate(size); err != nil {
		t.Fatal(err)
	}
}
