package fluxdump

import (
	"archive/tar"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"fettle/internal/format/fluid"
	"fettle/internal/format/storefixture"
	"fettle/internal/format/treeobj"

	"pgregory.net/rapid"
)

// item is one key for a test dump.
type item struct {
	key    string
	value  string
	inline bool
	link   bool
	target string
	ns     string
	hasNS  bool
}

const (
	jmCkpt  = `{"version":1,"max_jobid":94489280512,"queue":[]}`
	resCkpt = `{"timestamp":10.5,"drain_state":{}}`
	event   = `{"timestamp":20.5,"name":"x"}` + "\n"
)

func build(tb testing.TB, c Compression, items ...item) []byte {
	tb.Helper()
	var buf bytes.Buffer
	w, err := NewWriter(&buf, c, Meta{Time: 1000, UID: 7, GID: 8})
	if err != nil {
		tb.Fatal(err)
	}
	for _, it := range items {
		path := strings.Split(it.key, ".")
		if it.link {
			err = w.Symlink(path, it.target, it.ns, it.hasNS)
		} else {
			err = w.Value(path, it.inline, int64(len(it.value)), strings.NewReader(it.value))
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	if w.Keys() != len(items) {
		tb.Fatalf("Keys() = %d", w.Keys())
	}
	return buf.Bytes()
}

func goodItems() []item {
	return []item{
		{key: "checkpoint.job-manager", value: jmCkpt},
		{key: "checkpoint.resource", value: resCkpt},
		{key: "resource.eventlog", value: event + event},
		{key: "job.0000.0017.0000.0000.eventlog", value: event},
		{key: "job.0000.0017.0000.0000.guest", link: true, target: ".", ns: "job-1", hasNS: true},
		{key: "small", value: "x", inline: true},
		{key: "empty", inline: true},
	}
}

func readAll(r io.Reader) (items []item, times []int64, err error) {
	d, err := NewReader(r, 1<<23)
	if err != nil {
		return nil, nil, err
	}
	for {
		e, err := d.Next()
		if errors.Is(err, io.EOF) {
			return items, times, nil
		}
		if err != nil {
			return items, times, err
		}
		v, err := io.ReadAll(d)
		if err != nil {
			return items, times, err
		}
		items = append(items, item{key: strings.Join(e.Path, "."), value: string(v), inline: !e.Symlink && e.Time == 0,
			link: e.Symlink, target: e.Target, ns: e.NS, hasNS: e.HasNS})
		times = append(times, e.Time)
	}
}

func TestWriteRead(t *testing.T) {
	for _, c := range []Compression{Plain, Gzip} {
		b := build(t, c, goodItems()...)
		got, times, err := readAll(bytes.NewReader(b))
		if err != nil || !reflect.DeepEqual(got, goodItems()) || times[0] != 1000 {
			t.Errorf("compression %d: %+v %v %v", c, got, times, err)
		}
		r := Verify(bytes.NewReader(b), 0)
		if !r.Good() || r.Keys != 7 || r.Values != 6 || r.Symlinks != 1 || r.Jobs != 1 || r.EventLogs != 2 || r.NewestTime != 1000 ||
			r.NewestEvent != 20.5 || r.MaxJobID != fluid.ID(0x1700000000) || !r.ResourceEventlog || !r.ResourceCheckpoint || !r.JobManagerCheckpoint {
			t.Errorf("%+v", r)
		}
	}
}

func TestEveryTruncationIsNoticed(t *testing.T) {
	for _, c := range []Compression{Plain, Gzip} {
		b := build(t, c, goodItems()...)
		for n := range len(b) {
			if r := Verify(bytes.NewReader(b[:n]), 0); r.Good() {
				t.Fatalf("compression %d: the first %d of %d bytes are good", c, n, len(b))
			}
		}
	}
}

func TestGzipChecksumIsRead(t *testing.T) {
	b := build(t, Gzip, goodItems()...)
	b[len(b)-6] ^= 1
	if r := Verify(bytes.NewReader(b), 0); r.Good() || len(r.Faults) != 1 {
		t.Errorf("%+v", r)
	}
}

func TestVerifyFaults(t *testing.T) {
	log := func(v string) []item { return []item{{key: "resource.eventlog", value: v}} }
	cases := map[string]struct {
		items []item
		want  string
	}{
		"empty":          {nil, "holds no key"},
		"neither":        {[]item{{key: "a", value: "x"}}, "neither resource/eventlog"},
		"bad line":       {log(event + "garbage\n"), "resource/eventlog line 2"},
		"no newline":     {log(event + `{"timestamp":1`), "line 2: the last line has no newline"},
		"bad max_jobid":  {[]item{{key: "checkpoint.job-manager", value: "{}"}}, "max_jobid"},
		"bad drains":     {append(log(event), item{key: "checkpoint.resource", value: "7"}), "checkpoint/resource"},
		"bad drain item": {append(log(event), item{key: "checkpoint.resource", value: `{"timestamp":1.5,"drain_state":{"x":7}}`}), "drain_state"},
	}
	for name, c := range cases {
		r := Verify(bytes.NewReader(build(t, Plain, c.items...)), 0)
		if r.FaultCount != 1 || !strings.Contains(r.Faults[0], c.want) {
			t.Errorf("%s: %q", name, r.Faults)
		}
	}
	many := Verify(bytes.NewReader(build(t, Plain, log(strings.Repeat("\n", 500))...)), 0)
	if many.FaultCount != 500 || len(many.Faults) != MaxFaults {
		t.Errorf("%d faults, %d listed", many.FaultCount, len(many.Faults))
	}
	long := Verify(bytes.NewReader(build(t, Gzip, log(strings.Repeat("x", maxSmall+1<<20))...)), 0)
	if long.FaultCount != 1 || !strings.Contains(long.Faults[0], "16 MiB") {
		t.Errorf("%q", long.Faults)
	}
}

func TestForeignFormats(t *testing.T) {
	for _, head := range []string{"\xfd7zXZ\x00rest", "\x28\xb5\x2f\xfdrest", "PK\x03\x04rest", "070701rest"} {
		if _, err := NewReader(strings.NewReader(head), 0); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v", head, err)
		}
	}
	if _, err := NewReader(strings.NewReader(""), 0); !errors.Is(err, ErrTruncated) {
		t.Errorf("empty: %v", err)
	}
	for name, want := range map[string]Compression{"a.tar": Plain, "-": Plain, "a.tgz": Gzip, "b.tar.gz": Gzip} {
		if c, err := CompressionFor(name); err != nil || c != want {
			t.Errorf("%s: %d %v", name, c, err)
		}
	}
	for _, name := range []string{"a.tar.bz2", "a.tar.xz", "a.zip", "a", "tar", ""} {
		if _, err := CompressionFor(name); !errors.Is(err, ErrFormat) {
			t.Errorf("%q is accepted", name)
		}
	}
	if _, err := NewWriter(io.Discard, Bzip2, Meta{}); !errors.Is(err, ErrFormat) {
		t.Errorf("bzip2 is written: %v", err)
	}
}

// A tar.bz2 of the one file resource/eventlog holding one event.
const bz2Dump = `QlpoOTFBWSZTWWB5lbcAAIz9kM6QAEBQBf8QAADqp99KBAAACCAAdBop6hkaTTJ6BqbSYj0NTDKRoNAAA0A0Gj5gXO8kggKfJBIoTWgW8yqgIBCAEIDXDoyxq2voVjIRZmCLRjjBI1sjHIGzZ6LeDEHjKH2KJvzOIcGzLmgKHVKo9OdSJVhYZakZ5f53ERAdi7kinChIMDzK24A=`

func TestReadBzip2(t *testing.T) {
	b, err := base64.StdEncoding.DecodeString(bz2Dump)
	if err != nil {
		t.Fatal(err)
	}
	r := Verify(bytes.NewReader(b), 0)
	if !r.Good() || r.Keys != 1 || !r.ResourceEventlog {
		t.Errorf("%+v", r)
	}
}

func TestRefusedEntries(t *testing.T) {
	w, err := NewWriter(io.Discard, Plain, Meta{})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range [][]string{nil, {""}, {"a.b"}, {"a\x00"}, {"a", "/"}, {strings.Repeat("x", maxHeaderText+1)}} {
		if err := w.Value(path, true, 0, strings.NewReader("")); !errors.Is(err, ErrAmbiguous) {
			t.Errorf("value %q: %v", path, err)
		}
	}
	for _, l := range []item{{target: "a::b"}, {}, {target: "x", ns: "a::b", hasNS: true}} {
		if err := w.Symlink([]string{"k"}, l.target, l.ns, l.hasNS); !errors.Is(err, ErrAmbiguous) {
			t.Errorf("link %+v: %v", l, err)
		}
	}
	if err := w.Value([]string{"k"}, true, 5, strings.NewReader("x")); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("short value: %v", err)
	}
	if err := w.Value([]string{"k"}, true, MaxValue+1, strings.NewReader("x")); err == nil {
		t.Error("a value of 2 GiB is accepted")
	}
}

func TestSparseAndOthers(t *testing.T) {
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, h := range []*tar.Header{{Typeflag: tar.TypeDir, Name: "d/"}, {Typeflag: tar.TypeReg, Name: "d/eventlog"}} {
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	d, err := NewReader(&buf, 0)
	if err != nil {
		t.Fatal(err)
	}
	if e, err := d.Next(); err != nil || e.Name != "d/eventlog" || d.Skipped != 1 {
		t.Errorf("%+v %v", e, err)
	}
	// An old GNU sparse header that claims 8 GiB.
	raw := build(t, Plain, item{key: "a", value: "x"})
	raw[156] = 'S'
	copy(raw[257:], "ustar  \x00")
	copy(raw[345:512], make([]byte, 167))
	copy(raw[483:], "77777777777\x00")
	fixChecksum(raw)
	if r := Verify(bytes.NewReader(raw), 0); r.Good() || r.Bytes > 0 {
		t.Errorf("%+v", r)
	}
}

func fixChecksum(h []byte) {
	copy(h[148:156], "        ")
	sum := 0
	for _, c := range h[:512] {
		sum += int(c)
	}
	copy(h[148:156], fmt.Sprintf("%06o\x00 ", sum))
}

func TestLimit(t *testing.T) {
	b := build(t, Gzip, item{key: "a", value: strings.Repeat("x", 1<<20)})
	if _, _, err := readAll(bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	r := Verify(bytes.NewReader(b), 1<<16)
	if r.Good() || !strings.Contains(r.Faults[0], ErrTooBig.Error()) {
		t.Errorf("%+v", r)
	}
}

func TestRoundTrip(t *testing.T) {
	name := rapid.StringMatching(`[a-zé "\\:\x01]{1,120}`)
	rapid.Check(t, func(t *rapid.T) {
		var items []item
		var buf bytes.Buffer
		w, err := NewWriter(&buf, rapid.SampledFrom([]Compression{Plain, Gzip}).Draw(t, "c"), Meta{Time: rapid.Int64Range(1, 1<<40).Draw(t, "time"), UID: 1 << 22})
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(0, 5).Draw(t, "n") {
			path := rapid.SliceOfN(name, 1, 4).Draw(t, "path")
			it := item{key: strings.Join(path, "."), link: rapid.Bool().Draw(t, "link")}
			if it.link {
				it.target = rapid.StringMatching(`[a-zé.]{1,150}`).Draw(t, "target")
				if it.hasNS = rapid.Bool().Draw(t, "hasNS"); it.hasNS {
					it.ns = rapid.StringMatching(`[a-z]{0,5}`).Draw(t, "ns")
				}
				err = w.Symlink(path, it.target, it.ns, it.hasNS)
			} else {
				it.value, it.inline = rapid.String().Draw(t, "value"), rapid.Bool().Draw(t, "inline")
				err = w.Value(path, it.inline, int64(len(it.value)), strings.NewReader(it.value))
			}
			if err != nil {
				t.Fatal(err)
			}
			items = append(items, it)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		got, _, err := readAll(&buf)
		if err != nil || !reflect.DeepEqual(got, items) {
			t.Fatalf("%+v\n%+v\n%v", items, got, err)
		}
	})
}

// TestFixture reads the archive of the real flux dump, compares it with the
// store it was made of, and writes one with the same headers.
func TestFixture(t *testing.T) {
	real := storefixture.File(t, "bases/base-small.flux-dump.tar")
	r := Verify(bytes.NewReader(real), 0)
	t.Logf("%+v", *r)
	if !r.Good() || r.Keys != 126 || r.Jobs != 14 {
		t.Fatalf("%+v", r)
	}
	var buf bytes.Buffer
	h := realHeader(t, real)
	w, err := NewWriter(&buf, Plain, Meta{Time: h.ModTime.Unix(), UID: h.Uid, GID: h.Gid})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range storefixture.Open(t, "base-small").Keys(t) {
		switch k.Type {
		case treeobj.TypeSymlink:
			err = w.Symlink(k.Path, k.Target, k.NS, k.HasNS)
		case treeobj.TypeVal, treeobj.TypeValref:
			err = w.Value(k.Path, k.Type == treeobj.TypeVal, int64(len(k.Value)), bytes.NewReader(k.Value))
		default: // an empty inline directory has no entry
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	want, got := headers(t, real), headers(t, buf.Bytes())
	for name, h := range want {
		if got[name] != h {
			t.Errorf("%s:\nflux %s\nwe   %s", name, h, got[name])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d keys, flux has %d", len(got), len(want))
	}
}

// realHeader is the first header with an owner or a time.
func realHeader(t *testing.T, b []byte) *tar.Header {
	for tr := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := tr.Next()
		if err != nil {
			t.Fatal(err)
		}
		if h.ModTime.Unix() != 0 {
			return h
		}
	}
}

// headers describes every entry with its content.
func headers(t *testing.T, b []byte) map[string]string {
	out := map[string]string{}
	for tr := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		v, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		out[h.Name] = fmt.Sprintf("type %c mode %o uid %d gid %d time %d link %q owner %q/%q size %d ref %s",
			h.Typeflag, h.Mode, h.Uid, h.Gid, h.ModTime.Unix(), h.Linkname, h.Uname, h.Gname, h.Size, treeobj.Hash(treeobj.SHA1, v))
	}
}

func FuzzVerify(f *testing.F) {
	f.Add(build(f, Plain, goodItems()...))
	f.Add(build(f, Gzip, goodItems()...))
	f.Add([]byte("BZh9"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := Verify(bytes.NewReader(b), 1<<22)
		if r.Good() && (r.Keys == 0 || len(r.Faults) > 0) {
			t.Fatalf("%+v", r)
		}
		items, _, err := readAll(bytes.NewReader(b))
		if r.Good() && (err != nil || len(items) != r.Keys) {
			t.Fatalf("good, but reading gives %d of %d keys: %v", len(items), r.Keys, err)
		}
	})
}
