package lustre

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// object is a line of the list of all inodes that an independent reader made of the image of a real MDT.
type object struct {
	Ino    uint64
	Xattrs map[string]string `json:"xattrs_hex"`
	LMA    *struct {
		FID      string
		Compat   uint32
		Incompat uint32
	}
	Link [][2]string
}

func realObjects(t *testing.T, name string) []object {
	t.Helper()
	dir := os.Getenv("FETTLE_FIXTURES")
	if dir == "" {
		t.Skip("FETTLE_FIXTURES is not set")
	}
	f, err := os.Open(filepath.Join(dir, "lustre", "lustre-2.10.0-dne2", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	var out []object
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var o object
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			t.Fatal(err)
		}
		out = append(out, o)
	}
	return out
}

// Every attribute of two real MDTs is decoded without a problem, agrees with the independent reader and is encoded the same.
func TestRealAttributes(t *testing.T) {
	count := map[string]int{}
	for _, file := range []string{"mdt0000.objects.jsonl.zst", "mdt0001.objects.jsonl.zst"} {
		for _, o := range realObjects(t, file) {
			for name, value := range o.Xattrs {
				raw, err := hex.DecodeString(value)
				if err != nil {
					t.Fatal(err)
				}
				again, err := realAttribute(t, o, name, raw)
				if err != nil {
					t.Errorf("inode %d, %s: %v", o.Ino, name, err)
				} else if again != nil && !bytes.Equal(again, raw) {
					t.Errorf("inode %d, %s: encoded again\n%x\nbefore\n%x", o.Ino, name, again, raw)
				}
				if _, ok := KnownXattr(name); !ok {
					t.Errorf("%s is not known", name)
				}
				count[name]++
			}
		}
	}
	for name, least := range map[string]int{XattrLMA: 400, XattrLink: 80, XattrLMV: 3, XattrLOV: 15, XattrLFSCKNS: 2} {
		if count[name] < least {
			t.Errorf("%d times %s, want at least %d", count[name], name, least)
		}
	}
}

func realAttribute(t *testing.T, o object, name string, raw []byte) ([]byte, error) {
	switch name {
	case XattrLMA:
		l, err := DecodeLMA(raw)
		if l.FID.String() != o.LMA.FID || l.Compat != o.LMA.Compat || l.Incompat != o.LMA.Incompat || l.UnknownIncompat() != 0 {
			t.Errorf("inode %d: %v, want %+v", o.Ino, l, *o.LMA)
		}
		return l.Encode(), err
	case XattrLink:
		ea, ps, err := DecodeLinkEA(raw)
		if len(ps) > 0 || len(ea.Links) != len(o.Link) {
			t.Errorf("inode %d: %v, want %v; %v", o.Ino, ea, o.Link, ps)
		}
		for i, l := range ea.Links {
			if want := o.Link[i]; l.Parent.String() != want[0] || l.Name != want[1] {
				t.Errorf("inode %d: %v, want %v", o.Ino, l, want)
			}
		}
		b, _ := ea.Encode(1)
		return b, err
	case XattrLMV:
		v, err := DecodeLMV(raw)
		if why := v.Insane(); why != "" {
			t.Errorf("inode %d: %s", o.Ino, why)
		}
		return v.Encode(), err
	case XattrLOV:
		l, err := DecodeLOV(raw)
		if !l.Owner.IsZero() && l.Owner.String() != o.LMA.FID || l.Objects == 0 {
			t.Errorf("inode %d: %+v, want owner %s", o.Ino, l, o.LMA.FID)
		}
		return nil, err
	case XattrLFSCKNS:
		n, err := DecodeLFSCKNamespace(raw)
		return n.Encode(), err
	}
	return nil, nil
}
