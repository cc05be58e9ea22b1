package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"github.com/rogpeppe/go-internal/testscript"

	"fettle/internal/systems/devmapper/realctr"
	"fettle/internal/systems/flux/fluxlab"
)

func TestMain(m *testing.M) {
	realctr.Main()
	testscript.Main(m, map[string]func(){"fettle": main})
}

// The scripts say what the program does with real content stores, which they make themselves.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error {
			env.Setenv("FETTLE_STATE_DIR", filepath.Join(env.WorkDir, ".state"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": code, "digest": digest, "fluxstore": fluxstore, "sql": sql, "livepool": scriptLivePool, "dm": scriptDM,
		},
	})
}

// code runs fettle and wants an exit code: code N ARG...
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: code N ARG...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec("fettle", args[1:]...); err != nil {
		e, ok := err.(interface{ ExitCode() int })
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = e.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// digest writes names, sizes, modes, times and hashes of everything below DIR to FILE: digest DIR FILE
func digest(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: digest DIR FILE")
	}
	var b strings.Builder
	ts.Check(filepath.WalkDir(ts.MkAbs(args[0]), func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		var raw []byte
		if info.Mode().IsRegular() {
			if raw, err = os.ReadFile(p); err != nil {
				return err
			}
		}
		fmt.Fprintf(&b, "%s %d %s %d %x\n", d.Name(), info.Size(), info.Mode(), info.ModTime().UnixNano(), sha256.Sum256(raw))
		return nil
	}))
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(b.String()), 0o600))
}

// fluxstore makes a content store: fluxstore FILE SEED JOBS
func fluxstore(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: fluxstore FILE SEED JOBS")
	}
	seed, err := strconv.ParseUint(args[1], 10, 64)
	ts.Check(err)
	jobs, err := strconv.Atoi(args[2])
	ts.Check(err)
	_, err = fluxlab.Make(context.Background(), ts.MkAbs(args[0]), fluxlab.Options{Seed: seed, Jobs: jobs})
	ts.Check(err)
}

// sql changes a database: sql FILE STATEMENT
func sql(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: sql FILE STATEMENT")
	}
	db, err := sqlite3.Open(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Check(db.Exec("PRAGMA journal_mode=DELETE"))
	ts.Check(db.Exec(args[1]))
	if db.Changes() == 0 {
		ts.Fatalf("the statement changed nothing")
	}
	ts.Check(db.Close())
}
