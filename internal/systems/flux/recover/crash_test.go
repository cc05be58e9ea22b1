package recover_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"fettle/internal/systems/flux/fluxlab"
	"fettle/internal/systems/flux/recover"
)

var errDead = errors.New("the process is dead")

// mortal is the operating system until the process dies: at operation number at, before or after it is done.
type mortal struct {
	recover.Files
	at, n int
	after bool
}

func (m *mortal) do(f func() error) error {
	m.n++
	switch {
	case m.n > m.at, m.n == m.at && !m.after:
		return errDead
	case m.n == m.at:
		if err := f(); err != nil {
			return err
		}
		return errDead
	}
	return f()
}

func (m *mortal) Link(a, b string) error   { return m.do(func() error { return m.Files.Link(a, b) }) }
func (m *mortal) Rename(a, b string) error { return m.do(func() error { return m.Files.Rename(a, b) }) }
func (m *mortal) Remove(p string) error    { return m.do(func() error { return m.Files.Remove(p) }) }
func (m *mortal) RemoveAll(p string) error { return m.do(func() error { return m.Files.RemoveAll(p) }) }
func (m *mortal) Mkdir(p string) error     { return m.do(func() error { return m.Files.Mkdir(p) }) }
func (m *mortal) Write(p string, b []byte) error {
	return m.do(func() error { return m.Files.Write(p, b) })
}
func (m *mortal) Copy(a, b string) error { return m.do(func() error { return m.Files.Copy(a, b) }) }
func (m *mortal) SyncDir(p string) error { return m.do(func() error { return m.Files.SyncDir(p) }) }

// Wherever a recovery is cut off, running it again succeeds, and the damaged database is still there.
func TestCutOffAnywhere(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, dir string)
	}{
		{"repair with a -wal and a link", func(t *testing.T, dir string) {
			sql(t, db(dir), loseNewestRoot)
			write(t, db(dir)+"-wal", noise(5000))
			must(t, os.Mkdir(filepath.Join(dir, "dump"), 0o755))
			must(t, os.Symlink("nowhere", filepath.Join(dir, "dump", "RESTORE")))
		}},
		{"minimal", func(t *testing.T, dir string) { loseDirectories(t, db(dir)) }},
		{"empty", func(t *testing.T, dir string) { write(t, db(dir), noise(20000)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			first := statedir(t, fluxlab.Options{Seed: 8, Jobs: 3})
			c.damage(t, first)
			damaged := read(t, db(first))
			wal, _ := os.ReadFile(db(first) + "-wal")
			for at, done := 1, false; !done; at++ {
				for _, after := range []bool{false, true} {
					dir := t.TempDir()
					must(t, os.CopyFS(dir, os.DirFS(first)))
					if !exists(filepath.Join(dir, "dump")) || exists(filepath.Join(first, "dump", "RESTORE")) && !exists(filepath.Join(dir, "dump", "RESTORE")) {
						_ = os.Mkdir(filepath.Join(dir, "dump"), 0o755)
						if exists(filepath.Join(first, "dump", "RESTORE")) {
							must(t, os.Symlink("nowhere", filepath.Join(dir, "dump", "RESTORE")))
						}
					}
					cfg := config(t, dir)
					m := &mortal{Files: recover.OS(), at: at, after: after}
					cfg.Files = m
					_, err := recover.Run(context.Background(), cfg)
					if err == nil {
						done = true
						continue
					}
					if !errors.Is(err, errDead) {
						t.Fatalf("operation %d: %v", at, err)
					}
					survived(t, dir, fmt.Sprintf("operation %d, after %t", at, after), damaged, wal)
				}
				if at > 200 {
					t.Fatal("too many operations")
				}
			}
		})
	}
}

func survived(t *testing.T, dir, where string, damaged, wal []byte) {
	t.Helper()
	rep, err := recover.Run(context.Background(), config(t, dir))
	if err != nil {
		t.Fatalf("%s: the next run: %v", where, err)
	}
	again, err := recover.Run(context.Background(), config(t, dir))
	if err != nil || again.Route != recover.RouteNothing {
		t.Fatalf("%s: after the next run (%s): %v %+v", where, rep.Route, err, again)
	}
	for _, kept := range []struct {
		side string
		want []byte
	}{{"", damaged}, {"-wal", wal}} {
		if kept.want == nil {
			continue
		}
		names, err := filepath.Glob(db(dir) + ".damaged-*" + kept.side)
		must(t, err)
		found := false
		for _, n := range names {
			if bytes.Equal(read(t, n), kept.want) {
				found = true
			}
		}
		if !found {
			t.Fatalf("%s: the damaged %s%s is not kept (%q)", where, filepath.Base(db(dir)), kept.side, names)
		}
	}
	for _, left := range []string{"fettle-recover.tmp", "fettle-recover.pending", filepath.Join("dump", "RESTORE")} {
		if exists(filepath.Join(dir, left)) {
			t.Errorf("%s: %s is left", where, left)
		}
	}
}
