package lustre

import (
	"context"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fettle/internal/claim"
	"fettle/internal/format/lustre"
	"fettle/internal/match"
	"fettle/internal/systems/lustre/lustrelab"
)

// The file system of the tables: MDT0 and MDT1, where sequences 0x200000400 and 0x240000400 begin.
var (
	dirA  = lustre.FID{Seq: 0x200000400, OID: 1} // on MDT0, inode 10
	dirB  = lustre.FID{Seq: 0x240000400, OID: 1} // on MDT1, inode 20
	fileF = lustre.FID{Seq: 0x200000400, OID: 7} // on MDT0, inode 100
	other = lustre.FID{Seq: 0x200000400, OID: 8} // on MDT0, inode 101
)

func testShape(given ...uint32) *shape {
	fld, _ := lustre.NewFLD([]lustre.Range{{Start: 0x200000400, End: 0x240000400}, {Start: 0x240000400, End: 0x280000400, Index: 1}})
	s := &shape{fld: fld, places: map[uint32]int{}}
	for i, index := range given {
		s.places[index] = i
		s.indexes, s.remotes = append(s.indexes, index), append(s.remotes, 5)
		s.dirdata, s.hasOI = append(s.dirdata, true), append(s.hasOI, true)
		s.roots, s.early = append(s.roots, 3), append(s.early, false)
		s.attrRoom = append(s.attrRoom, 3968)
	}
	for _, index := range []uint32{0, 1} {
		if _, ok := s.places[index]; !ok {
			s.missing = append(s.missing, index)
		}
	}
	return s
}

// scene is a group under construction.
type scene struct{ about }

// sceneOf is a file with the names it says it has; all of them in directory A.
func sceneOf(links uint16, names ...string) *scene {
	s := &scene{about{fid: fileF, own: -1, facts: &facts{inodes: map[place]*tenant{}, far: map[lustre.FID]*tenant{}, lookups: map[lustre.Link]*lookup{}}}}
	o := object{ino: 100, gen: 1, mode: 0o100644, links: links, bits: objLink}
	t := &tenant{known: true, fid: fileF, mode: o.mode, links: links, gen: 1, hasLink: true}
	for _, n := range names {
		s.name(n, 1)
		t.link.Links = append(t.link.Links, lustre.Link{Parent: dirA, Name: n})
		o.hashes = append(o.hashes, linkHash(dirA, []byte(n)))
	}
	s.objects = []object{o}
	s.inodes[place{0, 100}] = t
	s.index = []indexed{{0, 100, 1}}
	return s
}

func (s *scene) name(text string, typ uint8) {
	s.names = append(s.names, name{dir: 10, at: int64(1000 + 40*len(s.names)), ino: 100, typ: typ, hash: linkHash(dirA, []byte(text))})
	s.texts = append(s.texts, written{text: text, parent: dirA, sure: true, typ: typ, ino: 100, fid: fileF, hasFID: true})
}

func (s *scene) tenantOf() *tenant { return s.inodes[place{0, 100}] }

func (s *scene) unname(i int) {
	s.names = append(s.names[:i:i], s.names[i+1:]...)
	s.texts = append(s.texts[:i:i], s.texts[i+1:]...)
}

func (s *scene) record(l lustre.Link, look *lookup) {
	t := s.tenantOf()
	t.link.Links = append(t.link.Links, l)
	if look != nil {
		s.lookups[l] = look
	}
}

func in(parent lustre.FID, name string) lustre.Link { return lustre.Link{Parent: parent, Name: name} }

func TestJudgeFiles(t *testing.T) {
	free := func() *lookup { return &lookup{state: lookFree, dir: place{0, 10}} }
	taken := func(exists bool) *lookup {
		return &lookup{state: lookTaken, dir: place{0, 10}, entry: written{text: "a", fid: other, hasFID: true, ino: 101}, exists: exists}
	}
	for name, c := range map[string]struct {
		make  func() *scene
		given []uint32 // default: both
		want  map[string]int
	}{
		"nothing wrong":          {make: func() *scene { return sceneOf(1, "a") }},
		"two names":              {make: func() *scene { return sceneOf(2, "a", "b") }},
		"L=2 M=2 N=1":            {make: func() *scene { return sceneOf(1, "a", "b") }, want: map[string]int{BadNlink: 1}},
		"L=2 M=2 N=3":            {make: func() *scene { return sceneOf(3, "a", "b") }, want: map[string]int{BadNlink: 1}},
		"N too high, one MDT":    {make: func() *scene { return sceneOf(3, "a") }, given: []uint32{0}},
		"N too low, one MDT":     {make: func() *scene { return sceneOf(1, "a", "b") }, given: []uint32{0}, want: map[string]int{BadNlink: 1}},
		"L=2 M=1 N=2: name lost": {make: func() *scene { s := sceneOf(2, "a"); s.record(in(dirA, "b"), free()); return s }, want: map[string]int{LostName: 1}},
		"L=2 M=1 N=1: too many records": {make: func() *scene { s := sceneOf(1, "a"); s.record(in(dirA, "b"), free()); return s },
			want: map[string]int{LinkRedundant: 1}},
		"L=1 M=2 N=2: record lost":       {make: func() *scene { s := sceneOf(2, "a"); s.name("b", 1); return s }, want: map[string]int{LinkMissing: 1}},
		"L=1 M=2 N=2, overflow, all fit": {make: func() *scene { s := sceneOf(2, "a"); s.name("b", 1); s.tenantOf().link.Overflow = 9; return s }, want: map[string]int{LinkOverflow: 1}},
		"overflow, all fit":              {make: func() *scene { s := sceneOf(1, "a"); s.tenantOf().link.Overflow = 9; return s }, want: map[string]int{LinkOverflow: 1}},
		"another name": {make: func() *scene {
			s := sceneOf(1, "a")
			s.tenantOf().link.Links = nil
			s.record(in(dirA, "z"), free())
			return s
		}, want: map[string]int{UnmatchedPair: 1}},
		"another parent, unseen": {make: func() *scene { s := sceneOf(2, "a"); s.record(in(dirB, "z"), &lookup{state: lookUnseen}); return s }, given: []uint32{0}},
		"record repeated": {make: func() *scene {
			s := sceneOf(1, "a")
			s.tenantOf().problems = []lustre.Problem{{Code: lustre.LinkRepeated}}
			s.record(in(dirA, "a"), nil)
			return s
		}, want: map[string]int{LinkRepeated: 1}},
		"no link EA": {make: func() *scene {
			s := sceneOf(1, "a")
			s.tenantOf().hasLink, s.tenantOf().link = false, lustre.LinkEA{}
			return s
		}, want: map[string]int{LinkMissing: 1}},
		"type":              {make: func() *scene { s := sceneOf(1, "a"); s.names[0].typ = 7; return s }, want: map[string]int{BadType: 1}},
		"orphan, name free": {make: func() *scene { s := sceneOf(1, "a"); s.unname(0); s.lookups[in(dirA, "a")] = free(); return s }, want: map[string]int{Orphan: 1}},
		"orphan, parent gone": {make: func() *scene {
			s := sceneOf(1, "a")
			s.unname(0)
			s.lookups[in(dirA, "a")] = &lookup{state: lookGone}
			return s
		}, want: map[string]int{Orphan: 1}},
		"orphan, parent not given": {make: func() *scene {
			s := sceneOf(1, "a")
			s.unname(0)
			s.lookups[in(dirA, "a")] = &lookup{state: lookUnseen}
			return s
		}, given: []uint32{0}},
		"orphan without a link EA": {make: func() *scene {
			s := sceneOf(1)
			s.tenantOf().hasLink = false
			return s
		}, want: map[string]int{Orphan: 1}},
		"orphan without a link EA, one MDT": {make: func() *scene {
			s := sceneOf(1)
			s.tenantOf().hasLink = false
			return s
		}, given: []uint32{0}},
		"name taken": {make: func() *scene { s := sceneOf(1, "a"); s.unname(0); s.lookups[in(dirA, "a")] = taken(true); return s },
			want: map[string]int{MultipleReferenced: 1}},
		"name taken by what is gone": {make: func() *scene { s := sceneOf(1, "a"); s.unname(0); s.lookups[in(dirA, "a")] = taken(false); return s },
			want: map[string]int{Orphan: 1}},
		"name leads here and says something else": {make: func() *scene {
			s := sceneOf(1, "a")
			s.unname(0)
			l := taken(false)
			l.entry.ino = 100
			s.lookups[in(dirA, "a")] = l
			return s
		}},
		"open and unlinked": {make: func() *scene { s := sceneOf(1, "a"); s.unname(0); s.pending = []listed{{0, 1, 100}}; return s }},
		"marked as orphan": {make: func() *scene {
			s := sceneOf(1, "a")
			s.unname(0)
			s.objects[0].incompat = lustre.LMAIOrphan
			return s
		}},
		"not in the index":      {make: func() *scene { s := sceneOf(1, "a"); s.index = nil; return s }, want: map[string]int{IndexMissing: 1}},
		"index leads elsewhere": {make: func() *scene { s := sceneOf(1, "a"); s.index[0].ino = 101; return s }, want: map[string]int{IndexStale: 1}},
		"gone": {make: func() *scene {
			s := sceneOf(1, "a")
			s.objects, s.index = nil, nil
			s.inodes[place{0, 100}] = &tenant{free: true}
			return s
		},
			want: map[string]int{DanglingName: 1}},
		"gone, inode used again": {make: func() *scene {
			s := sceneOf(1, "a")
			s.objects, s.index = nil, nil
			s.inodes[place{0, 100}] = &tenant{known: true, fid: other, hasLink: true, link: lustre.LinkEA{Links: []lustre.Link{in(dirA, "x")}}}
			return s
		}, want: map[string]int{DanglingName: 1}},
		"inode has another FID and knows the name": {make: func() *scene {
			s := sceneOf(1, "a")
			s.objects, s.index = nil, nil
			s.inodes[place{0, 100}] = &tenant{known: true, fid: other, hasLink: true, link: lustre.LinkEA{Links: []lustre.Link{in(dirA, "a")}}}
			return s
		}, want: map[string]int{DirentFIDMismatch: 1}},
		"inode has lost its LMA": {make: func() *scene {
			s := sceneOf(1, "a")
			s.objects = nil
			s.tenantOf().known = false
			return s
		}, want: map[string]int{MissingLMA: 1}},
		"on an MDT that was not given": {make: func() *scene {
			s := sceneOf(1, "a")
			s.fid, s.objects, s.index = dirB, nil, nil
			s.inodes[place{0, 100}] = &tenant{known: true, agent: true, fid: dirB}
			return s
		}, given: []uint32{0}},
	} {
		t.Run(name, func(t *testing.T) {
			given := c.given
			if given == nil {
				given = []uint32{0, 1}
			}
			s := c.make()
			have := map[string]int{}
			for _, d := range judgeGroup(&s.about, testShape(given...)) {
				have[d.Class]++
				if d.Subject == "" || len(d.Evidence) == 0 {
					t.Errorf("%s has no subject or evidence", d.Class)
				}
			}
			if !maps.Equal(have, c.want) {
				t.Errorf("found %v, want %v", have, c.want)
			}
		})
	}
}

func TestStripeFaults(t *testing.T) {
	master := lustre.LMV{Magic: lustre.LMVMaster, Count: 2, HashType: lustre.HashFNV}
	shard := lustre.LMV{Magic: lustre.LMVShard, Count: 2, Index: 1, HashType: lustre.HashFNV}
	with := func(v lustre.LMV, change func(*lustre.LMV)) lustre.LMV { change(&v); return v }
	for name, c := range map[string]struct {
		own, above lustre.LMV
		number     uint32 // in the name
		linked     bool   // the link EA knows the name
		want       string
	}{
		"right":               {shard, master, 1, true, ""},
		"number in the LMV":   {with(shard, func(v *lustre.LMV) { v.Index = 0 }), master, 1, true, ShardLMVWrong},
		"number in the name":  {shard, master, 0, false, ShardName},
		"count":               {with(shard, func(v *lustre.LMV) { v.Count = 3 }), master, 1, true, ShardLMVWrong},
		"hash":                {with(shard, func(v *lustre.LMV) { v.HashType = lustre.HashCrush }), master, 1, true, ShardLMVWrong},
		"hash marked as lost": {shard, with(master, func(v *lustre.LMV) { v.HashType |= lustre.HashFlagBadType }), 1, true, ""},
		"being migrated": {with(shard, func(v *lustre.LMV) { v.HashType = lustre.HashCrush }),
			with(master, func(v *lustre.LMV) { v.HashType |= lustre.HashFlagMigration }), 1, true, ""},
		"LMV of a master": {with(shard, func(v *lustre.LMV) { v.Magic = lustre.LMVMaster }), master, 1, true, ShardLMVWrong},
	} {
		t.Run(name, func(t *testing.T) {
			s := sceneOf(2)
			o := &s.objects[0]
			o.mode, o.bits, o.lmv, o.incompat = 0o40755, objLink|objLMV, c.own.Encode(), lustre.LMAIStriped
			n := &name1
			*n = nameOf(c.number, c.above)
			if c.linked {
				o.hashes = []uint64{n.hash}
			} else {
				s.tenantOf().link.Links = []lustre.Link{in(dirA, lustre.ShardName(fileF, int(c.own.Index)))}
			}
			got := ""
			for _, f := range stripeFaults(&s.about, o, n, &dirSum{}, testShape(0, 1)) {
				got += f.class
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

var name1 name

func nameOf(number uint32, above lustre.LMV) name {
	return name{typ: 2, bits: nameShardForm | nameInMaster, index: number, master: above.Encode(), hash: linkHash(dirA, []byte(lustre.ShardName(fileF, int(number))))}
}

// What the quick look approves of, the judges approve of as well; and in a sound file system the judges approve of everything.
func TestFineAgrees(t *testing.T) {
	for i := -1; i < len(injuries); i += 4 {
		dir := t.TempDir()
		var p *patient
		if i < 0 {
			p = newPatient(t, dir, lustrelab.Options{MDTs: 3, LostFound: true, Changing: true, Foreign: true, HardLinks: 300, Shards: 4})
		} else {
			p = newPatient(t, dir, lustrelab.Options{HardLinks: 300})
			injuries[i].do(p)
		}
		u := openPaths(t, nil, p.paths...).(*unit)
		env := &seeing{dir: t.TempDir()}
		if err := u.sweep(t.Context(), env); err != nil {
			t.Fatal(err)
		}
		var swept sweepState
		if err := loadJSON(filepath.Join(env.dir, sweptFile), &swept); err != nil {
			t.Fatal(err)
		}
		m, err := match.Resume(u.matchOptions(env, 1), swept.Mark)
		if err != nil {
			t.Fatal(err)
		}
		w := newWorld(u)
		w.all = true
		err = m.Groups(t.Context(), match.Pass{Ordered: true}, func(g match.Group) error {
			a := &about{}
			if err := a.gather(g); err != nil {
				return err
			}
			a.fillIndex(&u.shape, swept.Disputed)
			fine := a.fine(&u.shape)
			w.enrich(a)
			for _, d := range judgeGroup(a, &u.shape) {
				if fine || i < 0 {
					t.Errorf("injury %d: %v: fine is %v, the judges say %s: %v", i, a.fid, fine, d.Class, d.Evidence)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Whatever bytes are changed, a check ends, and without a panic.
func TestGarbage(t *testing.T) {
	dir := t.TempDir()
	p := newPatient(t, dir, lustrelab.Options{HardLinks: 300})
	var spots []int64 // of MDT0: entries, inodes and attributes
	for _, b := range p.all {
		if b.mdt == 0 {
			spots = append(spots, b.in.Offset, b.in.Offset+40, b.in.Offset+160)
		}
		for _, n := range b.names {
			if n.mdt == 0 {
				spots = append(spots, n.at)
			}
		}
	}
	f, err := os.OpenFile(p.paths[0], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 24 {
		was := map[int64][]byte{}
		for range 1 + r.IntN(60) {
			at := spots[r.IntN(len(spots))] + int64(r.IntN(48))
			old := make([]byte, 4)
			if _, err := f.ReadAt(old, at); err != nil {
				t.Fatal(err)
			}
			if len(was) > 0 && was[at] != nil {
				continue
			}
			was[at] = old
			bad := append([]byte{}, old...)
			switch r.IntN(3) {
			case 0:
				bad[0] = byte(r.Uint32())
			case 1:
				bad[0] ^= 1 << r.IntN(8)
			default:
				copy(bad, []byte{0xff, 0xff, 0xff, byte(r.Uint32())})
			}
			p.write(0, at, bad)
		}
		if round == 23 { // the last one: cut off as well
			if err := f.Truncate(p.u.targets[0].fs.Size() / 2); err != nil {
				t.Fatal(err)
			}
		}
		u := openPaths(t, nil, p.paths...)
		env := &seeing{}
		for i, found := range env.check(t, u) {
			if i%8 != 0 {
				continue
			}
			if _, err := u.Confirm(t.Context(), &found); err != nil {
				t.Errorf("round %d: confirm %s: %v", round, found.Class, err)
			}
		}
		for at, old := range was {
			if round < 12 { // then the damage adds up
				p.write(0, at, old)
			}
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	p := newPatient(t, dir, lustrelab.Options{})
	q, err := lustrelab.Make(context.Background(), filepath.Join(dir, "q"), lustrelab.Options{FSName: "strange", Files: 10})
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		paths []string
		says  string
	}{
		"nothing":        {nil, "no MDT was given"},
		"one twice":      {[]string{p.paths[0], p.paths[0]}, "and so is"},
		"of another":     {[]string{p.paths[0], q.Paths[1]}, "belongs to the file system strange"},
		"not there":      {[]string{filepath.Join(dir, "none")}, "no such file"},
		"no ext4 at all": {[]string{"judge_test.go"}, "ext4"},
	} {
		_, err := System{}.Open(t.Context(), storeLocation(c.paths), storeOptions(nil))
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", what, err, c.says)
		}
	}
	if _, err := (System{}).Open(t.Context(), storeLocation(p.paths), storeOptions(map[string]string{"x": "y"})); err == nil {
		t.Error("an unknown setting is accepted")
	}
	for path, want := range map[string]bool{p.paths[0]: true, "judge_test.go": false, dir: false} {
		if ok, err := (System{}).Recognize(path); ok != want || err != nil {
			t.Errorf("recognize %s: %v %v", path, ok, err)
		}
	}
}

func FuzzClaims(f *testing.F) {
	o := object{bits: objLMV | objLink, lmv: make([]byte, 56), hashes: []uint64{1}}
	n := name{bits: nameShardForm | nameInMaster, typ: 2, master: make([]byte, 56)}
	for _, b := range [][]byte{nil, o.says(nil), n.says(nil), (&dirSum{}).says(nil), {1}} {
		for k := kObject; k <= kBackend; k++ {
			f.Add(byte(k), b)
		}
	}
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		a := &about{}
		if a.take(claim.Claim{Kind: claim.Kind(kind), Says: b}) != nil {
			return
		}
		for i := range a.objects {
			if again := a.objects[i].says(nil); len(again) > len(b) {
				t.Errorf("%x became %x", b, again)
			}
		}
	})
}

// The quick reader of link EAs reads what the careful one reads.
func FuzzLinks(f *testing.F) {
	ea := lustre.LinkEA{Links: []lustre.Link{in(dirA, "a"), in(dirB, "long name of a file")}}
	b, _ := ea.Encode(0)
	f.Add(b)
	f.Add(b[:30])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		want, problems, err1 := lustre.DecodeLinkEA(b)
		var got []lustre.Link
		odd, overflow, err2 := eachLink(b, func(p lustre.FID, n []byte) { got = append(got, in(p, string(n))) })
		if (err1 == nil) != (err2 == nil) {
			t.Fatalf("%v and %v", err1, err2)
		}
		if err1 != nil {
			return
		}
		if len(got) != len(want.Links) || overflow != (want.Overflow != 0) {
			t.Fatalf("got %v, want %v", got, want)
		}
		for _, p := range problems {
			switch p.Code {
			case lustre.LinkRepeated, lustre.LinkBadParent, lustre.LinkBadName: // seen by those who use the records
			default:
				if !odd {
					t.Errorf("%v is not noticed", p)
				}
			}
		}
	})
}
