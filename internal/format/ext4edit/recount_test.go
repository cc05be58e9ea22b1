package ext4edit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fettle/internal/format/ext4"
	"fettle/internal/format/ext4quota"

	"pgregory.net/rapid"
)

// correct makes what a recount says true, and tells whether quota files had room for all ids.
func correct(t tb, e *Edit, r *Recount) (all bool) {
	t.Helper()
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, b := range r.Blocks {
		ok(e.Mark(b.From, b.N, b.Used))
	}
	for _, ino := range r.Inodes {
		ok(e.ReleaseInode(ino))
	}
	for _, ino := range r.Deleted {
		ok(e.DropLinks(ino))
	}
	for _, g := range r.Groups {
		ok(e.SetGroupCounts(g.Group, g.Want))
	}
	if r.Super != nil {
		ok(e.SetFree(r.Super.Blocks, r.Super.Inodes))
	}
	all = true
	for _, q := range r.Quota {
		err := e.SetQuotaUsage(q.Kind, q.ID, q.Want)
		if errors.Is(err, ErrNoSpace) && !q.Has {
			all = false
			continue
		}
		ok(err)
	}
	return all
}

// recount corrects everything and expects that a second count finds nothing. full says that quota files have all ids.
func recount(t testing.TB, e *Edit) (r *Recount, full bool) {
	t.Helper()
	r, err := e.Recount(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	full = correct(t, e, r)
	again, err := e.Recount(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if full && recountSize(again) > 0 {
		t.Fatalf("a second count still finds %+v", again)
	}
	return r, full
}

// whole runs e2fsck on the edited image, quota included, and fails the test when it finds anything.
func whole(t testing.TB, e *Edit, path string) {
	t.Helper()
	after := apply(t, e, path)
	strip(t, after)
	if code, out := run(t, "e2fsck", "-fn", after); code != 0 || strings.Contains(out, "? no") {
		t.Fatalf("e2fsck: exit code %d\n%s", code, out)
	}
}

// quotas says whether a variant keeps quota.
func quotas(v variant) bool { return strings.Contains(v.args, "quota") }

// owned is sample with some owners. mke2fs does not count what it copies, so that every quota file is wrong at first.
func owned(t testing.TB) string {
	dir := sample(t)
	for i := range 4 {
		name := filepath.Join(dir, "small", fmt.Sprint("owned", i))
		if err := os.WriteFile(name, make([]byte, 3000*i+1), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestRecountProperty makes random edits to file systems of all shapes and then takes inodes away as by hand: after a recount e2fsck finds
// nothing, quota included.
func TestRecountProperty(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			plain := v
			plain.dirdata = false
			img := makeImage(t, plain, "-d", owned(t))
			run(t, "e2fsck", "-fyD", img)
			if v.dirdata {
				setDirdata(t, img, true)
			}
			rounds := 0
			rapid.Check(t, func(r *rapid.T) {
				if rounds >= 3 {
					return
				}
				e := openEdit(t, img)
				if r, _ := recount(t, e); recountSize(r) != 0 {
					t.Fatalf("corrections to an image that e2fsck made right: %+v", r)
				}
				m := newModel(r, e)
				actions := m.ops()
				for range rapid.IntRange(5, 40).Draw(r, "ops") {
					op := rapid.SampledFrom([]string{"create", "many", "mkdir", "remove", "xattr"}).Draw(r, "op")
					try(func() { actions[op](r) })
				}
				for i, ino := range strays(t, e, r) {
					if i%2 == 0 {
						cleared(t, e, ino)
					}
				}
				killed(t, e)
				if quotas(v) { // ids of which some have no entry yet
					owner(t, e, m, r)
				}
				if _, full := recount(t, e); full {
					whole(t, e, img)
				} else {
					fsck(t, e, img)
				}
				rounds++ // not after a failure, so that it can be made smaller
			})
		})
	}
}

func recountSize(r *Recount) int {
	n := len(r.Blocks) + len(r.Inodes) + len(r.Deleted) + len(r.Groups) + len(r.Quota)
	if r.Super != nil {
		n++
	}
	return n
}

// strays makes directories and files that no name leads to.
func strays(t testing.TB, e *Edit, r *rapid.T) (list []uint32) {
	for range rapid.IntRange(0, 8).Draw(r, "strays") / 2 * 2 {
		ino, err := e.MakeDir(NewInode{Mode: 0o700}, ext4.InoRoot, nil)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, ino)
	}
	// Every second one is given back in order.
	for i, ino := range list {
		if i%2 == 1 {
			if err := e.FreeInode(ino); err != nil {
				t.Fatal(err)
			}
		}
	}
	return list
}

// cleared overwrites an inode with zeros, as debugfs clri does: its blocks stay marked, and so does it.
func cleared(t testing.TB, e *Edit, ino uint32) {
	t.Helper()
	in, err := e.view.Inode(ino)
	if err != nil {
		t.Fatal(err)
	}
	clear(in.Raw)
	if err := e.putInode(in); err != nil {
		t.Fatal(err)
	}
}

// killed takes a file's mark and time of deletion, and leaves its links, as debugfs kill_file does.
func killed(t testing.TB, e *Edit) {
	t.Helper()
	ino, err := e.AllocInode(NewInode{Mode: ext4.ModeRegular | 0o600})
	if err != nil {
		t.Fatal(err)
	}
	in, err := e.view.Inode(ino)
	if err != nil {
		t.Fatal(err)
	}
	le.PutUint32(in.Raw[ext4.InodeDtime:], 1700000000)
	if err := e.putInode(in); err != nil {
		t.Fatal(err)
	}
	if err := e.releaseInode(ino, false); err != nil {
		t.Fatal(err)
	}
}

// owner gives a file to somebody else.
func owner(t testing.TB, e *Edit, m *model, r *rapid.T) {
	var files []uint32
	for _, names := range m.names {
		for _, n := range names {
			if n.Type == ext4.TypeRegular {
				files = append(files, n.Inode)
			}
		}
	}
	if len(files) == 0 {
		return
	}
	ino := files[rapid.IntRange(0, len(files)-1).Draw(r, "file")]
	if err := setOwner(e, ino, uint32(rapid.IntRange(0, 200).Draw(r, "uid")), uint32(rapid.IntRange(0, 200).Draw(r, "gid"))); err != nil {
		t.Fatal(err)
	}
}

// TestRecountKeeps has damage with which nothing may be given back: what is used twice, and what is in use but marked as free.
func TestRecountKeeps(t *testing.T) {
	v := variants[2]
	for _, c := range []struct {
		name   string
		injure func(t *testing.T, e *Edit, dir, file uint32)
		kept   string
		set    int // runs to mark as in use
	}{
		{"sound", func(t *testing.T, e *Edit, dir, file uint32) { cleared(t, e, dir) }, "", 0},
		{"marked as free", func(t *testing.T, e *Edit, dir, file uint32) {
			cleared(t, e, dir)
			in, _ := e.view.Inode(file)
			g := (in.Number - 1) / e.sb.InodesPerGroup
			d, err := e.group(g)
			if err == nil {
				err = e.loadInodes(d)
			}
			if err != nil {
				t.Fatal(err)
			}
			clearBit(d.inodes, int(in.Index))
			if err := e.putGroup(d); err != nil {
				t.Fatal(err)
			}
		}, "has links and is marked as free", 0},
		{"used twice", func(t *testing.T, e *Edit, dir, file uint32) {
			cleared(t, e, dir)
			from, _ := e.view.Inode(ext4.InoRoot)
			to, _ := e.view.Inode(file)
			copy(to.Raw[ext4.InodeBlock:], from.BlockField())
			if err := e.putInode(to); err != nil {
				t.Fatal(err)
			}
		}, "belongs to something else as well", 0},
		{"no links", func(t *testing.T, e *Edit, dir, file uint32) {
			cleared(t, e, dir)
			if err := e.SetLinks(file, 0); err != nil {
				t.Fatal(err)
			}
		}, "has no links", 0},
		{"outside", func(t *testing.T, e *Edit, dir, file uint32) {
			cleared(t, e, dir)
			in, _ := e.view.Inode(file)
			le.PutUint32(in.Raw[ext4.InodeFileACLLo:], 0xfffffff0)
			if err := e.putInode(in); err != nil {
				t.Fatal(err)
			}
		}, "outside the file system", 0},
		{"block marked as free", func(t *testing.T, e *Edit, dir, file uint32) {
			in, _ := e.view.Inode(dir)
			p, err := e.places(in)
			if err == nil {
				err = e.Mark(p.extents[0].Physical, 1, false)
			}
			if err != nil {
				t.Fatal(err)
			}
		}, "", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := openEdit(t, makeImage(t, v))
			dir, err := e.MakeDir(NewInode{Mode: 0o700}, ext4.InoRoot, nil)
			if err != nil {
				t.Fatal(err)
			}
			file, err := e.AllocInode(NewInode{Mode: ext4.ModeRegular | 0o600})
			if err != nil {
				t.Fatal(err)
			}
			c.injure(t, e, dir, file)
			r, err := e.Recount(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(r.Kept, c.kept) || (r.Kept == "") != (c.kept == "") {
				t.Errorf("kept: %q, should have %q", r.Kept, c.kept)
			}
			set, give := 0, 0
			for _, b := range r.Blocks {
				if b.Used {
					set++
				} else {
					give++
				}
			}
			wantGive := 1
			if c.kept != "" || c.set > 0 {
				wantGive = 0
			}
			if set != c.set || give != wantGive || len(r.Inodes) != wantGive {
				t.Errorf("%d runs to mark, %d to give back, %d inodes: %+v", set, give, len(r.Inodes), r)
			}
		})
	}
}

// TestRecountNewIDs has quota files without entries for the ids that the inodes have: mke2fs does not count what it copies.
func TestRecountNewIDs(t *testing.T) {
	img := makeImage(t, variant{"quota", "40M", "-t ext4 -b 4096 -O quota,project", false}, "-d", owned(t))
	e := openEdit(t, img)
	for i, id := range []uint32{7, 200, 1000} {
		ino, err := e.AllocInode(NewInode{Mode: ext4.ModeRegular | 0o600, UID: id, GID: id, Project: id})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.InsertName(ext4.InoRoot, Name{Name: []byte(fmt.Sprint("new", i)), Inode: ino, Type: ext4.TypeRegular}); err != nil {
			t.Fatal(err)
		}
	}
	r, full := recount(t, e)
	if !full {
		t.Fatal("no room for an id")
	}
	missing := map[ext4quota.Kind]int{}
	for _, q := range r.Quota {
		if !q.Has {
			missing[q.Kind]++
		}
	}
	if fmt.Sprint(missing) != "map[user:3 group:3 project:3]" {
		t.Errorf("ids without an entry: %v", missing)
	}
	whole(t, e, img)
}

// Maps that claim all blocks many times over end a recount and a search for shared blocks, whatever the number of inodes that do.
func TestManyClaims(t *testing.T) {
	e := openEdit(t, makeImage(t, variants[2]))
	var first uint32
	for range 3 * maxClaims {
		ino, err := e.AllocInode(NewInode{Mode: ext4.ModeRegular | 0o600})
		if err != nil {
			t.Fatal(err)
		}
		if first == 0 {
			first = ino
		}
		in, err := e.inode(ino)
		if err != nil {
			t.Fatal(err)
		}
		root := node{0, in.BlockField()}
		root.appendLeaf(0, 1)
		le.PutUint16(root.at(0)[exLen:], uint16(e.over.limit/2))
		if err := e.putInode(in); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := e.Recount(t.Context(), nil); !errors.Is(err, ErrDamaged) {
		t.Errorf("recount: %v", err)
	}
	fs, err := ext4.New(e, e.Size(), "edited") // with the groups as they are now
	if err == nil {
		e, err = Open(fs, Options{})
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Shared(t.Context(), []uint32{first}, nil); !errors.Is(err, ErrDamaged) {
		t.Errorf("shared: %v", err)
	}
}

// setOwner gives an inode to another user and group, and tells no quota file.
func setOwner(e *Edit, ino, uid, gid uint32) error {
	return e.edit(ino, "set owner", func(in *ext4.Inode) error {
		putOwner(in.Raw, uid, gid)
		in.UID, in.GID = uid, gid
		return nil
	})
}
