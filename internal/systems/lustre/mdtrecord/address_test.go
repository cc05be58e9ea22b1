package mdtrecord

import (
	"testing"

	"pgregory.net/rapid"
)

// A name comes back from its address, whatever bytes it has, and the address is text that a plan file can hold.
func TestNameAddress(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir := rapid.Uint32Min(1).Draw(t, "directory")
		name := string(rapid.SliceOfN(rapid.Byte(), 1, 255).Draw(t, "name"))
		p, err := parseAddress(NameAddr(dir, name))
		if err != nil || p.kind != KindDirent || p.ino != dir || p.name != name {
			t.Fatalf("%q became %+v, %v", name, p, err)
		}
	})
}

func TestBadAddresses(t *testing.T) {
	for _, addr := range []string{"", "dirent", "dirent/", "dirent/5", "dirent/5/", "dirent/x/name", `dirent/5/"name`, "nlink/0", "nlink/-1",
		"nlink/4294967296", "oi/5", "seq/other", "page/1/4096", "inode/1/2"} {
		if p, err := parseAddress(addr); err == nil {
			t.Errorf("%q was read as %+v", addr, p)
		}
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"dirent/26725/README", `dirent/5/"a\\x00b"`, "dotdot/12", "link/12", "lma/12", "lmv/12", "nlink/12", "oi/[0x200000401:0x1:0x0]", "inode/12", "seq/seq_srv"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, addr string) {
		p, err := parseAddress(addr)
		if err == nil && p.kind == KindDirent {
			if q, err := parseAddress(NameAddr(p.ino, p.name)); err != nil || q != p {
				t.Errorf("%q: %+v became %+v, %v", addr, p, q, err)
			}
		}
	})
}
