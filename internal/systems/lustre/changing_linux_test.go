package lustre

import (
	"strings"
	"testing"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
	"fettle/internal/systems/lustre/lustrelab"
)

// changingDir is a striped directory in the middle of a change, with one of its shards and a file in that.
type changingDir struct{ master, shard, file *body }

// changingDir finds one whose layout is in the given state.
func (p *patient) changingDir(state func(lustre.LMV) bool) changingDir {
	p.t.Helper()
	var d changingDir
	d.master = p.pick("directory in that state", func(b *body) bool { return b.lmv != nil && b.lmv.IsMaster() && state(*b.lmv) })
	d.file = p.pick("file in one of its shards", func(f *body) bool {
		if !f.in.IsRegular() || len(f.names) != 1 || f.names[0].mdt != f.mdt || f.in.Links != 1 {
			return false
		}
		for i := range p.all {
			s := &p.all[i]
			if s.place == f.names[0].place && len(s.names) == 1 && s.names[0].place == d.master.place {
				d.shard = s
				return true
			}
		}
		return false
	})
	return d
}

// What objects, names and inodes say of themselves is repaired in directories whose layout is being changed; what shards there are and
// which names are in them is left, with the state and the command that ends it.
func TestRepairInChangingDirectories(t *testing.T) {
	states := map[string]struct {
		is   func(lustre.LMV) bool
		ends string
	}{
		"migrated": {lustre.LMV.Migrating, "lfs migrate -m"},
		"split":    {lustre.LMV.Splitting, "ls -lR"},
		"merged":   {lustre.LMV.Merging, "ls -lR"},
	}
	damages := []struct {
		name  string
		do    func(p *patient, d changingDir)
		class string
		left  bool
	}{
		{"link EA of a file", func(p *patient, d changingDir) { p.lose(d.file, "link") }, LinkMissing, false},
		{"LMA of a file", func(p *patient, d changingDir) { p.lose(d.file, "lma") }, MissingLMA, false},
		{"link count of a file", func(p *patient, d changingDir) { p.links(d.file, 5) }, BadNlink, false},
		{"link count of a shard", func(p *patient, d changingDir) { p.links(d.shard, d.shard.in.Links+3) }, BadNlink, false},
		{"type in a name", func(p *patient, d changingDir) {
			p.write(d.file.mdt, d.file.names[0].at+ext4.DirentType, []byte{ext4.DirdataLUFID | ext4.TypeDir})
		}, BadType, false},
		{"FID in a name", func(p *patient, d changingDir) { p.fid(d.file.names[0], lustre.FID{Seq: 1 << 40}) }, DirentFIDMismatch, false},
		{"'..' of a shard", func(p *patient, d changingDir) {
			up := p.entry(d.shard.place, "..")
			p.fid(up, lustre.FIDRoot)
		}, DotdotMismatch, false},
		{"entry of the object index", func(p *patient, d changingDir) { p.write(d.file.mdt, p.indexAt(d.file)+16, []byte{0, 0, 0, 12}) }, IndexStale, false},
		{"link EA of a shard", func(p *patient, d changingDir) { p.lose(d.shard, "link") }, LinkMissing, false},
		{"MDT in the master's layout", func(p *patient, d changingDir) { p.patch(d.master, "lmv", 8, le32(9)) }, MasterLMVWrong, false},
		{"layout of a shard lost", func(p *patient, d changingDir) { p.lose(d.shard, "lmv") }, ShardLMVMissing, true},
		{"number in the layout of a shard", func(p *patient, d changingDir) { p.patch(d.shard, "lmv", 8, le32(1-d.shard.lmv.Index)) }, ShardLMVWrong, true},
		{"number in the name of a shard", func(p *patient, d changingDir) {
			n := d.shard.names[0]
			last := int64(len(n.text)) - 1
			p.write(n.mdt, n.at+ext4.DirentHeader+last, []byte{n.text[last] + 7})
			text := p.xattr(d.shard, "link")
			p.write(d.shard.mdt, text.ValueAt+24+18+last, []byte{n.text[last]})
		}, ShardName, true},
	}
	for name, s := range states {
		for _, c := range damages {
			t.Run(name+" "+c.name, func(t *testing.T) {
				dir := t.TempDir()
				p := newPatient(t, dir+"/fs", lustrelab.Options{Changing: true, Striped: 8})
				c.do(p, p.changingDir(s.is))
				m := &mender{t: t, paths: p.paths, run: t.TempDir()}
				before := digestImages(t, dir+"/fs").Content
				found := m.make()
				tellsIt := false
				for _, f := range found {
					tellsIt = tellsIt || f.Class == c.class
				}
				if !tellsIt {
					tell(t, found)
					t.Fatalf("no %s was found", c.class)
				}
				if c.left {
					for _, u := range m.plan.Units {
						for _, o := range u.Outcomes {
							if o.Seq == found[0].Seq && strings.HasPrefix(o.Result, "left: ") && strings.Contains(o.Result, "being "+name) && strings.Contains(o.Result, s.ends) {
								return
							}
						}
					}
					m.tell()
					t.Fatal("it is not left with the reason")
				}
				m.apply()
				if left := checkPaths(t, nil, p.paths...); len(left) > 0 {
					tell(t, left)
					m.tell()
					t.Fatal("something is left")
				}
				m.undo()
				if digestImages(t, dir+"/fs").Content != before {
					t.Error("undo did not give back identical images")
				}
			})
		}
	}
}
