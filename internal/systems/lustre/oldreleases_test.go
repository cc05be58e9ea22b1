package lustre

import (
	"os"
	"testing"

	"fettle/internal/format/ext4"
	"fettle/internal/format/ext4edit"
	"fettle/internal/format/lustre"
	"fettle/internal/systems/lustre/lustrelab"
)

// TestOldReleases makes of a new file system what releases before 2.5 left, as their images (the upgrade tests of Lustre have them) show
// it. None of it is damage.
func TestOldReleases(t *testing.T) {
	rootLink := func(parent lustre.FID) func(*aged) {
		return func(a *aged) {
			a.igifRoot()
			a.setLinks(a.m.root, lustre.LinkEA{Links: []lustre.Link{{Parent: parent, Name: "ROOT"}}})
		}
	}
	dotLustre := func(a *aged) uint32 { return a.find(a.m.root, ".lustre").Inode }
	for _, c := range []struct {
		name string
		make func(*aged)
	}{
		{"names of .lustre without FIDs", func(a *aged) {
			a.plainName(a.m.root, ".lustre")
			a.plainName(dotLustre(a), "fid")
		}},
		{"own objects missing in the object index", func(a *aged) {
			in, err := a.e.View().Inode(a.m.remote)
			a.must(err)
			raw, _ := in.Xattr(ext4.XattrIndexTrusted, "lma")
			lma, err := lustre.DecodeLMA(raw)
			a.must(err)
			if lma.Compat&lustre.LMACNotInOI == 0 || !lma.FID.IsLocal() {
				a.t.Fatalf("REMOTE_PARENT_DIR says %+v", lma)
			}
			lma.Compat = 0 // it is not in the index, and does not say so
			a.must(a.e.SetXattr(a.m.remote, ext4.XattrIndexTrusted, "lma", lma.Encode()))
		}},
		{"ROOT with a link EA of the target's root", rootLink(lustre.FID{Seq: 2})},
		{"ROOT with a link EA of a local FID", rootLink(lustre.FID{Seq: 0x200000001, OID: 0xd})},
		{"fixed objects without LMA", func(a *aged) {
			a.igifRoot()
			a.must(a.e.RemoveXattr(dotLustre(a), ext4.XattrIndexTrusted, "lma"))
			a.plainName(a.m.root, ".lustre")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := lustrelab.Make(t.Context(), t.TempDir(), lustrelab.Options{MDTs: 1, Files: 60, Dirs: 6, Striped: -1})
			if err != nil {
				t.Fatal(err)
			}
			age(t, m.Paths[0], c.make)
			if found := checkPaths(t, nil, m.Paths...); len(found) > 0 {
				tell(t, found)
				t.Errorf("%d findings", len(found))
			}
		})
	}
}

// aged is an image that is made to look older.
type aged struct {
	t *testing.T
	e *ext4edit.Edit
	m landmarks
}

func (a *aged) must(err error) {
	a.t.Helper()
	if err != nil {
		a.t.Fatal(err)
	}
}

func (a *aged) find(dir uint32, name string) ext4edit.Entry {
	a.t.Helper()
	x, err := a.e.Find(dir, []byte(name))
	a.must(err)
	return x
}

// plainName takes the FID out of a name.
func (a *aged) plainName(dir uint32, name string) {
	a.t.Helper()
	x := a.find(dir, name)
	a.must(a.e.RemoveName(dir, []byte(name), x.At))
	_, err := a.e.InsertName(dir, ext4edit.Name{Name: []byte(name), Inode: x.Inode, Type: x.Type & lustre.DirTypeMask})
	a.must(err)
}

func (a *aged) setLinks(ino uint32, ea lustre.LinkEA) {
	a.t.Helper()
	b, _ := ea.Encode(0)
	a.must(a.e.SetXattr(ino, ext4.XattrIndexTrusted, "link", b))
}

// igifRoot makes the FID of ROOT one of inode number and generation, which is not written down in ROOT itself.
func (a *aged) igifRoot() {
	a.t.Helper()
	fs := a.e.View()
	root, err := fs.Inode(a.m.root)
	a.must(err)
	igif := lustre.IGIF(root.Number, root.Generation)
	big := [16]byte(igif.AppendBig(nil))
	a.must(a.e.RemoveXattr(root.Number, ext4.XattrIndexTrusted, "lma"))
	n, err := lustre.OIFile(lustre.FIDRoot, len(a.m.oi))
	a.must(err)
	a.must(a.e.OIRemove(a.m.oi[n], lustre.FIDRoot))
	var children []uint32
	a.must(fs.Dir(root, func(d ext4.Dirent) bool {
		if string(d.Name) != "." && string(d.Name) != ".." {
			children = append(children, d.Inode)
		}
		return true
	}, nil))
	for _, ino := range children {
		in, err := fs.Inode(ino)
		a.must(err)
		raw, had := in.Xattr(ext4.XattrIndexTrusted, "link")
		if had {
			ea, _, err := lustre.DecodeLinkEA(raw)
			a.must(err)
			for i := range ea.Links {
				if ea.Links[i].Parent == lustre.FIDRoot {
					ea.Links[i].Parent = igif
				}
			}
			a.setLinks(ino, ea)
		}
		if in.IsDir() {
			a.must(a.e.SetDotDot(ino, root.Number, &big))
		}
	}
}

// age edits an image in place.
func age(t *testing.T, path string, edit func(*aged)) {
	t.Helper()
	fs, err := ext4.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer fs.Close()
	e, err := ext4edit.Open(fs, ext4edit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	edit(&aged{t, e, findLandmarks(fs)})
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range e.Blocks() {
		if _, err := f.WriteAt(b.After, int64(b.Number)*int64(len(b.After))); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
