package fluxlab

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"fettle/internal/lab"
)

// TestMake makes stores of every form: SQLite finds them in order, every blob hashes to its key, keys have the storage
// class that Flux needs, blobs are compressed when Flux would, and nothing is to be found.
func TestMake(t *testing.T) {
	for _, opt := range []Options{
		{Seed: 1, Jobs: 1}, {Seed: 1, Jobs: 7, Checkpoints: 1}, {Seed: 2, Jobs: 50}, {Seed: 3, Jobs: 50, Hash: "sha256"}, {Seed: 4, Jobs: 30, Legacy: true},
		{Seed: 5, Jobs: 30, NoEpoch: true}, {Seed: 6, Jobs: 30, PageSize: 512}, {Seed: 7, Jobs: 450, Checkpoints: 9}, {Seed: 8, Objects: 3000},
	} {
		t.Run(fmt.Sprintf("%+v", opt), func(t *testing.T) {
			path := made(t, opt)
			p, err := look(context.Background(), path, lost{})
			if err != nil {
				t.Fatal(err)
			}
			defer p.close()
			truth := &lab.Truth{Facts: map[string]string{}}
			if err := p.expect(truth, nil); err != nil || len(truth.Expected) > 0 {
				t.Errorf("a healthy store has findings: %v %v", truth.Expected, err)
			}
			if want := map[bool]int{true: 1, false: max(opt.Checkpoints, 5*(1-min(1, opt.Checkpoints)))}[opt.Legacy]; len(p.checkpt) != want {
				t.Errorf("%d checkpoints, want %d", len(p.checkpt), want)
			}
			one(t, p, "PRAGMA integrity_check", "ok")
			one(t, p, "SELECT count(*) FROM objects WHERE typeof(hash)<>'text' OR typeof(object)<>'blob'", "0")
			one(t, p, "SELECT count(*) FROM objects WHERE size<>-1 AND size<256 OR size=-1 AND length(object)>=256", "0")
			one(t, p, "SELECT count(*)>20 FROM objects WHERE size<>-1", "1")
			if !opt.Legacy && !opt.NoEpoch {
				one(t, p, "SELECT max(epoch)<=(SELECT max(id) FROM checkpt_v2) AND min(epoch)=0 FROM objects", "1")
				one(t, p, "SELECT seq=(SELECT max(id) FROM checkpt_v2) FROM sqlite_sequence WHERE name='checkpt_v2'", "1")
			}
			head, err := readHead(path, 100)
			if err != nil || head[18] != 2 || head[19] != 2 {
				t.Errorf("the header does not say WAL: %v %v", head[18:20], err)
			}
			if size := int(binary.BigEndian.Uint16(head[16:])); size != max(opt.PageSize, 4096*(1-min(1, opt.PageSize))) {
				t.Errorf("page size %d", size)
			}
		})
	}
}

// one runs a query that gives one value.
func one(t *testing.T, p *picture, sql, want string) {
	t.Helper()
	got := ""
	if err := p.query(sql, func(s *sqlite3.Stmt) error { got = s.ColumnText(0); return nil }); err != nil || got != want {
		t.Errorf("%s: %q, want %q (%v)", sql, got, want, err)
	}
}

// TestShape looks for what a store of real jobs has: jobs in every state, shared and large values, depth, width, links,
// and most objects left behind by earlier commits.
func TestShape(t *testing.T) {
	path := made(t, Options{Seed: 9, Jobs: 100})
	p, err := look(context.Background(), path, lost{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	s := walked(t, path)
	has := map[string]bool{}
	depth, width := 0, map[string]int{}
	for _, k := range s.paths {
		has[k] = true
		n := bytes.Count([]byte(k), []byte("."))
		depth = max(depth, n)
		if n > 0 {
			width[k[:bytes.LastIndexByte([]byte(k), '.')]]++
		}
	}
	for _, k := range []string{"resource.R", "resource.eventlog", "admin.eventlog", "checkpoint.resource", "checkpoint.job-manager", "links.dangling",
		"empty.dir", "shared.one", "shared.sub.three", "odd.a/b:c\"d", "job.0000.0005.0000.0000.guest.exec.eventlog", "job.0000.0005.0000.0000.J"} {
		if !has[k] {
			t.Errorf("there is no key %q", k)
		}
	}
	if depth < 40 || width["wide"] != 300 || len(s.jobs) < 80 {
		t.Errorf("depth %d, width %d, %d jobs", depth, width["wide"], len(s.jobs))
	}
	if used := len(s.values) + len(s.dirs); used*2 > len(p.rows)*2-used/4 || used < 1000 {
		t.Errorf("%d of %d objects are in use", used, len(p.rows))
	}
	roots := map[string]bool{}
	for _, c := range p.checkpt {
		h, _ := c.root()
		roots[h] = true
		if _, err := p.walk(h); err != nil {
			t.Errorf("%s: %v", c.name(), err)
		}
	}
	if len(roots) != 4 { // the last two rows name the same root
		t.Errorf("%d distinct roots", len(roots))
	}
}

// TestSameSeed makes the same store twice, and another one.
func TestSameSeed(t *testing.T) {
	read := func(seed uint64) []byte {
		b, err := os.ReadFile(made(t, Options{Seed: seed, Jobs: 30}))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	first := read(1)
	if !bytes.Equal(first, read(1)) {
		t.Error("the same seed gave other bytes")
	}
	if bytes.Equal(first, read(2)) {
		t.Error("another seed gave the same bytes")
	}
}

func TestMakeRefuses(t *testing.T) {
	for _, opt := range []Options{{Hash: "md5"}, {Jobs: -1}, {Checkpoints: -1}, {PageSize: 1000}, {Legacy: true, Checkpoints: 3}} {
		path := filepath.Join(t.TempDir(), "content.sqlite")
		if _, err := Make(context.Background(), path, opt); err == nil {
			t.Errorf("%+v: no error", opt)
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%+v: a file was left", opt)
		}
	}
}

// TestMakeLarge measures: FETTLE_LAB_OBJECTS=1000000 go test -run MakeLarge -v
func TestMakeLarge(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("FETTLE_LAB_OBJECTS"))
	if err != nil {
		t.Skip("FETTLE_LAB_OBJECTS is not set")
	}
	start := time.Now()
	path := filepath.Join(t.TempDir(), "content.sqlite")
	made, err := Make(context.Background(), path, Options{Seed: 1, Objects: n})
	if err != nil {
		t.Fatal(err)
	}
	fi, _ := os.Stat(path)
	t.Logf("%+v in %v, %d MB", made, time.Since(start), fi.Size()>>20)
}
