package lustrelab

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"

	"fettle/internal/format/ext4"
)

// realImages unpacks images of real servers, without the zeros.
func realImages(t *testing.T, names ...string) (paths []string) {
	t.Helper()
	dir := os.Getenv("FETTLE_FIXTURES")
	if dir == "" {
		t.Skip("FETTLE_FIXTURES is not set")
	}
	for _, n := range names {
		in, err := os.Open(filepath.Join(dir, "lustre", n))
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		z, err := zstd.NewReader(in)
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		path := filepath.Join(t.TempDir(), "mdt.img")
		out, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := copySparse(out, z); err != nil {
			t.Fatal(err)
		}
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}

func copySparse(out *os.File, in io.Reader) error {
	buf, zero := make([]byte, 1<<16), make([]byte, 1<<16)
	for at := int64(0); ; {
		n, err := io.ReadFull(in, buf)
		if n > 0 && string(buf[:n]) != string(zero[:n]) {
			if _, err := out.WriteAt(buf[:n], at); err != nil {
				return err
			}
		}
		at += int64(n)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return out.Truncate(at)
		}
		if err != nil {
			return err
		}
	}
}

// What the naive program asks of made file systems holds for those of real servers too: so they are alike.
func TestReal(t *testing.T) {
	for what, names := range map[string][]string{
		"2.10":   {"lustre-2.10.0-dne2/mdt0000.img.zst", "lustre-2.10.0-dne2/mdt0001.img.zst"},
		"2.7.22": {"lustre-2.7.22-pending-orphan/mdt0000.img.zst"},
	} {
		t.Run(what, func(t *testing.T) {
			w := readAll(t, openAll(t, realImages(t, names...)))
			seen, remote := w.check()
			report(t, w)
			if seen < 20 || len(names) == 2 && remote != 3 {
				t.Errorf("%d names, %d remote ones", seen, remote)
			}
		})
	}
}

// patched reads a file of which some bytes are others.
type patched struct {
	io.ReaderAt
	patches [][3]any // offset, old and new bytes in hexadecimal
}

func (p patched) ReadAt(b []byte, off int64) (int, error) {
	n, err := p.ReaderAt.ReadAt(b, off)
	for _, c := range p.patches {
		data, bad := hex.DecodeString(c[2].(string))
		if bad != nil {
			return 0, bad
		}
		at := int64(c[0].(float64)) - off
		for i, v := range data {
			if k := at + int64(i); k >= 0 && k < int64(n) {
				b[k] = v
			}
		}
	}
	return n, err
}

// The naive program sees damage on real images, so its silence about made ones means something.
func TestRealDamage(t *testing.T) {
	paths := realImages(t, "lustre-2.10.0-dne2/mdt0000.img.zst", "lustre-2.10.0-dne2/mdt0001.img.zst")
	raw, err := os.ReadFile(filepath.Join(os.Getenv("FETTLE_FIXTURES"), "lustre", "damage", "damage.json"))
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		ID      string
		Truth   []any
		Patches map[string][][3]any
	}
	if err := json.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(c.ID, func(t *testing.T) {
			var images []*ext4.FS
			for i, path := range paths {
				f, err := os.Open(path)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				info, err := f.Stat()
				if err != nil {
					t.Fatal(err)
				}
				fs, err := ext4.New(patched{f, c.Patches[fmt.Sprintf("mdt%d", i)]}, info.Size(), path)
				if err != nil {
					t.Fatal(err)
				}
				images = append(images, fs)
			}
			w := readAll(t, images)
			w.check()
			if len(c.Truth) == 0 {
				report(t, w)
			} else if len(w.wrong) == 0 {
				t.Error("nothing was seen")
			}
		})
	}
}
