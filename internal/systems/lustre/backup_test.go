package lustre

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"fettle/internal/fault"
	"fettle/internal/finding"
	"fettle/internal/format/lustre"
	"fettle/internal/store"
	"fettle/internal/store/storetest"
	"fettle/internal/systems/lustre/lustrelab"
)

// backupForm has everything that backups can hold: hard links, remote and striped directories with several shards on one target.
var backupForm = lustrelab.Options{Files: 120, Dirs: 16, Striped: 3, Shards: 4, HardLinks: 200, Remote: 200, Seed: 3}

// smallBackup is the same with less of it, for many runs.
var smallBackup = lustrelab.Options{Files: 60, Dirs: 12, Striped: 3, Shards: 4, HardLinks: 200, Remote: 200, Seed: 3}

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
		g := a[0].named(t, "agent of a directory", func(m *member) bool {
			return isAgent(m) && m.Typeflag == tar.TypeDir && !strings.Contains(m.base(), "[")
		})
		g.Typeflag, g.Name = tar.TypeReg, strings.TrimSuffix(g.Name, "/")
	}, []string{AgentType}},
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
		a[0] = a[0].without(func(o *member) bool {
			return strings.HasPrefix(o.Name, m.Name) || strings.HasPrefix(o.Linkname, m.Name)
		})
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

// fixtureBackups unpacks the real backups, of Lustre 2.11.
func fixtureBackups(t testing.TB) []string {
	from, to := filepath.Join(fixtures(t), "lustre-2.11-filelevel-backup"), t.TempDir()
	return []string{unpack(t, filepath.Join(from, "mdt0000.tar.zst"), filepath.Join(to, "mdt0.tar")),
		unpack(t, filepath.Join(from, "mdt0001.tar.zst"), filepath.Join(to, "mdt1.tar"))}
}

// extract writes an archive to a directory, as tar does when root calls it with the options of a backup.
func (a archive) extract(t testing.TB, dir string) string {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range a {
		p := filepath.Join(dir, m.Name)
		switch m.Typeflag {
		case tar.TypeDir:
			must(os.MkdirAll(p, 0o700))
		case tar.TypeLink:
			must(os.Link(filepath.Join(dir, m.Linkname), p))
			continue
		case tar.TypeSymlink:
			must(os.Symlink(m.Linkname, p))
		case tar.TypeFifo:
			must(unix.Mkfifo(p, 0o600))
		default:
			must(os.WriteFile(p, m.body, 0o600))
		}
		for k, v := range m.PAXRecords {
			err := unix.Lsetxattr(p, "trusted."+strings.TrimPrefix(k, xattrKey), []byte(v), 0)
			if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOTSUP) {
				t.Skipf("attributes trusted.* cannot be set here, which takes root and a file system that has them: %v", err)
			}
			must(err)
		}
	}
	return dir
}

// TestBackupPristine checks the real backups in every form: nothing is wrong with them.
func TestBackupPristine(t *testing.T) {
	paths := fixtureBackups(t)
	from := filepath.Join(fixtures(t), "lustre-2.11-filelevel-backup")
	for _, c := range []struct {
		name  string
		paths []string
	}{
		{"tar", paths},
		{"other order", []string{paths[1], paths[0]}},
		{"zstd", []string{filepath.Join(from, "mdt0000.tar.zst"), filepath.Join(from, "mdt0001.tar.zst")}},
		{"mixed", []string{paths[0], filepath.Join(from, "mdt0001.tar.zst")}},
	} {
		t.Run(c.name, func(t *testing.T) { pristine(t, c.paths) })
	}
	t.Run("trees", func(t *testing.T) {
		pristine(t, []string{readArchive(t, paths[0]).extract(t, t.TempDir()), readArchive(t, paths[1]).extract(t, t.TempDir())})
	})
	t.Run("tree beside tar", func(t *testing.T) { pristine(t, []string{paths[0], readArchive(t, paths[1]).extract(t, t.TempDir())}) })
	t.Run("recognised", func(t *testing.T) {
		for _, p := range []string{paths[0], filepath.Join(from, "mdt0001.tar.zst"), readArchive(t, paths[1]).extract(t, t.TempDir())} {
			if ok, err := (System{}).Recognize(p); !ok || err != nil {
				t.Errorf("%s: %v, %v", p, ok, err)
			}
		}
		if ok, err := (System{}).Recognize(t.TempDir()); ok || err != nil {
			t.Errorf("an empty directory: %v, %v", ok, err)
		}
	})
}

// pristine checks targets in which nothing is wrong: no finding, and nothing that could not be looked at.
func pristine(t *testing.T, paths []string) {
	t.Helper()
	u := openPaths(t, nil, paths...)
	e := &seeing{dir: t.TempDir()}
	if found := e.check(t, u); len(found) > 0 || len(e.unseen) > 0 {
		t.Errorf("%d findings; not seen: %q", len(found), e.unseen)
		tell(t, found)
	}
	if id := u.ID(); id != "lustre" {
		t.Errorf("the file system is %q", id)
	}
}

// TestBackupForms checks a backup of the lab in every form, with the same damage: all forms show the same.
func TestBackupForms(t *testing.T) {
	images, all := labBackup(t, backupForm)
	file := all[0].named(t, "file", isFile)
	file.setAttr("link", nil)
	plain := writeAll(t, all)
	var packed []string
	for i, p := range plain {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		packed = append(packed, pack(t, b, filepath.Join(t.TempDir(), "packed"), i == 0))
	}
	for _, c := range []struct {
		name  string
		paths func(t *testing.T) []string
	}{
		{"tar", func(*testing.T) []string { return plain }},
		{"gzip and zstd", func(*testing.T) []string { return packed }},
		{"backup beside image", func(*testing.T) []string { return []string{plain[0], images[1]} }},
		{"trees", func(t *testing.T) []string {
			return []string{all[0].extract(t, t.TempDir()), all[1].extract(t, t.TempDir())}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			found := checkPaths(t, nil, c.paths(t)...)
			if len(found) != 1 || found[0].Class != LinkMissing || found[0].Subject != file.fid().String() {
				tell(t, found)
				t.Fatalf("%d findings", len(found))
			}
			f := found[0]
			if want := strings.TrimPrefix(file.Name, "./"); !slices.ContainsFunc(f.Evidence, func(e finding.Evidence) bool { return strings.HasSuffix(e.Says, " is "+want) }) {
				t.Errorf("no evidence names %s: %v", want, f.Evidence)
			}
		})
	}
}

// pack compresses.
func pack(t testing.TB, b []byte, path string, gz bool) string {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	var w io.WriteCloser = gzip.NewWriter(f)
	if !gz {
		if w, err = zstd.NewWriter(f); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// backupShows says for recipes of the lab what a backup shows instead of what images do, if anything: it has no FIDs in names, no object index, no
// link counts, '..' by its place only, and neither what no name leads to nor names that lead to nothing. Some of that shows in other
// objects, depending on which one was injured.
var backupShows = map[string][]string{
	"no-fid-in-dirent": nil, "dirent-fid-mismatch": nil, "dirent-fid-insane": nil, "lma-wrong": nil, // there is no FID to compare with
	"dirent-inode-mismatch": {LinkMissing, LinkRedundant, LostName, UnmatchedPair}, // the inode is taken for what the name means
	"bad-type":              nil, "bad-type-directory": nil, "dotdot-mismatch": nil, "bad-nlink": nil, "nlink-low": nil, "nlink-directory": nil,
	"oi-missing": nil, "oi-stale": nil, "oi-dead": nil,
	"orphan-object": {LostName}, "orphan-directory": {LostName}, "orphan-unknown": nil, "agent-stale": nil, "multiple-referenced-name": nil, "duplicate-fid": nil,
	"dangling-name": {LostName}, "dangling-directory": {LostName}, "directory-linked-twice": {DuplicateFID, UnmatchedPair},
	"missing-lma": {MissingLMA}, "linkea-redundant": {LostName}, "stripe-lost": {StripeLost}, "stripe-dangling": {StripeLost, DanglingName},
	"agent-missing": {Orphan}, "agent-wrong": {DanglingName}, "remote-parent-missing": {DanglingName, LostName}, "random-names": {UnmatchedPair, LostName},
}

// TestBackupRoundTrip injures file systems of the lab, backs them up, and expects what a check of the images finds, but for what a backup does
// not show.
func TestBackupRoundTrip(t *testing.T) {
	same := 0
	for _, r := range lustrelab.Recipes() {
		class := strings.TrimPrefix(r.Class, "lustre/")
		t.Run(class, func(t *testing.T) {
			dir := t.TempDir()
			injured(smallBackup, class)(t, dir)
			images, err := lustrelab.Targets(dir)
			if err != nil {
				t.Fatal(err)
			}
			var all []archive
			for _, p := range images {
				all = append(all, backUp(t, p))
			}
			copied := checkPaths(t, nil, writeAll(t, all)...)
			got := roots(copied)
			if may, ok := backupShows[class]; ok {
				for _, g := range got {
					if c, _, _ := strings.Cut(g, " "); !slices.Contains(may, c) {
						t.Errorf("the backup shows %s", g)
						tell(t, copied)
					}
				}
				return
			}
			if same++; !slices.Equal(roots(checkPaths(t, nil, images...)), got) {
				t.Errorf("the backup shows %v, the images something else", got)
				tell(t, copied)
			}
		})
	}
	if same < 12 {
		t.Errorf("only %d kinds of damage show in a backup as in images", same)
	}
}

// roots are the classes and subjects of findings that do not follow from others.
func roots(found []finding.Finding) []string {
	var out []string
	for _, f := range found {
		if f.CausedBy == nil && f.Severity != finding.Info {
			out = append(out, f.Class+" "+f.Subject)
		}
	}
	slices.Sort(out)
	return out
}

// TestBackupResume stops checks of a backup at many points; the backup is laid out anew each time, and nothing is lost or told twice.
func TestBackupResume(t *testing.T) {
	_, all := labBackup(t, smallBackup)
	all[0].named(t, "file", isFile).setAttr("link", nil)
	all[1].named(t, "remote directory", func(m *member) bool { return m.up() == "./REMOTE_PARENT_DIR/" && len(m.links()) > 0 }).setAttr("lma", nil)
	paths := writeAll(t, all)
	want := roots(checkPaths(t, nil, paths...))
	found, stops := storetest.CheckInterrupted(t, 40, func() (store.Unit, func()) {
		st, err := System{}.Open(t.Context(), store.Location{Paths: paths}, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return st.Units()[0], func() {
			if err := st.Close(); err != nil {
				t.Error(err)
			}
		}
	}, Classes...)
	if got := roots(found); !slices.Equal(got, want) || len(want) != 2 || stops == 0 {
		t.Errorf("after %d stops %v, want %v", stops, got, want)
	}
}

// TestBackupNoRepair wants a repair of a backup refused, with advice, before anything is written.
func TestBackupNoRepair(t *testing.T) {
	images, all := labBackup(t, smallBackup)
	all[0].named(t, "file", isFile).setAttr("link", nil)
	u := openPaths(t, nil, all[0].write(t, filepath.Join(t.TempDir(), "a.tar")), images[1])
	planner, ok := u.(store.Planner)
	if !ok {
		t.Fatal("the unit cannot plan")
	}
	_, err := planner.Plan(t.Context(), t.TempDir(), nil)
	_, werr := planner.OpenWriter(t.Context(), t.TempDir())
	for _, err := range []error{err, werr} {
		if fault.KindOf(err) != fault.Unrepaired || len(fault.Hints(err)) == 0 || !strings.Contains(fmt.Sprint(err), "backup") {
			t.Errorf("%v, hints %q", err, fault.Hints(err))
		}
	}
}

// TestBackupRefused wants input that says nothing true refused, with advice.
func TestBackupRefused(t *testing.T) {
	_, all := labBackup(t, smallBackup)
	whole := all[0].bytes(t)
	bare := all[0].clone()
	for _, m := range bare {
		clear(m.PAXRecords)
	}
	moved := all[0].clone()
	moved.rename("./", "mnt/mdt0/")
	nameless := all[0].without(func(m *member) bool { return m.base() == "mountdata" || m.base() == "last_rcvd" })
	for _, c := range []struct {
		name, text, hint string
		b                []byte
	}{
		{"cut off", "ends early", "whole copy", whole[:len(whole)/2]},
		{"cut off between members", "ends early", "whole copy", whole[:512]},
		{"no end mark", "ends early", "whole copy", bytes.TrimRight(whole, "\x00")},
		{"no attributes", "trusted.lma", "--xattrs-include", bare.bytes(t)},
		{"a directory above", "ROOT", "tar -C", moved.bytes(t)},
		{"of nobody", "which MDT", "whole MDT", nameless.bytes(t)},
		{"xz", "compressed", "unpack", []byte("\xfd7zXZ\x00 and more")},
		{"no backup", "ext4", "", []byte(strings.Repeat("text\n", 1000))},
	} {
		path := filepath.Join(t.TempDir(), "b.tar")
		if err := os.WriteFile(path, c.b, 0o600); err != nil {
			t.Fatal(err)
		}
		st, err := System{}.Open(t.Context(), store.Location{Paths: []string{path}}, store.Options{})
		if err == nil {
			st.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.text) || !strings.Contains(strings.Join(fault.Hints(err), " "), c.hint) {
			t.Errorf("%s: %v, hints %q", c.name, err, fault.Hints(err))
		}
	}
}

// TestBackupOdd wants members that cannot be told of, and the check goes on.
func TestBackupOdd(t *testing.T) {
	_, all := labBackup(t, smallBackup)
	all[0] = append(all[0], &member{Header: tar.Header{Name: "../outside", Typeflag: tar.TypeReg, Format: tar.FormatPAX}})
	u := openPaths(t, nil, writeAll(t, all)...)
	e := &seeing{dir: t.TempDir()}
	if found := e.check(t, u); len(found) != 0 || len(e.unseen) != 1 || !strings.Contains(e.unseen[0], "outside") {
		t.Errorf("%d findings; not seen: %q", len(found), e.unseen)
	}
}
