package lustre

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"fettle/internal/finding"
	"fettle/internal/format/ext4"
	"fettle/internal/format/ext4edit"
	"fettle/internal/format/lustre"
	"fettle/internal/systems/lustre/mdtrecord"
)

// surgery changes records of the real pair of 2.10. What it makes is otherwise a sound ldiskfs, so that e2fsck sees names and inodes only.
type surgery struct {
	u     *unit
	mdts  *mdtrecord.Set
	world *world
	t     *testing.T
}

// Objects of the pair.
const (
	remoteDir = "[0x240000402:0x1:0x0]"  // ROOT/remote_dir, on MDT1
	initDir   = "[0x240000402:0x2:0x0]"  // remote_dir/init.d
	readme    = "[0x240000402:0x6:0x0]"  // init.d/README
	functions = "[0x240000402:0x7:0x0]"  // init.d/functions
	network   = "[0x240000402:0x8:0x0]"  // init.d/network
	rc4       = "[0x240000402:0xb:0x0]"  // remote_dir/rc4.d
	striped   = "[0x240000402:0x3c:0x0]" // ROOT/striped_dir_old, on MDT1
	shard0    = "[0x240000400:0x3:0x0]"  // on MDT1
	shard1    = "[0x200000401:0x3:0x0]"  // on MDT0
	noObject  = "[0x240000402:0x7777:0x0]"
)

func fidFrom(text string) lustre.FID {
	f, err := lustre.ParseFID(text)
	if err != nil {
		panic(err)
	}
	return f
}

func (s *surgery) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *surgery) at(fid string) place {
	s.t.Helper()
	p, how := s.world.locate(fidFrom(fid))
	if how != locFound {
		s.t.Fatalf("%s is not there", fid)
	}
	return p
}

func (s *surgery) xset(fid, kind string, raw []byte) {
	p := s.at(fid)
	if raw == nil {
		s.must(s.mdts.Edit(p.mdt).RemoveXattr(p.ino, ext4.XattrIndexTrusted, kind))
		return
	}
	s.must(s.mdts.Edit(p.mdt).SetXattr(p.ino, ext4.XattrIndexTrusted, kind, raw))
}

// link writes a link EA of pairs of parent and name.
func (s *surgery) link(fid string, pairs ...string) {
	var ea lustre.LinkEA
	for i := 0; i < len(pairs); i += 2 {
		ea.Links = append(ea.Links, lustre.Link{Parent: fidFrom(pairs[i]), Name: pairs[i+1]})
	}
	raw, _ := ea.Encode(0)
	s.xset(fid, "link", raw)
}

// name changes, makes or (nil) removes a name, with the parent's link for a directory.
func (s *surgery) name(dir place, name string, edit func(*mdtrecord.Dirent)) {
	s.t.Helper()
	rec, err := s.mdts.Dirent(dir.mdt, dir.ino, name)
	s.must(err)
	if edit == nil {
		s.must(s.mdts.Write(dir.mdt, mdtrecord.NameAddr(dir.ino, name), nil))
		if rec.Type == "directory" {
			s.links(dir, -1)
		}
		return
	}
	made := rec == nil
	if made {
		rec = &mdtrecord.Dirent{}
	}
	edit(rec)
	s.must(s.mdts.Write(dir.mdt, mdtrecord.NameAddr(dir.ino, name), mdtrecord.Encode(*rec)))
	if made && rec.Type == "directory" {
		s.links(dir, 1)
	}
}

func (s *surgery) links(at place, by int) {
	in, err := s.mdts.Inode(at.mdt, at.ino)
	s.must(err)
	s.must(s.mdts.Edit(at.mdt).SetLinks(at.ino, uint16(int(in.Links)+by)))
}

// free destroys the object in an inode, as debugfs' clri and freei, but with its blocks.
func (s *surgery) free(at place) {
	s.must(s.mdts.Edit(at.mdt).SetXattr(at.ino, ext4.XattrIndexTrusted, "lma", lustre.LMA{Incompat: lustre.LMAIAgent, FID: fidFrom(noObject)}.Encode()))
	s.must(s.mdts.Edit(at.mdt).FreeInode(at.ino))
}

func (s *surgery) remote(fid string) (place, string) {
	p := s.at(fid)
	return place{p.mdt, s.u.remotes[p.mdt]}, fidFrom(fid).Bare()
}

// realForm is a damage of the pair, and the findings that do not follow from others: class and FID.
type realForm struct {
	name   string
	do     func(*surgery)
	want   []string
	policy []string
	kept   []string // classes that a second check may tell again
}

var realForms = []realForm{
	{name: "file without name and link EA", do: func(s *surgery) {
		s.name(s.at(initDir), "README", nil)
		s.xset(readme, "link", nil)
	}, want: []string{Orphan + " " + readme}},
	{name: "link EA says another directory", do: func(s *surgery) { s.link(functions, rc4, "functions") }, want: []string{UnmatchedPair + " " + functions}},
	{name: "link EA cut off", do: func(s *surgery) {
		raw, _ := lustre.LinkEA{}.Add(fidFrom(initDir), "functions").Encode(0)
		s.xset(functions, "link", raw[:len(raw)-4])
	}, want: []string{LinkCrashed + " " + functions}},
	{name: "LMA lost, and another file's LMA says that it is that object", do: func(s *surgery) {
		s.must(s.mdts.Write(1, mdtrecord.InodeAddr(mdtrecord.KindLMA, s.at(network).ino), mdtrecord.Encode(mdtrecord.LMA{FID: functions})))
		s.xset(functions, "lma", nil)
	}, want: []string{MissingLMA + " " + functions, DirentFIDMismatch + " " + functions}},
	{name: "link count of a file 5", do: func(s *surgery) { s.links(s.at(functions), 4) }, want: []string{BadNlink + " " + functions}},
	{name: "link count of a file 0", do: func(s *surgery) { s.links(s.at(functions), -1) }, want: []string{BadNlink + " " + functions}},
	{name: "one of two names lost (26a)", do: func(s *surgery) {
		s.link(functions, initDir, "functions", rc4, "hard")
		s.links(s.at(functions), 1)
	}, want: []string{LostName + " " + functions}},
	{name: "name in the shard altered, link EA has the old one", do: func(s *surgery) {
		d := s.at(shard0)
		var old string
		var was mdtrecord.Dirent
		in, err := s.mdts.Inode(d.mdt, d.ino)
		s.must(err)
		s.must(s.mdts.Edit(d.mdt).View().Dir(in, func(e ext4.Dirent) bool {
			if n := string(e.Name); old == "" && n != "." && n != ".." {
				old = string(e.Name)
			}
			return true
		}, nil))
		s.name(d, old, func(r *mdtrecord.Dirent) { was = *r })
		fid := was.FID
		v, _ := s.world.layout(d)
		for _, c := range []string{"x1", "x2", "x3", "x4", "x5"} {
			if misplaced(&v, c) {
				s.name(d, old, nil)
				s.name(d, c, func(r *mdtrecord.Dirent) { *r = was })
				break
			}
		}
		s.t.Logf("%s is %s", old, fid)
	}, want: []string{BadNameHash + " *"}},
	{name: "master LMV lost (31c)", do: func(s *surgery) { s.xset(striped, "lmv", nil) }, want: []string{MasterLMVMissing + " " + striped}},
	{name: "master LMV counts a shard more", do: func(s *surgery) {
		v, _ := s.world.layout(s.at(striped))
		v.Count++
		s.xset(striped, "lmv", v.Encode())
	}, want: []string{MasterLMVWrong + " " + striped}},
	{name: "shard LMV on the other MDT lost (31f)", do: func(s *surgery) { s.xset(shard1, "lmv", nil) }, want: []string{ShardLMVMissing + " " + shard1}},
	{name: "shard without its name", do: func(s *surgery) { s.name(s.at(striped), shard0+":0", nil) }, want: []string{Orphan + " " + shard0}},
	{name: "directory without name says that of another (24)", do: func(s *surgery) {
		s.name(s.at(remoteDir), "rc4.d", nil)
		s.link(rc4, remoteDir, "init.d")
	}, want: []string{MultipleReferenced + " " + rc4}},
	{name: "'..' has another FID", do: func(s *surgery) {
		s.must(s.mdts.Write(1, mdtrecord.InodeAddr(mdtrecord.KindDotdot, s.at(rc4).ino), mdtrecord.Encode(mdtrecord.Dirent{Inode: s.at(remoteDir).ino, FID: striped})))
	}, want: []string{DotdotMismatch + " " + rc4}},
	{name: "'..' of a remote directory has another FID", do: func(s *surgery) {
		p := s.at(remoteDir)
		s.must(s.mdts.Write(1, mdtrecord.InodeAddr(mdtrecord.KindDotdot, p.ino), mdtrecord.Encode(mdtrecord.Dirent{Inode: s.u.remotes[1], FID: striped})))
	}, want: []string{DotdotMismatch + " " + remoteDir}},
	{name: "'..' has another inode", do: func(s *surgery) {
		s.must(s.mdts.Write(1, mdtrecord.InodeAddr(mdtrecord.KindDotdot, s.at(rc4).ino), mdtrecord.Encode(mdtrecord.Dirent{Inode: s.at(striped).ino, FID: remoteDir})))
	}, want: []string{DotdotMismatch + " " + rc4}},
	{name: "'..' and link EA say a parent that does not exist (22a)", do: func(s *surgery) {
		s.must(s.mdts.Write(1, mdtrecord.InodeAddr(mdtrecord.KindDotdot, s.at(rc4).ino), mdtrecord.Encode(mdtrecord.Dirent{Inode: s.at(remoteDir).ino, FID: noObject})))
		s.link(rc4, noObject, "rc4.d")
	}, want: []string{UnmatchedPair + " " + rc4}},
	{name: "'..' and link EA say a parent without such a name (22b)", do: func(s *surgery) {
		s.must(s.mdts.Write(1, mdtrecord.InodeAddr(mdtrecord.KindDotdot, s.at(rc4).ino), mdtrecord.Encode(mdtrecord.Dirent{Inode: s.at(remoteDir).ino, FID: initDir})))
		s.link(rc4, initDir, "rc4.d")
	}, want: []string{UnmatchedPair + " " + rc4}},
	{name: "agent freed", do: func(s *surgery) {
		rec, err := s.mdts.Dirent(0, s.u.targets[0].marks.root, "remote_dir")
		s.must(err)
		s.must(s.mdts.Edit(0).FreeInode(rec.Inode))
	}, want: []string{AgentMissing + " " + remoteDir}},
	{name: "agent stands for another object", do: func(s *surgery) {
		rec, err := s.mdts.Dirent(0, s.u.targets[0].marks.root, "remote_dir")
		s.must(err)
		s.must(s.mdts.Edit(0).SetXattr(rec.Inode, ext4.XattrIndexTrusted, "lma", lustre.LMA{Incompat: lustre.LMAIAgent, FID: fidFrom(noObject)}.Encode()))
	}, want: []string{AgentMissing + " " + remoteDir}},
	{name: "link EA has a record twice (2c)", do: func(s *surgery) { s.link(functions, initDir, "functions", initDir, "functions") }, want: []string{LinkRepeated + " " + functions}},
	{name: "link EA has a record of nothing", do: func(s *surgery) { s.link(functions, initDir, "functions", initDir, "no-such") }, want: []string{LinkRedundant + " " + functions}},
	{name: "link EA of a remote directory insane (2e)", do: func(s *surgery) {
		s.link(remoteDir, "[0x200000007:0x1:0xffffffff]", "remote_dir")
	}, want: []string{LinkInvalidParent + " " + remoteDir}},
	{name: "no name in REMOTE_PARENT_DIR (35)", do: func(s *surgery) {
		d, name := s.remote(remoteDir)
		s.name(d, name, nil)
	}, want: []string{RemoteMissing + " " + remoteDir}},
	{name: "name in REMOTE_PARENT_DIR of nothing", do: func(s *surgery) {
		d, _ := s.remote(remoteDir)
		s.name(d, fidFrom(noObject).Bare(), func(r *mdtrecord.Dirent) { *r = mdtrecord.Dirent{Inode: 190, Type: "file"} })
	}, want: []string{RemoteStale + " " + noObject}},
	{name: "mark REMOTE_PARENT lost", do: func(s *surgery) {
		s.xset(remoteDir, "lma", lustre.LMA{FID: fidFrom(remoteDir)}.Encode())
	}, want: []string{RemoteFlag + " " + remoteDir}},
	{name: "names and parent gone, local (27a)", do: func(s *surgery) {
		// The directory with all that is in it stays; its own name and inode go.
		s.name(s.at(remoteDir), "init.d", nil)
		d := s.at(initDir)
		var all []string
		in, err := s.mdts.Inode(d.mdt, d.ino)
		s.must(err)
		s.must(s.mdts.Edit(d.mdt).View().Dir(in, func(e ext4.Dirent) bool {
			if n := string(e.Name); n != "." && n != ".." {
				all = append(all, n)
			}
			return true
		}, nil))
		for _, n := range all {
			s.name(d, n, nil)
		}
		s.must(s.mdts.Write(d.mdt, mdtrecord.KindOI+"/"+initDir, nil))
		s.free(d)
	}, want: []string{Orphan + " *"}},
	{name: "object index lacks an object", do: func(s *surgery) { s.must(s.mdts.Write(1, mdtrecord.KindOI+"/"+readme, nil)) }, want: []string{IndexMissing + " " + readme}},
	{name: "object index has another inode", do: func(s *surgery) {
		s.must(s.mdts.Write(1, mdtrecord.KindOI+"/"+readme, mdtrecord.Encode(mdtrecord.OIEntry{Inode: s.at(functions).ino, Generation: 1})))
	}, want: []string{IndexStale + " " + readme}},
	{name: "object index has an object that is gone", do: func(s *surgery) {
		s.must(s.mdts.Write(1, mdtrecord.KindOI+"/"+noObject, mdtrecord.Encode(mdtrecord.OIEntry{Inode: 190, Generation: 1})))
	}, want: []string{IndexStale + " " + noObject}},
	{name: "LMA lost, directory", do: func(s *surgery) { s.xset(rc4, "lma", nil) }, want: []string{MissingLMA + " *"}},
	{name: "LMA says noObject", do: func(s *surgery) {
		s.xset(readme, "lma", lustre.LMA{FID: fidFrom(noObject)}.Encode())
	}, want: []string{DirentFIDMismatch + " " + noObject}},
	{name: "remote name has the FID of noObject", do: func(s *surgery) {
		root := place{0, s.u.targets[0].marks.root}
		s.name(root, "remote_dir", func(r *mdtrecord.Dirent) { r.FID = noObject })
	}, want: []string{DirentFIDMismatch + " " + remoteDir}},
	{name: "open and unlinked", do: func(s *surgery) { // nothing is wrong
		p := s.at(readme)
		s.name(s.at(initDir), "README", nil)
		rec, err := s.mdts.Dirent(1, ext4.InoRoot, "PENDING")
		s.must(err)
		s.name(place{1, rec.Inode}, fidFrom(readme).Bare(), func(r *mdtrecord.Dirent) { *r = mdtrecord.Dirent{Inode: p.ino, Type: "file", FID: readme} })
	}},
}

// TestRealForms makes each form of damage on the pair: a check tells it and groups what follows; after a repair a check is clean, e2fsck
// has no complaint that it does not have about the healthy pair, and an undo gives back identical images.
func TestRealForms(t *testing.T) {
	paths := pair(t)
	had := toldByE2fsck(t, paths)
	for _, c := range slices.Concat(realForms, meetingForms) {
		t.Run(c.name, func(t *testing.T) {
			back := operate(t, paths, c.do)
			defer back()
			before := bytesOf(t, paths)
			m := &mender{t: t, paths: paths, run: t.TempDir()}
			found := m.make(c.policy...)
			causes(t, found, c.want)
			if m.plan.Steps() > 0 {
				m.apply()
			}
			if c.kept == nil {
				sound(t, paths, had)
			} else if left := slices.DeleteFunc(checkPaths(t, nil, paths...), func(f finding.Finding) bool { return slices.Contains(c.kept, f.Class) }); len(left) > 0 {
				t.Errorf("left: %d findings", len(left))
				tell(t, left)
			}
			if t.Failed() {
				tell(t, found)
				m.tell()
			}
			if m.plan.Steps() > 0 {
				m.undo()
			}
			if bytesOf(t, paths) != before {
				t.Error("undo did not give back identical images")
			}
		})
	}
}

// bytesOf is a digest of images that takes no time for their holes.
func bytesOf(t *testing.T, paths []string) string {
	t.Helper()
	h := sha256.New()
	buf, zero := make([]byte, 1<<20), make([]byte, 1<<20)
	for _, p := range paths {
		f, err := os.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		for at := int64(0); ; at += int64(len(buf)) {
			n, err := f.ReadAt(buf, at)
			if !bytes.Equal(buf[:n], zero[:n]) {
				h.Write(binary.LittleEndian.AppendUint64(nil, uint64(at)))
				h.Write(buf[:n])
			}
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return string(h.Sum(nil))
}

// causes holds the findings that follow from no other against what they should be. "*" stands for any FID, and any number of them.
func causes(t *testing.T, found []finding.Finding, want []string) {
	t.Helper()
	met := map[string]bool{}
	for i := range found {
		f := &found[i]
		if f.CausedBy != nil {
			continue
		}
		var d detail
		if err := json.Unmarshal(f.Detail, &d); err != nil {
			t.Fatal(err)
		}
		k := slices.IndexFunc(want, func(w string) bool { return w == f.Class+" "+f.Subject || w == f.Class+" *" })
		if k < 0 {
			t.Errorf("not true: %s %s %s", f.Class, f.Subject, f.Title)
			continue
		}
		if met[want[k]] && !strings.HasSuffix(want[k], "*") {
			t.Errorf("told twice: %s", want[k])
		}
		met[want[k]] = true
	}
	for _, w := range want {
		if !met[w] {
			t.Errorf("not found: %s", w)
		}
	}
}

// operate writes the blocks that an operation changes, and gives what takes them back.
func operate(t *testing.T, paths []string, do func(*surgery)) (back func()) {
	t.Helper()
	u := openPaths(t, nil, paths...).(*unit)
	files, err := u.reopen()
	if err != nil {
		t.Fatal(err)
	}
	mdts, err := u.edit(files, ext4edit.Options{AllowReadOnlyMount: true})
	if err != nil {
		t.Fatal(err)
	}
	do(&surgery{u: u, mdts: mdts, world: worldOf(u, mdts), t: t})
	blocks := make([][]ext4edit.Block, len(paths))
	for i := range u.targets {
		blocks[i] = slices.Clone(mdts.Edit(i).Blocks())
	}
	if err := closeAll(files); err != nil {
		t.Fatal(err)
	}
	put := func(after bool) {
		for i, p := range paths {
			f, err := os.OpenFile(p, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range blocks[i] {
				content := k.Before
				if after {
					content = k.After
				}
				if _, err := f.WriteAt(content, int64(k.Number)*int64(len(content))); err != nil {
					t.Fatal(err)
				}
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	put(true)
	return func() { put(false) }
}
