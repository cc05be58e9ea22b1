package flux

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"fettle/internal/finding"
	"fettle/internal/store"
)

// FuzzCheckpointRow: a row is either no finding and leads to a root, or a finding.
func FuzzCheckpointRow(f *testing.F) {
	good := `{"version":1,"rootref":"` + someRef("x").String() + `","sequence":1,"timestamp":1.5}`
	for _, s := range []string{good, "", "garbage", good[:40], someRef("x").String(), `{"version":0,"rootref":"sha1-zz"}`, good + "\x00", "[[[[", `{"version":1e400}`} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, value []byte, legacy bool) {
		c := &checkpoint{ID: 3, Legacy: legacy, Value: value}
		c.judge()
		for _, newest := range []bool{false, true} {
			g, found := judgeCheckpointRow(c, newest)
			if found == (c.err == nil) || !found && c.ref.IsZero() {
				t.Fatalf("%q: found %v, err %v, ref %v", value, found, c.err, c.ref)
			}
			if found && (len(g.Title) > 1000 || g.Suggested == "" || g.Subject == "" || len(g.Evidence) == 0) {
				t.Fatalf("%q: %+v", value, g)
			}
		}
		c.when()
	})
}

// FuzzEventCodes: the codes are those of the first and last line, and only of content that begins like an eventlog.
func FuzzEventCodes(f *testing.F) {
	f.Add([]byte(event(1, "submit", "{}")))
	f.Add([]byte(event(1, "submit", "{}") + event(2, "clean", "{}")))
	f.Add([]byte(`{"timestamp":1,"name":"`))
	f.Add([]byte("{\"timestamp\":\n\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		first, last := eventCodes(content)
		if (first == evNone) != (last == evNone) || (first != evNone) != bytes.HasPrefix(content, eventHead) {
			t.Fatalf("%q: %d, %d", content, first, last)
		}
		e := makeEntry(1, 1, 1, eventFlags(first, last)|flagSalvaged)
		if e.firstEvent() != first || e.lastEvent() != last || e.status() != statusGood || !e.has(flagSalvaged) {
			t.Fatalf("%q: %d, %d do not survive in an entry", content, first, last)
		}
		looksLikeDir(content)
	})
}

// FuzzWholeStore changes bytes of a small store and takes it through everything that reads: check, confirm, plan, lower.
// Whatever the bytes are, nothing panics, nothing is written, and the effort stays in proportion. The first byte of the
// input chooses the store; then come places (two bytes) and values (one); two bytes that are left over cut the file off.
func FuzzWholeStore(f *testing.F) {
	var bases [][]byte
	for _, build := range []func(string){smallTree(f).build, newSite(f, "drain1", "twojobspec").build, newSeed(f).build} {
		path := filepath.Join(f.TempDir(), "base")
		build(path)
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		bases = append(bases, b)
	}
	for i := range byte(3) {
		f.Add([]byte{i})
		f.Add([]byte{i, 0, 18, 1, 0, 19, 1})                     // no -wal
		f.Add([]byte{i, 0, 16, 2, 0, 17, 0})                     // other page size
		f.Add([]byte{i, 0x10, 0, 5, 0x10, 3, 0xff, 0x10, 5, 77}) // page 2 is no leaf and has many cells
		f.Add([]byte{i, 0x20, 0, 0, 0x0f, 0x30})                 // page 3 has no type, the file is short
		f.Add([]byte{i, 0x1f, 0xf0, 0x41, 0x1f, 0xe0, 0x42})     // content of a row
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) == 0 || len(in) > 400 {
			return
		}
		b := newBench(t)
		writeFile(t, b.path, mutate(bases[int(in[0])%len(bases)], in[1:]))
		before := b.digest()
		readAll(t, b)
		if b.digest() != before {
			t.Fatal("something was written to the store")
		}
	})
}

func mutate(base, how []byte) []byte {
	out := bytes.Clone(base)
	for ; len(how) >= 3; how = how[3:] {
		out[int(binary.BigEndian.Uint16(how))%len(out)] = how[2]
	}
	if len(how) == 2 {
		out = out[:1+int(binary.BigEndian.Uint16(how))%len(out)]
	}
	return out
}

// readAll checks, confirms, plans and lowers. Errors are allowed where the file cannot be worked on, but not in a check.
func readAll(t *testing.T, b *bench) {
	s, err := System{}.Open(context.Background(), store.Location{Paths: []string{b.path}}, store.Options{})
	if err != nil {
		return
	}
	defer s.Close()
	u := s.Units()[0].(*unit)
	fs := checkUnit(t, u)
	if len(fs) > 10000 {
		t.Fatalf("%d findings in a file of %d bytes", len(fs), u.file.Size())
	}
	decisions := []store.Decision{}
	for i := range fs {
		if still, err := u.Confirm(context.Background(), &fs[i]); err == nil && !still {
			t.Fatalf("just found and not confirmed: %s", brief(&fs[i]))
		}
		if fs[i].Suggested != finding.Ignore {
			decisions = append(decisions, store.Decision{Finding: fs[i], Action: fs[i].Suggested})
		}
	}
	p, err := u.Plan(context.Background(), b.run, decisions)
	if err != nil {
		return
	}
	if len(p.Outcomes) != len(decisions) {
		t.Fatalf("%d decisions have %d outcomes", len(decisions), len(p.Outcomes))
	}
	if len(p.Steps) != 1 { // a second step is lowered only once the first is written
		return
	}
	for _, c := range p.Steps[0].Changes {
		if c.Addr == addrFile {
			return // a rebuild writes a new file beside the store
		}
	}
	w, err := u.OpenWriter(context.Background(), b.run)
	if err != nil {
		return
	}
	defer w.Close()
	changes, err := w.Lower(context.Background(), p.Steps[0])
	if err != nil {
		return
	}
	for _, c := range changes {
		have, err := w.Read(context.Background(), c.Target, c.Addr)
		if err != nil || !bytes.Equal(have, c.Before) {
			t.Fatalf("%s is not what Lower says: %v", c.Addr, err)
		}
	}
}
