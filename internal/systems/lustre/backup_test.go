package lustre

import (
	"archive/tar"
	"slices"
	"strings"
	"testing"

	"fettle/internal/format/lustre"
	"fettle/internal/systems/lustre/lustrelab"
)

// backupForm has everything that backups can hold: hard links, remote and striped directories with several shards on one target.
var backupForm = lustrelab.Options{Files: 120, Dirs: 16, Striped: 3, Shards: 4, HardLinks: 200, Remote: 200, Seed: 3}

func isFile(m *member) bool {
	return m.Typeflag == tar.TypeReg && strings.HasPrefix(m.Name, "./ROOT/") && !strings.Contains(m.Name, "/.lustre/") && len(m.links()) == 1 && !strings.Contains(m.Name, "[")
}

func isShard(m *member) bool {
	v, err := lustre.DecodeLMV(m.attr("lmv"))
	return m.Typeflag == tar.TypeDir && err == nil && v.IsShard() && strings.HasPrefix(m.Name, "./ROOT/")
}

// isAgent tells whether a member stands for an object on another target.
func isAgent(m *member) bool {
	l, err := lustre.DecodeLMA(m.attr("lma"))
	return err == nil && l.Has(lustre.LMAIAgent)
}

func below(m *member) func(*member) bool {
	return func(o *member) bool { return strings.HasPrefix(o.Name, m.Name) }
}

// backupDamages are ways to damage a backup and what has to be found. Findings that follow from another one do not count.
var backupDamages = []struct {
	name string
	hurt func(t *testing.T, a []archive)
	want []string
}{
	{"nothing", func(t *testing.T, a []archive) {}, nil},
	{"no LMA", func(t *testing.T, a []archive) { a[0].named(t, "file", isFile).setAttr("lma", nil) }, []string{MissingLMA}},
	{"garbled LMA", func(t *testing.T, a []archive) { a[0].named(t, "file", isFile).setAttr("lma", []byte("x")) }, []string{MissingLMA}},
	{"no LMA in REMOTE_PARENT_DIR", func(t *testing.T, a []archive) {
		a[1].named(t, "remote directory", func(m *member) bool {
			return m.Typeflag == tar.TypeDir && m.up() == "./REMOTE_PARENT_DIR/" && m.attr("lmv") == nil
		}).setAttr("lma", nil)
	}, []string{MissingLMA}},
	{"no LMA and no link EA", func(t *testing.T, a []archive) {
		m := a[0].named(t, "file below a directory", func(m *member) bool { return isFile(m) && strings.Count(m.Name, "/") > 2 })
		m.setAttr("lma", nil)
		m.setAttr("link", nil)
	}, []string{MissingLMA}},
	{"the FID of another file", func(t *testing.T, a []archive) {
		one := a[0].named(t, "file", isFile)
		a[0].named(t, "other file", func(m *member) bool { return isFile(m) && m != one }).setAttr("lma", one.attr("lma"))
	}, []string{DuplicateFID}},
	{"no link EA", func(t *testing.T, a []archive) { a[0].named(t, "file", isFile).setAttr("link", nil) }, []string{LinkMissing}},
	{"crashed link EA", func(t *testing.T, a []archive) {
		a[0].named(t, "file", isFile).setAttr("link", []byte(strings.Repeat("z", 40)))
	}, []string{LinkCrashed}},
	{"a link EA of megabytes", func(t *testing.T, a []archive) {
		a[0].named(t, "file", isFile).setAttr("link", []byte(strings.Repeat("z", 1<<19)))
	}, []string{LinkCrashed}},
	{"link EA with another parent", func(t *testing.T, a []archive) {
		m := a[0].named(t, "file", isFile)
		l := m.links()[0]
		l.Parent.OID += 5000
		b, _ := lustre.LinkEA{Links: []lustre.Link{l}}.Encode(0)
		m.setAttr("link", b)
	}, []string{UnmatchedPair}},
	{"another name", func(t *testing.T, a []archive) { m := a[0].named(t, "file", isFile); m.Name = m.up() + "renamed" }, []string{UnmatchedPair}},
	{"a record twice", func(t *testing.T, a []archive) {
		m := a[0].named(t, "file", isFile)
		l := m.links()[0]
		b, _ := lustre.LinkEA{Links: []lustre.Link{l, l}}.Encode(0)
		m.setAttr("link", b)
	}, []string{LinkRepeated}},
	{"a name lost", func(t *testing.T, a []archive) {
		link := a[0].named(t, "hard link", func(m *member) bool { return m.Typeflag == tar.TypeLink })
		a[0] = a[0].without(func(m *member) bool { return m == link })
	}, []string{LostName}},
	{"a name too many", func(t *testing.T, a []archive) {
		m := a[0].named(t, "file", isFile)
		a[0] = append(a[0], &member{Header: tar.Header{Name: m.up() + "again", Linkname: m.Name, Typeflag: tar.TypeLink, Format: tar.FormatPAX}})
	}, []string{LinkMissing}},
	{"a hard link to nothing", func(t *testing.T, a []archive) {
		m := a[0].named(t, "file", isFile)
		a[0] = append(a[0], &member{Header: tar.Header{Name: m.up() + "again", Linkname: "./ROOT/none", Typeflag: tar.TypeLink, Format: tar.FormatPAX}})
	}, []string{DanglingName}},
	{"a remote directory gone", func(t *testing.T, a []archive) {
		d := a[1].named(t, "remote directory", func(m *member) bool {
			return m.Typeflag == tar.TypeDir && m.up() == "./REMOTE_PARENT_DIR/" && m.attr("lmv") == nil
		})
		a[1] = a[1].without(below(d))
	}, []string{DanglingName}},
	{"an agent gone", func(t *testing.T, a []archive) {
		g := a[0].named(t, "agent", func(m *member) bool { return isAgent(m) && !strings.Contains(m.base(), "[") })
		a[0] = a[0].without(below(g))
	}, []string{Orphan}},
	{"an agent that is a file", func(t *testing.T, a []archive) {
		g := a[0].named(t, "agent of a directory", func(m *member) bool { return isAgent(m) && m.Typeflag == tar.TypeDir && !strings.Contains(m.base(), "[") })
		g.Typeflag, g.Name = tar.TypeReg, strings.TrimSuffix(g.Name, "/")
	}, []string{BadType}},
	{"no LMV of a master", func(t *testing.T, a []archive) {
		a[0].named(t, "master", func(m *member) bool {
			v, err := lustre.DecodeLMV(m.attr("lmv"))
			return err == nil && v.IsMaster()
		}).setAttr("lmv", nil)
	}, []string{MasterLMVMissing}},
	{"no LMV of a shard", func(t *testing.T, a []archive) { a[0].named(t, "shard", isShard).setAttr("lmv", nil) }, []string{ShardLMVMissing}},
	{"the number of a shard", func(t *testing.T, a []archive) {
		m := a[0].named(t, "shard", isShard)
		v, _ := lustre.DecodeLMV(m.attr("lmv"))
		v.Index++
		m.setAttr("lmv", v.Encode())
	}, []string{ShardLMVWrong}},
	{"the hash of a shard", func(t *testing.T, a []archive) {
		m := a[0].named(t, "shard", isShard)
		v, _ := lustre.DecodeLMV(m.attr("lmv"))
		v.HashType = v.HashType%3 + 1
		m.setAttr("lmv", v.Encode())
	}, []string{ShardLMVWrong}},
	{"the name of a shard", func(t *testing.T, a []archive) {
		m := a[0].named(t, "shard", isShard)
		a[0].rename(m.Name, m.Name[:strings.LastIndexByte(m.Name, ':')]+":9/")
	}, []string{ShardName}},
	{"a file in the wrong shard", func(t *testing.T, a []archive) { moveToOtherShard(t, a[0]) }, []string{BadNameHash}},
	{"a shard gone", func(t *testing.T, a []archive) {
		m := a[0].named(t, "shard", isShard)
		a[0] = a[0].without(func(o *member) bool { return strings.HasPrefix(o.Name, m.Name) || strings.HasPrefix(o.Linkname, m.Name) })
	}, []string{StripeLost}},
	{"an open file that was removed", func(t *testing.T, a []archive) {
		m := *a[0].named(t, "file", isFile)
		l, _ := lustre.DecodeLMA(m.attr("lma"))
		l.FID.OID += 7000
		m.Name, m.PAXRecords = "./PENDING/"+l.FID.Bare(), map[string]string{xattrKey + "link": string(m.attr("link")), xattrKey + "lma": string(l.Encode())}
		a[0] = append(a[0], &m)
	}, nil},
}

// moveToOtherShard moves a file of a striped directory to another shard of it, with its link EA as it was.
func moveToOtherShard(t *testing.T, a archive) {
	for _, m := range a {
		at := strings.LastIndex(m.up(), "/[")
		if m.Typeflag != tar.TypeReg || at < 0 || strings.Count(m.up()[at+1:], "/") != 1 || !strings.HasPrefix(m.Name, "./ROOT/") {
			continue
		}
		for _, s := range a {
			if isShard(s) && s.Name != m.up() && strings.HasPrefix(s.Name, m.up()[:at+1]) && s.up() == m.up()[:at+1] {
				a.rename(m.Name, s.Name+m.base())
				return
			}
		}
	}
	t.Fatal("the backup has no striped directory with a file and two shards on one target")
}

// TestBackupDamage damages a backup made from the lab and expects the class.
func TestBackupDamage(t *testing.T) {
	_, whole := labBackup(t, backupForm)
	for _, c := range backupDamages {
		t.Run(c.name, func(t *testing.T) {
			var all []archive
			for _, a := range whole {
				all = append(all, a.clone())
			}
			c.hurt(t, all)
			found := checkPaths(t, nil, writeAll(t, all)...)
			var got []string
			for _, f := range found {
				if f.CausedBy == nil && !slices.Contains(got, f.Class) {
					got = append(got, f.Class)
				}
			}
			slices.Sort(got)
			want := slices.Clone(c.want)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("found %v, want %v", got, want)
				tell(t, found)
			}
		})
	}
}
