package cli

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"fettle/internal/store"
)

var update = flag.Bool("update", false, "rewrite expected output in scripts")

func testMain() {
	env := Env{Systems: []store.System{toySystem{}}, Version: "v0.0.0-test", In: os.Stdin, Out: os.Stdout, Err: os.Stderr}
	os.Exit(Main(env, os.Args[1:]))
}

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"fettle": testMain, "dmfettle": devmapperMain, "mdtfettle": lustreMain})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           filepath.Join("testdata", "script"),
		UpdateScripts: *update,
		Setup: func(env *testscript.Env) error {
			env.Setenv("FETTLE_STATE_DIR", filepath.Join(env.WorkDir, ".state"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": scriptCode, "digest": scriptDigest, "jsonlines": scriptJSONLines, "damaged": scriptDamaged, "await": scriptAwait,
			"unpack": scriptUnpack, "spoil": scriptSpoil,
		},
	})
}

// scriptCode runs fettle and wants an exit code: code 4 check x.toy
func scriptCode(ts *testscript.TestScript, neg bool, args []string) {
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

// scriptDigest writes names, sizes, modes, times and hashes of everything below DIR to FILE: digest DIR FILE
func scriptDigest(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: digest DIR FILE")
	}
	var b strings.Builder
	root := ts.MkAbs(args[0])
	ts.Check(filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		sum := ""
		if info.Mode().IsRegular() {
			raw, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			sum = fmt.Sprintf("%x", sha256.Sum256(raw))
		}
		rel, err := filepath.Rel(root, p)
		fmt.Fprintln(&b, rel, info.Size(), info.Mode(), info.ModTime().UnixNano(), sum)
		return err
	}))
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(b.String()), 0o600))
}

// scriptJSONLines checks that a stream is JSON lines of the given types, in this order, each type one or more times:
// jsonlines stdout finding summary
func scriptJSONLines(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: jsonlines FILE TYPE...")
	}
	var types []string
	for _, l := range strings.Split(strings.TrimSuffix(ts.ReadFile(args[0]), "\n"), "\n") {
		var v struct {
			Type   string `json:"type"`
			Schema int    `json:"schema"`
		}
		if err := json.Unmarshal([]byte(l), &v); err != nil {
			ts.Fatalf("%v: %q", err, l)
		}
		if v.Type == "" || v.Schema < 1 {
			ts.Fatalf("no type or schema: %s", l)
		}
		if len(types) == 0 || types[len(types)-1] != v.Type {
			types = append(types, v.Type)
		}
	}
	if got, want := strings.Join(types, " "), strings.Join(args[1:], " "); got != want {
		ts.Fatalf("lines are %q, want %q", got, want)
	}
}

// scriptDamaged makes a toy store with N dangling references among 2000 lines: damaged FILE N
func scriptDamaged(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: damaged FILE N")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	var b bytes.Buffer
	b.WriteString("toy\n")
	for i := range 1000 {
		fmt.Fprintf(&b, "obj o%d\n", i)
	}
	for i := range 1000 - n {
		fmt.Fprintf(&b, "ref r%d o%d\n", i, i)
	}
	for i := range n {
		fmt.Fprintf(&b, "ref bad%d gone%d\n", i, i%3)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b.Bytes(), 0o600))
}

// scriptAwait waits until a file exists and holds a text: await FILE TEXT
func scriptAwait(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: await PATTERN TEXT")
	}
	for range 600 {
		names, err := filepath.Glob(ts.MkAbs(args[0]))
		ts.Check(err)
		for _, n := range names {
			if raw, err := os.ReadFile(n); err == nil && bytes.Contains(raw, []byte(args[1])) {
				return
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	ts.Fatalf("%s never held %q", args[0], args[1])
}
