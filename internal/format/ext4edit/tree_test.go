package ext4edit

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"fettle/internal/format/ext4"
)

// bigDir makes a directory and fills it with names until the tree cannot grow, or up to n names.
func bigDir(t *testing.T, e *Edit, n, pad int, each func(i int)) (m *model, dir uint32, full bool) {
	t.Helper()
	m = newModel(t, e)
	f := fid(0)
	var lufid *[16]byte
	if e.sb.Dirdata() {
		lufid = &f
	}
	dir, err := e.MakeDir(NewInode{Mode: 0o755}, ext4.InoRoot, lufid)
	if err != nil {
		t.Fatal(err)
	}
	m.links[dir] = 2
	m.names[dir] = list(t, e.View(), dir)
	m.insert(ext4.InoRoot, m.name("big", dir, ext4.TypeDir, true))
	m.setLinks(ext4.InoRoot, m.links[ext4.InoRoot]+1)
	ino, err := e.AllocInode(NewInode{Mode: ext4.ModeRegular | 0o600})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		name := m.name(fmt.Sprintf("%08d%s", i, strings.Repeat("p", pad)), ino, ext4.TypeRegular, i%5 > 0)
		if each != nil {
			each(i)
		}
		_, err := e.InsertName(dir, name)
		if errors.Is(err, ErrNeedsSplit) {
			full = true
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		m.names[dir][string(name.Name)] = name
	}
	m.setLinks(ino, min(len(m.names[dir])-2, 60000))
	return m, dir, full
}

// dxRoot reads the root of a hash tree.
func dxRoot(t *testing.T, e *Edit, dir uint32) ext4.DxNode {
	t.Helper()
	in, p, err := e.directory(dir)
	if err != nil {
		t.Fatal(err)
	}
	f, err := e.node(in, p, 0)
	if err != nil {
		t.Fatal(err)
	}
	return f.dx
}

// A hash tree with FIDs grows level by level, splits inner nodes, and every name is found by its hash; e2fsck agrees.
func TestTreeGrows(t *testing.T) {
	for _, c := range []struct {
		v           variant
		n, pad      int
		levels      uint8
		fragmented  bool
		extentDepth uint16
	}{
		{variant{"dirdata-extents", "40M", "-t ext4 -b 1024 -I 512", true}, 6000, 180, 1, false, 0},
		{variant{"dirdata-mapped", "40M", "-t ext4 -b 1024 -I 512 -O ^64bit,^metadata_csum,^extents,uninit_bg,^resize_inode", true}, 6000, 180, 1, false, 0},
		{variant{"dirdata-4k", "60M", "-t ext4 -b 4096 -I 1024 -O ^64bit,^metadata_csum,^extents,uninit_bg,^resize_inode", true}, 9000, 220, 1, false, 0},
		{variant{"fragmented", "60M", "-t ext4 -b 1024 -I 256", true}, 2500, 200, 1, true, 2},
		{variant{"plain-2k", "60M", "-t ext4 -b 2048 -I 256", false}, 9000, 200, 1, false, 0},
	} {
		t.Run(c.v.name, func(t *testing.T) {
			t.Parallel()
			img := makeImage(t, c.v)
			e := openEdit(t, img)
			var held []uint64
			var hold func(int)
			if c.fragmented {
				hold = func(int) { held = fragment(t, e, held) }
			}
			m, dir, full := bigDir(t, e, c.n, c.pad, hold)
			for _, b := range held {
				if err := e.freeBlock(b); err != nil {
					t.Fatal(err)
				}
			}
			root := dxRoot(t, e, dir)
			wantInfo := 24
			if c.v.dirdata {
				wantInfo = 40
			}
			if full || root.Levels != c.levels || root.InfoAt != wantInfo || root.Count < 2 {
				t.Errorf("full %v, root %+v", full, root)
			}
			in, err := e.view.Inode(dir)
			if err != nil {
				t.Fatal(err)
			}
			if d := le.Uint16(in.BlockField()[exDepth:]); c.fragmented && d != c.extentDepth {
				t.Errorf("extent tree has depth %d, should be %d", d, c.extentDepth)
			}
			m.links = nil
			setTrueLinks(t, e, m, dir)
			m.check(t, fresh(t, e))
			fsck(t, e, img)
			half(t, m, dir)
			setTrueLinks(t, e, m, dir)
			m.check(t, fresh(t, e))
			undo(t, e, img, fsck(t, e, img))
		})
	}
}

// fragment holds a block right behind each block that a directory is about to take, so that no two of them are neighbours.
func fragment(t *testing.T, e *Edit, held []uint64) []uint64 {
	if len(held) > 0 {
		return held
	}
	for b := uint64(100); b < 16000; b += 2 {
		used, err := e.blockInUse(b)
		if err != nil {
			t.Fatal(err)
		}
		if used {
			continue
		}
		got, err := e.allocBlock(b, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got != b { // in a group that was never written
			if err := e.freeBlock(got); err != nil {
				t.Fatal(err)
			}
			continue
		}
		held = append(held, b)
	}
	return held
}

// setTrueLinks gives the one file of a big directory the links that e2fsck counts.
func setTrueLinks(t *testing.T, e *Edit, m *model, dir uint32) {
	for name, n := range m.names[dir] {
		if name != "." && name != ".." {
			if err := e.SetLinks(n.Inode, uint16(len(m.names[dir])-2)); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
}

// half removes every other name.
func half(t *testing.T, m *model, dir uint32) {
	i := 0
	for _, n := range m.names[dir] {
		if s := string(n.Name); s == "." || s == ".." {
			continue
		}
		if i++; i%2 == 0 {
			m.drop(dir, n)
		}
	}
}

// A tree of full depth refuses one more name, and the refusal changes nothing.
func TestTreeFull(t *testing.T) {
	if testing.Short() {
		t.Skip("writes many names")
	}
	img := makeImage(t, variant{"full", "90M", "-t ext4 -b 1024 -I 256 -N 200", true})
	e := openEdit(t, img)
	_, dir, full := bigDir(t, e, 1<<20, 240, nil)
	if !full {
		t.Fatal("the tree was never full")
	}
	before := len(e.Blocks())
	x := list(t, e.View(), dir)
	if root := dxRoot(t, e, dir); root.Levels != 1 || root.Count != root.Limit {
		t.Errorf("root %+v", root)
	}
	if len(x) < 20000 || len(e.Blocks()) != before {
		t.Errorf("%d names, %d blocks changed, %d before", len(x), len(e.Blocks()), before)
	}
	t.Logf("%d names", len(x))
}

// With large_dir a tree gets a third level.
func TestTreeThreeLevels(t *testing.T) {
	if testing.Short() {
		t.Skip("writes many names")
	}
	img := makeImage(t, variant{"deep", "90M", "-t ext4 -b 1024 -I 256 -N 200 -O large_dir", true})
	e := openEdit(t, img)
	m, dir, full := bigDir(t, e, 26000, 240, nil)
	if root := dxRoot(t, e, dir); full || root.Levels != 2 {
		t.Fatalf("full %v, root %+v", full, root)
	}
	m.links = nil
	if in, err := e.view.Inode(dir); err != nil {
		t.Fatal(err)
	} else {
		t.Log(in.Size/1024, "blocks")
	}
	setTrueLinks(t, e, m, dir)
	m.check(t, fresh(t, e))
	fsck(t, e, img)
}

// Names with equal hashes that a split takes apart are still found, removed and told from each other.
func TestEqualHashes(t *testing.T) {
	img := makeImage(t, variant{"equal", "20M", "-t ext4 -b 1024 -I 256", false})
	e := openEdit(t, img)
	seen, pad := map[uint32]string{}, strings.Repeat("p", 249)
	var pairs [][2]string
	names := map[uint32]string{}
	for i := range 400000 {
		name := fmt.Sprintf("%06d%s", i, pad)
		h, err := e.hash(e.sb.HashVersion, []byte(name))
		if err != nil {
			t.Fatal(err)
		}
		if other, there := seen[h]; there {
			pairs = append(pairs, [2]string{other, name})
		}
		seen[h] = name
		if i < 1000 {
			names[h] = name
		}
	}
	if len(pairs) < 5 {
		t.Fatalf("only %d pairs of names have equal hashes", len(pairs))
	}
	hashes := slices.Sorted(maps.Keys(names))
	m := newModel(t, e)
	apart := 0
	for i, pair := range pairs {
		h, err := e.hash(e.sb.HashVersion, []byte(pair[0]))
		if err != nil || h < hashes[0] || h > hashes[len(hashes)-1] {
			continue // nothing to put before or behind it
		}
		dir, err := e.MakeDir(NewInode{}, ext4.InoRoot, nil)
		if err != nil {
			t.Fatal(err)
		}
		m.links[dir], m.names[dir] = 2, list(t, e.View(), dir)
		m.insert(ext4.InoRoot, m.name(fmt.Sprint("dir", i), dir, ext4.TypeDir, false))
		m.setLinks(ext4.InoRoot, m.links[ext4.InoRoot]+1)
		for _, name := range []string{names[hashes[0]], names[hashes[len(hashes)-1]], pair[0], pair[1]} {
			m.create(dir, name, false)
		}
		root := dxRoot(t, e, dir)
		if len(root.Entries) == 2 && root.Entries[1].Hash&1 == 1 {
			apart++
		}
		m.lookups(t)
		if _, err := e.InsertName(dir, m.name(pair[i%2], 11, ext4.TypeDir, false)); !errors.Is(err, ErrExists) {
			t.Errorf("a name that exists: %v", err)
		}
		if i%2 == 0 {
			m.insert(ext4.InoRoot, m.name(fmt.Sprint("moved", i), m.names[dir][pair[1]].Inode, ext4.TypeRegular, false))
			m.drop(dir, m.names[dir][pair[1]])
		}
	}
	if apart < 3 {
		t.Errorf("only %d pairs were taken apart", apart)
	}
	m.check(t, fresh(t, e))
	undo(t, e, img, fsck(t, e, img))
}
