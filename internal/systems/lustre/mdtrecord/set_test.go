package mdtrecord

import (
	"bytes"
	"errors"
	"testing"

	"fettle/internal/format/ext4"
	"fettle/internal/format/ext4edit"
	"fettle/internal/format/lustre"
	"fettle/internal/store"
	"fettle/internal/systems/lustre/lustrelab"
)

// made opens a Set of a small file system on two MDTs, and lists the addresses of all its records.
func made(t *testing.T) (s *Set, addrs []map[string]bool) {
	t.Helper()
	m, err := lustrelab.Make(t.Context(), t.TempDir(), lustrelab.Options{Files: 60, Dirs: 12, Striped: 2, HardLinks: 200, Remote: 300})
	if err != nil {
		t.Fatal(err)
	}
	var targets []Target
	for _, p := range m.Paths {
		fs, err := ext4.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { fs.Close() })
		target, list := records(t, fs)
		targets, addrs = append(targets, target), append(addrs, list)
	}
	if s, err = Open(targets, ext4edit.Options{}); err != nil {
		t.Fatal(err)
	}
	return s, addrs
}

// records goes through the inodes of a target and lists what there is a record of.
func records(t *testing.T, fs *ext4.FS) (Target, map[string]bool) {
	t.Helper()
	out := Target{FS: fs}
	addrs := map[string]bool{SeqAddr: true, "free/superblock": true, "group/0": true, "blocks/1-9": true, "blocks/1-1": true}
	oi := map[int]uint32{}
	err := fs.SweepInodes(t.Context(), ext4.SweepOptions{}, func(in *ext4.Inode) error {
		if in.Number < fs.Super().FirstIno && in.Number != ext4.InoRoot {
			return nil
		}
		for _, kind := range []string{KindLMA, KindLink, KindLMV, KindLOV, KindNlink, KindInode, KindObject} {
			addrs[InodeAddr(kind, in.Number)] = true
		}
		if v, ok := in.Xattr(ext4.XattrIndexTrusted, KindLMA); ok {
			if l, err := lustre.DecodeLMA(v); err == nil {
				addrs[OIAddr(l.FID)] = true
			}
		}
		if !in.IsDir() {
			return nil
		}
		addrs[InodeAddr(KindDotdot, in.Number)] = true
		return fs.Dir(in.Clone(), func(d ext4.Dirent) bool {
			name := string(d.Name)
			if n, ok := lustre.ParseOIName(name); ok && in.Number == ext4.InoRoot {
				oi[n] = d.Inode
			}
			if name != "." && name != ".." {
				addrs[NameAddr(in.Number, name)] = true
			}
			return true
		}, nil)
	})
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(oi) {
		out.OI = append(out.OI, oi[n])
	}
	return out, addrs
}

// What Read gives Write accepts, and then nothing has changed.
func TestReadIsWritten(t *testing.T) {
	s, addrs := made(t)
	seen := map[string]int{}
	for mdt, list := range addrs {
		for addr := range list {
			before, err := s.Read(mdt, addr)
			if err != nil {
				t.Fatalf("read %s: %v", addr, err)
			}
			kind := KindOf(addr)
			if before == nil || kind == KindInode || kind == KindObject { // these are made, or taken away
				continue
			}
			if string(before) == MarkMixed {
				continue
			}
			seen[kind]++
			if err := s.Write(mdt, addr, before); err != nil {
				t.Fatalf("write %s %s: %v", addr, before, err)
			}
		}
		if k := s.Edit(mdt).Blocks(); len(k) > 0 {
			t.Errorf("target %d: %d blocks are another than before", mdt, len(k))
		}
	}
	for _, kind := range []string{KindDirent, KindDotdot, KindLink, KindLMA, KindLMV, KindLOV, KindNlink, KindOI, KindSeq, KindGroup, KindFree, KindBlocks} {
		if seen[kind] == 0 {
			t.Errorf("no record of kind %s was met", kind)
		}
	}
}

// A content that no record has is refused as a whole, or written: whatever a plan file says, nothing half done stays.
func TestStrangeContents(t *testing.T) {
	s, addrs := made(t)
	stop := errors.New("stop")
	for mdt, list := range addrs {
		tried := map[string]int{}
		for addr := range list {
			if tried[KindOf(addr)]++; tried[KindOf(addr)] > 3 {
				continue
			}
			for _, after := range []store.Bytes{nil, {}, []byte("null"), []byte("{}"), []byte("[]"), []byte("{"), []byte(`{"inode":4294967295,"type":"file"}`), []byte(`{"raw":""}`),
				[]byte("65535"), []byte("65536"), []byte("-1"), []byte(`{"fid":"[0x1:0x2"}`), []byte(`{"start":"x","end":""}`), bytes.Repeat([]byte("["), 1000),
				[]byte(`{"type":"directory","mode":65535,"up":4294967295}`), []byte(`{"links":[{"parent":"[0x200000401:0x1:0x0]","name":""}]}`)} {
				before := len(s.Edit(mdt).Blocks())
				err := s.Together(func() error { return errors.Join(s.Write(mdt, addr, after), stop) })
				if !errors.Is(err, stop) || len(s.Edit(mdt).Blocks()) != before {
					t.Errorf("%s %.40q: %v, and something stayed", addr, after, err)
				}
				if err := s.Write(mdt, addr, after); err != nil && len(s.Edit(mdt).Blocks()) != before {
					t.Errorf("%s %.40q: %v, and something stayed", addr, after, err)
				}
			}
		}
	}
}

// FuzzXattrBytes: whatever a plan file says of an attribute becomes bytes or an error.
func FuzzXattrBytes(f *testing.F) {
	for _, kind := range []string{KindLMA, KindLink, KindLMV, KindLOV} {
		f.Add(kind, []byte(`{"fid":"[0x200000401:0x1:0x0]","links":[{"parent":"[0x200000401:0x1:0x0]","name":"x"}],"overflow":1}`))
		f.Add(kind, []byte(`{"raw":"AAAA"}`))
	}
	f.Fuzz(func(t *testing.T, kind string, content []byte) {
		switch kind {
		case KindLMA, KindLink, KindLMV, KindLOV:
		default:
			return
		}
		raw, err := xattrBytes(kind, content)
		if err == nil && len(raw) > 1<<20+len(content) {
			t.Errorf("%d bytes became %d", len(content), len(raw))
		}
	})
}
