package lustre

import (
	"os"
	"testing"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
	"fettle/internal/systems/lustre/mdtrecord"
)

// meetingForms are damages of the pair that meet at one object or in one directory, so that a repair of one has to know of the other. They
// are gone through by TestRealForms, after one repair a check is clean.
var meetingForms = []realForm{
	{name: "orphan says that it is in the master of a striped directory", do: func(s *surgery) {
		name, fid := s.inShard(shard0)
		s.name(s.at(shard0), name, nil)
		s.link(fid, striped, name)
	}, want: []string{Orphan + " *"}},
	{name: "orphan says that it is in a shard that its hash does not lead to", do: func(s *surgery) {
		name, fid := s.inShard(shard0)
		s.name(s.at(shard0), name, nil)
		v, _ := s.world.layout(s.at(shard0))
		for _, c := range []string{"x1", "x2", "x3", "x4", "x5"} {
			if misplaced(&v, c) {
				s.link(fid, shard0, c)
				break
			}
		}
	}, want: []string{Orphan + " *"}},
	{name: "orphan says that it is in a file", do: func(s *surgery) {
		s.name(s.at(initDir), "README", nil)
		s.link(readme, functions, "README")
	}, want: []string{Orphan + " " + readme}},
	{name: "a second name is said to be in a file", do: func(s *surgery) {
		s.link(readme, initDir, "README", functions, "hard")
		s.links(s.at(readme), 1)
	}, want: []string{LinkRedundant + " " + readme, BadNlink + " " + readme}},
	{name: "master of a striped directory gone, shards kept", do: func(s *surgery) {
		d, name := s.remote(striped)
		s.name(d, name, nil)
		m := s.at(striped)
		s.must(s.mdts.Write(m.mdt, mdtrecord.OIAddr(fidFrom(striped)), nil))
		for _, n := range []string{shard0 + ":0", shard1 + ":1"} {
			s.name(m, n, nil)
		}
		s.free(m)
	}, want: []string{DanglingName + " " + striped}},
	{name: "shard without its name and its layout", do: func(s *surgery) {
		s.name(s.at(striped), shard0+":0", nil)
		s.xset(shard0, "lmv", nil)
	}, want: []string{Orphan + " " + shard0}},
	{name: "shard on the other MDT without its name and its link EA", do: func(s *surgery) {
		s.name(s.at(striped), shard1+":1", nil)
		s.xset(shard1, "link", nil)
	}, want: []string{Orphan + " " + shard1}},
	{name: "shard without its name, shards are made anew on request", do: func(s *surgery) {
		s.name(s.at(striped), shard1+":1", nil)
	}, want: []string{Orphan + " " + shard1}, policy: []string{"lustre/stripe-lost=recreate"}},
	{name: "name of a shard has another FID in its text", do: func(s *surgery) {
		var was mdtrecord.Dirent
		s.name(s.at(striped), shard0+":0", func(r *mdtrecord.Dirent) { was = *r })
		s.name(s.at(striped), "[0x240000407:0x3:0x0]:0", func(r *mdtrecord.Dirent) { *r = was })
		s.name(s.at(striped), shard0+":0", nil)
	}, want: []string{ShardName + " " + shard0}},
	{name: "master has the layout of a shard", do: func(s *surgery) {
		v, _ := s.world.layout(s.at(striped))
		v.Magic = lustre.LMVShard
		s.xset(striped, "lmv", v.Encode())
	}, want: []string{MasterLMVWrong + " " + striped}},
	{name: "LMA lost, name without FID", do: func(s *surgery) {
		s.xset(readme, "lma", nil)
		s.name(s.at(initDir), "README", func(r *mdtrecord.Dirent) { r.FID = "" })
	}, want: []string{MissingLMA + " " + readme}},
	{name: "LMA lost, and not in the object index", do: func(s *surgery) {
		s.must(s.mdts.Write(1, mdtrecord.OIAddr(fidFrom(readme)), nil))
		s.must(s.mdts.Edit(1).RemoveXattr(s.name1(initDir, "README"), ext4.XattrIndexTrusted, "lma"))
	}, want: []string{MissingLMA + " " + readme}},
	{name: "LMA and link EA lost", do: func(s *surgery) {
		s.xset(readme, "link", nil)
		s.xset(readme, "lma", nil)
	}, want: []string{MissingLMA + " " + readme}},
	{name: "LMA and name lost", do: func(s *surgery) {
		s.name(s.at(initDir), "README", nil)
		s.xset(readme, "lma", nil)
	}, want: []string{MissingLMA + " " + readme}},
	{name: "LMA and name lost, and not in the object index: the layout tells the FID", do: func(s *surgery) {
		ino := s.at(readme).ino
		s.name(s.at(initDir), "README", nil)
		s.must(s.mdts.Write(1, mdtrecord.OIAddr(fidFrom(readme)), nil))
		s.must(s.mdts.Edit(1).RemoveXattr(ino, ext4.XattrIndexTrusted, "lma"))
	}, want: []string{Orphan + " *"}},
	{name: "the same, and the name is another file's", do: func(s *surgery) {
		ino := s.at(readme).ino
		s.name(s.at(initDir), "README", nil)
		s.link(readme, initDir, "functions")
		s.must(s.mdts.Write(1, mdtrecord.OIAddr(fidFrom(readme)), nil))
		s.must(s.mdts.Edit(1).RemoveXattr(ino, ext4.XattrIndexTrusted, "lma"))
	}, want: []string{MultipleReferenced + " *"}},
	{name: "orphan says that it is in a file that is gone", do: func(s *surgery) {
		d := s.at(readme)
		s.must(s.mdts.Write(1, mdtrecord.OIAddr(fidFrom(readme)), nil))
		s.link(functions, readme, "functions")
		s.name(s.at(initDir), "functions", nil)
		s.free(d)
	}, want: []string{DanglingName + " " + readme}, kept: []string{DanglingName}},
	{name: "agent has lost its LMA", do: func(s *surgery) {
		rec, err := s.mdts.Dirent(0, s.u.targets[0].marks.root, "remote_dir")
		s.must(err)
		s.must(s.mdts.Edit(0).RemoveXattr(rec.Inode, ext4.XattrIndexTrusted, "lma"))
	}, want: []string{AgentMissing + " " + remoteDir}},
	{name: "agent and object have lost their LMAs", do: func(s *surgery) {
		rec, err := s.mdts.Dirent(0, s.u.targets[0].marks.root, "remote_dir")
		s.must(err)
		s.must(s.mdts.Edit(0).RemoveXattr(rec.Inode, ext4.XattrIndexTrusted, "lma"))
		s.xset(remoteDir, "lma", nil)
	}, want: []string{MissingLMA + " " + remoteDir}, kept: []string{AgentMissing}},
	{name: "remote name and its agent have the FID of nobody", do: func(s *surgery) {
		root := place{0, s.u.targets[0].marks.root}
		s.name(root, "remote_dir", func(r *mdtrecord.Dirent) {
			r.FID = noObject
			s.must(s.mdts.Edit(0).SetXattr(r.Inode, ext4.XattrIndexTrusted, "lma", lustre.LMA{Incompat: lustre.LMAIAgent, FID: fidFrom(noObject)}.Encode()))
		})
	}, want: []string{DanglingName + " " + noObject}},
	{name: "local object in REMOTE_PARENT_DIR, and marked so", do: func(s *surgery) {
		d, _ := s.remote(remoteDir)
		p := s.at(rc4)
		s.name(d, fidFrom(rc4).Bare(), func(r *mdtrecord.Dirent) { *r = mdtrecord.Dirent{Inode: p.ino, Type: "directory"} })
		s.xset(rc4, "lma", lustre.LMA{FID: fidFrom(rc4), Incompat: lustre.LMAIRemoteParent}.Encode())
	}, want: []string{RemoteStale + " " + rc4}},
	{name: "type of a sub-directory wrong, and the link count goes with it", do: func(s *surgery) {
		s.name(s.at(remoteDir), "rc4.d", func(r *mdtrecord.Dirent) { r.Type = "file" })
		s.links(s.at(remoteDir), -1)
	}, want: []string{BadType + " " + rc4}},
	{name: "LMAs of two files exchanged", do: func(s *surgery) {
		a, b := s.at(readme), s.at(functions)
		s.must(s.mdts.Write(1, mdtrecord.InodeAddr(mdtrecord.KindLMA, a.ino), mdtrecord.Encode(mdtrecord.LMA{FID: functions})))
		s.must(s.mdts.Write(1, mdtrecord.InodeAddr(mdtrecord.KindLMA, b.ino), mdtrecord.Encode(mdtrecord.LMA{FID: readme})))
	}, want: []string{DirentFIDMismatch + " " + readme, DirentFIDMismatch + " " + functions}},
	{name: "master has another hash, and no name for shard 0", do: func(s *surgery) {
		v, _ := s.world.layout(s.at(striped))
		v.HashType = lustre.HashAllChar
		s.xset(striped, "lmv", v.Encode())
		s.name(s.at(striped), shard0+":0", nil)
	}, want: []string{MasterLMVWrong + " " + striped, Orphan + " " + shard0}},
	{name: "master has another hash, and no name for shard 1", do: func(s *surgery) {
		v, _ := s.world.layout(s.at(striped))
		v.HashType = lustre.HashAllChar
		s.xset(striped, "lmv", v.Encode())
		s.name(s.at(striped), shard1+":1", nil)
	}, want: []string{MasterLMVWrong + " " + striped, Orphan + " " + shard1}},
	{name: "master has another hash, and a shard has no layout", do: func(s *surgery) {
		v, _ := s.world.layout(s.at(striped))
		v.HashType = lustre.HashAllChar
		s.xset(striped, "lmv", v.Encode())
		s.xset(shard0, "lmv", nil)
	}, want: []string{MasterLMVWrong + " " + striped, ShardLMVMissing + " " + shard0}},
	{name: "master and a shard have another hash", do: func(s *surgery) {
		for _, fid := range []string{striped, shard0} {
			v, _ := s.world.layout(s.at(fid))
			v.HashType = lustre.HashAllChar
			s.xset(fid, "lmv", v.Encode())
		}
	}, want: []string{MasterLMVWrong + " " + striped, ShardLMVWrong + " " + shard0}},
	{name: "'..' of .lustre leads elsewhere", do: func(s *surgery) {
		const top, other = "[0x200000002:0x1:0x0]", "[0x200000402:0x1:0x0]"
		s.must(s.mdts.Write(0, mdtrecord.InodeAddr(mdtrecord.KindDotdot, s.at(top).ino), mdtrecord.Encode(mdtrecord.Dirent{Inode: s.at(other).ino, FID: other})))
	}, want: []string{DotdotMismatch + " [0x200000002:0x1:0x0]"}},
	{name: "a file is marked as an agent", do: func(s *surgery) {
		s.xset(readme, "lma", lustre.LMA{FID: fidFrom(readme), Incompat: lustre.LMAIAgent}.Encode())
	}, want: []string{RemoteFlag + " " + readme}},
	{name: "a remote directory is marked as an agent", do: func(s *surgery) {
		s.xset(remoteDir, "lma", lustre.LMA{FID: fidFrom(remoteDir), Incompat: lustre.LMAIAgent | lustre.LMAIRemoteParent}.Encode())
	}, want: []string{RemoteFlag + " " + remoteDir}},
	{name: "a file is marked as an agent, and its name and entry of the object index are lost", do: func(s *surgery) {
		s.xset(readme, "lma", lustre.LMA{FID: fidFrom(readme), Incompat: lustre.LMAIAgent}.Encode())
		s.name(s.at(initDir), "README", nil)
		s.must(s.mdts.Write(1, mdtrecord.OIAddr(fidFrom(readme)), nil))
	}, want: []string{RemoteFlag + " " + readme, Orphan + " " + readme, IndexMissing + " " + readme}},
	{name: "a directory has the LMA of another one", do: func(s *surgery) {
		s.must(s.mdts.Write(1, mdtrecord.InodeAddr(mdtrecord.KindLMA, s.at(rc4).ino), mdtrecord.Encode(mdtrecord.LMA{FID: initDir})))
	}, want: []string{DuplicateFID + " " + initDir}},
}

// inShard gives the first name of a shard, and its FID.
func (s *surgery) inShard(shard string) (name, fid string) {
	s.t.Helper()
	d := s.at(shard)
	in, err := s.mdts.Inode(d.mdt, d.ino)
	s.must(err)
	s.must(s.mdts.Edit(d.mdt).View().Dir(in, func(e ext4.Dirent) bool {
		if n := string(e.Name); name == "" && n != "." && n != ".." {
			name = n
		}
		return true
	}, nil))
	rec, err := s.mdts.Dirent(d.mdt, d.ino, name)
	s.must(err)
	return name, rec.FID
}

// name1 is the inode that a name on MDT1 leads to.
func (s *surgery) name1(dir, name string) uint32 {
	s.t.Helper()
	rec, err := s.mdts.Dirent(1, s.at(dir).ino, name)
	s.must(err)
	return rec.Inode
}

// TestRawEntries damages bytes of entries of the pair, as no other test can write them: all is told as one finding, and repaired.
func TestRawEntries(t *testing.T) {
	for _, c := range []struct {
		name       string
		dir, entry string
		field      int64 // from the start of the entry
		becomes    []byte
		want       string
	}{
		{"'..' has the type of a file", rc4, "..", ext4.DirentType, []byte{ext4.TypeRegular | ext4.DirdataLUFID}, DotdotMismatch + " " + rc4},
		{"'..' has an inode number that no inode has", rc4, "..", 0, []byte{0xf0, 0xff, 0xff, 0xff}, DotdotMismatch + " " + rc4},
		{"a name has an inode number that no inode has", initDir, "README", 0, []byte{0xf0, 0xff, 0xff, 0xff}, DirentInode + " " + readme},
	} {
		t.Run(c.name, func(t *testing.T) {
			paths := pair(t)
			var at int64
			operate(t, paths, func(s *surgery) {
				d := s.at(c.dir)
				in, err := s.mdts.Inode(d.mdt, d.ino)
				s.must(err)
				s.must(s.mdts.Edit(d.mdt).View().Dir(in, func(e ext4.Dirent) bool { at = e.At; return string(e.Name) != c.entry }, nil))
			})
			f, err := os.OpenFile(paths[1], os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt(c.becomes, at+c.field); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			before := bytesOf(t, paths)
			m := &mender{t: t, paths: paths, run: t.TempDir()}
			causes(t, m.make(), []string{c.want})
			m.apply()
			if left := checkPaths(t, nil, paths...); len(left) > 0 {
				t.Errorf("left: %d findings", len(left))
				tell(t, left)
			}
			m.undo()
			if bytesOf(t, paths) != before {
				t.Error("undo did not give back identical images")
			}
		})
	}
}
