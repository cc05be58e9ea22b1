package ext4edit

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fettle/internal/format/ext4"
)

// poke writes into the superblock of an image and sets its checksum.
func poke(t *testing.T, img string, fn func(raw []byte)) {
	t.Helper()
	fs := openFS(t, img)
	raw := bytes.Clone(fs.Super().Raw)
	fn(raw)
	fs.Sums().PutSuper(raw)
	writeAt(t, img, raw, ext4.SuperOffset)
}

// What cannot be edited is refused, and said to be so.
func TestRefusals(t *testing.T) {
	img := makeImage(t, variant{"plain", "20M", "-t ext4 -b 4096 -J size=4", false})
	set32 := func(off int, v uint32) func([]byte) {
		return func(raw []byte) { le.PutUint32(raw[off:], le.Uint32(raw[off:])|v) }
	}
	set16 := func(off int, v uint16) func([]byte) { return func(raw []byte) { le.PutUint16(raw[off:], v) } }
	for _, c := range []struct {
		name string
		fn   func(raw []byte)
		opt  Options
		ok   bool
	}{
		{"pristine", func([]byte) {}, Options{}, true},
		{"needs recovery", set32(ext4.SBFeatureIncompat, ext4.IncompatRecover), Options{}, false},
		{"unknown incompat", set32(ext4.SBFeatureIncompat, 1<<30), Options{}, false},
		{"unknown ro_compat", set32(ext4.SBFeatureROCompat, 1<<30), Options{}, false},
		{"bigalloc", set32(ext4.SBFeatureROCompat, ext4.ROCompatBigalloc), Options{}, false},
		{"shared blocks", set32(ext4.SBFeatureROCompat, ext4.ROCompatSharedBlocks), Options{}, false},
		{"read-only", set32(ext4.SBFeatureROCompat, ext4.ROCompatReadonly), Options{}, false},
		{"both checksums", set32(ext4.SBFeatureROCompat, ext4.ROCompatGDTCsum), Options{}, false},
		{"no file types", func(raw []byte) {
			le.PutUint32(raw[ext4.SBFeatureIncompat:], le.Uint32(raw[ext4.SBFeatureIncompat:])&^ext4.IncompatFiletype)
		}, Options{}, false},
		{"not clean", set16(ext4.SBState, 0), Options{}, false},
		{"errors", set16(ext4.SBState, ext4.StateValid|ext4.StateErrors), Options{}, false},
		{"errors allowed", set16(ext4.SBState, ext4.StateErrors), Options{AllowErrors: true}, true},
		{"orphans", set32(ext4.SBLastOrphan, 12), Options{}, false},
	} {
		path := filepath.Join(t.TempDir(), "img")
		copySparse(t, img, path)
		poke(t, path, c.fn)
		_, err := Open(openFS(t, path), c.opt)
		if c.ok != (err == nil) || err != nil && !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// A superblock that does not match its checksum, a journal that holds something, and a short input are refused as well.
func TestRefusalsBeyondFeatures(t *testing.T) {
	img := makeImage(t, variant{"plain", "20M", "-t ext4 -b 4096 -J size=4", false})
	path := filepath.Join(t.TempDir(), "img")
	copySparse(t, img, path)
	writeAt(t, path, []byte("x"), ext4.SuperOffset+ext4.SBLastMounted) // the checksum is wrong now
	if _, err := Open(openFS(t, path), Options{}); !errors.Is(err, ErrRefused) {
		t.Errorf("wrong checksum: %v", err)
	}
	fs := openFS(t, img)
	in, err := fs.Inode(fs.Super().JournalInum)
	if err != nil {
		t.Fatal(err)
	}
	copySparse(t, img, path)
	err = in.Blocks(fs, func(x ext4.Extent) bool {
		writeAt(t, path, binary.BigEndian.AppendUint32(nil, 1), int64(x.Physical)*4096+journalStart)
		return false
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(openFS(t, path), Options{}); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "journal") {
		t.Errorf("journal with content: %v", err)
	}
	if err := os.Truncate(path, 10<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(openFS(t, path), Options{}); !errors.Is(err, ErrRefused) {
		t.Errorf("truncated: %v", err)
	}
}
