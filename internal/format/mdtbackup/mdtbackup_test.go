package mdtbackup

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
)

// entry is a member that a test writes.
type entry struct {
	tar.Header
	body string
}

func dir(name string) entry {
	return entry{Header: tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755}}
}

func file(name, body string) entry {
	return entry{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o640, Uid: 7, Gid: 8}, body}
}

// with gives a member attributes.
func (e entry) with(attrs ...string) entry {
	e.PAXRecords, e.Format = map[string]string{}, tar.FormatPAX
	for i := 0; i < len(attrs); i += 2 {
		e.PAXRecords["SCHILY.xattr."+attrs[i]] = attrs[i+1]
	}
	return e
}

func link(name, to string) entry {
	return entry{Header: tar.Header{Name: name, Linkname: to, Typeflag: tar.TypeLink}}
}

func symlink(name, to string) entry {
	return entry{Header: tar.Header{Name: name, Linkname: to, Typeflag: tar.TypeSymlink, Mode: 0o777}}
}

func archive(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		e.Size = int64(len(e.body))
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatalf("%s: %v", e.Name, err)
		}
		if _, err := io.WriteString(w, e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func save(t testing.TB, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "backup")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// read gives all members as lines.
func read(path string) (lines []string, odd int64, err error) {
	r, err := Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer r.Close()
	for {
		m, err := r.Next()
		if err == io.EOF {
			odd, _ := r.Odd()
			return lines, odd, nil
		}
		if err != nil {
			return lines, 0, err
		}
		line := fmt.Sprintf("%s %#o", m.Path(), m.Mode)
		if m.Same != nil {
			line = m.Path() + " = " + strings.Join(m.Same, "/")
		}
		if m.Target != "" {
			line += " -> " + m.Target
		}
		if m.Mode&ModeType == ModeRegular && m.Same == nil {
			b, err := r.Content(1 << 20)
			if err != nil {
				return lines, 0, err
			}
			line += fmt.Sprintf(" %d %q", m.Size, b)
		}
		for _, x := range m.Xattrs {
			line += fmt.Sprintf(" %s=%x", x.Name, x.Value)
		}
		lines = append(lines, line)
	}
}

func TestTar(t *testing.T) {
	long := strings.Repeat("d/", 300) + "end"
	for _, c := range []struct {
		name    string
		entries []entry
		want    []string
		odd     int64
	}{
		{"members of all types", []entry{dir("./").with("trusted.lma", "\x00\n=\xff"), file("./a", "body"), symlink("./s", "../../etc/passwd"), link("./b", "./a"),
			{Header: tar.Header{Name: "./p", Typeflag: tar.TypeFifo, Mode: 0o600}}, {Header: tar.Header{Name: "./c", Typeflag: tar.TypeChar}}},
			[]string{". 040755 lma=000a3dff", `a 0100640 4 "body"`, "s 0120777 -> ../../etc/passwd", "b = a", "p 010600", "c 020000"}, 0},
		{"only trusted attributes", []entry{file("a", "").with("user.x", "1", "trusted.link", "2", "security.selinux", "3")}, []string{`a 0100640 0 "" link=32`}, 0},
		{"absolute paths lose the slash", []entry{file("/ROOT//./a", "")}, []string{`ROOT/a 0100640 0 ""`}, 0},
		{"out of the top", []entry{file("../a", ""), file("ROOT/../../b", ""), link("c", "../a"), file("ok", "")}, []string{`ok 0100640 0 ""`}, 3},
		{"long names", []entry{file(strings.Repeat("n", 256), ""), file(strings.Repeat("n", 255), "")}, []string{strings.Repeat("n", 255) + ` 0100640 0 ""`}, 1},
		{"too deep", []entry{file(strings.Repeat("d/", 4000)+"f", ""), link("c", strings.Repeat("d/", 4000)+"f"), file("ok", "")}, []string{`ok 0100640 0 ""`}, 2},
		{"deep", []entry{file(long, "")}, []string{long + ` 0100640 0 ""`}, 0},
		{"the same twice", []entry{file("a", "1"), file("a", "2")}, []string{`a 0100640 1 "1"`, `a 0100640 1 "2"`}, 0},
		{"a link without a target", []entry{link("a", "./")}, nil, 1},
		{"a file with the name of the top", []entry{file(".", "x"), file("a", "")}, []string{`a 0100640 0 ""`}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, odd, err := read(save(t, archive(t, c.entries...)))
			if err != nil || odd != c.odd || !slices.Equal(got, c.want) {
				t.Errorf("got %q, %d odd, %v\nwant %q, %d", got, odd, err, c.want, c.odd)
			}
		})
	}
}

// An archive that is cut off anywhere is an error, whatever it is packed with.
func TestCutOff(t *testing.T) {
	whole := archive(t, dir("./"), file("./a", strings.Repeat("x", 2000)), file("./b", "y").with("trusted.lma", strings.Repeat("z", 700)), file("./c", ""))
	var gz bytes.Buffer
	w := gzip.NewWriter(&gz)
	w.Write(whole)
	w.Close()
	if _, _, err := read(save(t, whole)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := read(save(t, gz.Bytes())); err != nil {
		t.Fatal(err)
	}
	for n := 0; n <= len(whole)-1024; n += 128 {
		if _, _, err := read(save(t, whole[:n])); !errors.Is(err, ErrCutOff) && !errors.Is(err, ErrNotBackup) {
			t.Errorf("%d of %d bytes: %v", n, len(whole), err)
		}
	}
	for n := 1; n < gz.Len()-16; n += 7 { // behind that the end mark has been read
		if _, _, err := read(save(t, gz.Bytes()[:n])); !errors.Is(err, ErrCutOff) && !errors.Is(err, ErrNotBackup) {
			t.Errorf("%d of %d packed bytes: %v", n, gz.Len(), err)
		}
	}
}

func TestNotBackup(t *testing.T) {
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"empty", nil, ErrNotBackup}, {"text", []byte(strings.Repeat("text\n", 500)), ErrNotBackup}, {"zeros", make([]byte, 4096), ErrNotBackup},
		{"gzip of text", func() []byte {
			var b bytes.Buffer
			w := gzip.NewWriter(&b)
			w.Write([]byte(strings.Repeat("text\n", 500)))
			w.Close()
			return b.Bytes()
		}(), ErrNotBackup},
		{"xz", []byte("\xfd7zXZ\x00 and more"), ErrPacked}, {"zstd of nothing", []byte{0x28, 0xb5, 0x2f, 0xfd, 1, 2, 3}, ErrNotBackup}, {"bzip2 of nothing", []byte("BZh91AY"), ErrNotBackup},
	} {
		if _, err := Open(save(t, c.b)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		if ok, err := Recognize(save(t, c.b)); ok || err != nil {
			t.Errorf("%s is recognised: %v, %v", c.name, ok, err)
		}
	}
}

// An archive that unpacks to members without end is given up; the same is read if it is not packed.
func TestBomb(t *testing.T) {
	one := archive(t, file("ROOT/a", ""))[:512]
	path := filepath.Join(t.TempDir(), "bomb")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewWriter(f)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 * minBomb / 1024 {
		if _, err := z.Write(bytes.Repeat(one, 1024)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(z.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	n := 0
	for err == nil {
		_, err = r.Next()
		n++
	}
	if !errors.Is(err, ErrBomb) || n != minBomb {
		t.Errorf("%d members, %v", n, err)
	}
	r.Stop()
	if err := r.Close(); err != nil {
		t.Errorf("after a stop: %v", err)
	}
}

func TestRecognize(t *testing.T) {
	for _, c := range []struct {
		name    string
		entries []entry
		want    bool
	}{
		{"target", []entry{dir("./").with("trusted.lma", "x"), dir("./ROOT/")}, true},
		{"no attributes", []entry{dir("./"), dir("./ROOT/")}, false},
		{"something else", []entry{dir("./").with("trusted.lma", "x"), dir("./home/")}, false},
	} {
		if ok, err := Recognize(save(t, archive(t, c.entries...))); ok != c.want || err != nil {
			t.Errorf("%s: %v, %v", c.name, ok, err)
		}
	}
}

// plant makes a directory with everything in it that must not be followed.
func plant(t *testing.T) string {
	t.Helper()
	top, outside := t.TempDir(), t.TempDir()
	for _, err := range []error{
		os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600), os.Mkdir(filepath.Join(top, "d"), 0o750), os.WriteFile(filepath.Join(top, "d", "f"), []byte("body"), 0o640),
		os.Symlink(outside, filepath.Join(top, "out")), os.Symlink("../d", filepath.Join(top, "d", "loop")), os.Link(filepath.Join(top, "d", "f"), filepath.Join(top, "g")),
		unix.Mkfifo(filepath.Join(top, "p"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return top
}

func TestTree(t *testing.T) {
	top := plant(t)
	got, odd, err := read(top)
	for i := range got {
		got[i], _, _ = strings.Cut(got[i], " ->")
	}
	want := []string{". 040700", "d 040750", `d/f 0100640 4 "body"`, "d/loop 0120777", "g = d/f", "out 0120777", "p 010600"}
	want[0] = got[0] // the mode of a test's directory is not ours
	if err != nil || odd != 0 || !slices.Equal(got, want) {
		t.Errorf("got %q, %d odd, %v\nwant %q", got, odd, err, want)
	}
}

func TestTreeAttributes(t *testing.T) {
	top := plant(t)
	for _, p := range []string{"", "d", "d/f", "d/loop"} {
		for name, value := range map[string]string{"trusted.lma": "lma of " + p, "trusted.big": strings.Repeat("b", 2000)} {
			if err := unix.Lsetxattr(filepath.Join(top, p), name, []byte(value), 0); err != nil {
				t.Skipf("attributes trusted.* cannot be set here, which takes root and a file system that has them: %v", err)
			}
		}
	}
	r, err := Open(top)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for n := 0; ; n++ {
		m, err := r.Next()
		if err == io.EOF {
			if n != 7 {
				t.Errorf("%d members", n)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		switch p := m.Path(); p {
		case ".", "d", "d/f", "d/loop":
			if len(m.Xattrs) != 2 || m.Xattrs[0].Name != "big" || len(m.Xattrs[0].Value) != 2000 || string(m.Xattrs[1].Value) != "lma of "+strings.TrimPrefix(p, ".") {
				t.Errorf("%s: %v", p, m.Xattrs)
			}
		default:
			if len(m.Xattrs) != 0 {
				t.Errorf("%s has attributes: %v", p, m.Xattrs)
			}
		}
	}
}

// The fingerprint of a directory changes with everything that a check looks at, and with nothing else.
func TestFingerprint(t *testing.T) {
	top := plant(t)
	now := func() string {
		fp, err := Fingerprint(t.Context(), top)
		if err != nil {
			t.Fatal(err)
		}
		return fp
	}
	was := now()
	if _, _, err := read(top); err != nil {
		t.Fatal(err)
	}
	if now() != was {
		t.Error("reading changed it")
	}
	for _, c := range []struct {
		name string
		do   func() error
	}{
		{"rename", func() error { return os.Rename(filepath.Join(top, "p"), filepath.Join(top, "q")) }},
		{"chmod", func() error { return os.Chmod(filepath.Join(top, "d", "f"), 0o600) }},
		{"link", func() error { return os.Link(filepath.Join(top, "g"), filepath.Join(top, "d", "h")) }},
		{"remove", func() error { return os.Remove(filepath.Join(top, "out")) }},
		{"write with the old time", func() error {
			fi, err := os.Stat(filepath.Join(top, "g"))
			return errors.Join(err, os.WriteFile(filepath.Join(top, "g"), []byte("BODY"), 0o600), os.Chtimes(filepath.Join(top, "g"), fi.ModTime(), fi.ModTime()))
		}},
	} {
		was := now()
		if err := c.do(); err != nil {
			t.Fatal(err)
		}
		if now() == was {
			t.Errorf("%s does not show", c.name)
		}
	}
	tarFile := save(t, archive(t, file("a", "")))
	one, err := Fingerprint(t.Context(), tarFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(tarFile, archive(t, file("a", ""), file("b", strings.Repeat("x", 20000))), 0o600); err != nil {
		t.Fatal(err)
	}
	if two, err := Fingerprint(t.Context(), tarFile); err != nil || one == two {
		t.Errorf("%s, then %s, %v", one, two, err)
	}
}

// FuzzTar reads anything: it must end, without a panic, and every member must lie below the top.
func FuzzTar(f *testing.F) {
	whole := archive(f, dir("./").with("trusted.lma", "0123456789abcdef01234567"), dir("./ROOT/"), file("./ROOT/a", "body").with("trusted.link", "x"), link("./ROOT/b", "./ROOT/a"),
		symlink("./ROOT/s", "/etc"), file("/abs", ""), file("../up", ""))
	f.Add(whole)
	f.Add(whole[:1300])
	f.Add(bytes.ReplaceAll(whole, []byte("trusted"), []byte("TRUSTED")))
	var gz bytes.Buffer
	w := gzip.NewWriter(&gz)
	w.Write(whole)
	w.Close()
	f.Add(gz.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<20 {
			return
		}
		path := save(t, b)
		if _, err := Recognize(path); err != nil {
			t.Fatal(err)
		}
		r, err := Open(path)
		if err != nil {
			return
		}
		defer r.Close()
		for n := 0; n < 10000; n++ {
			m, err := r.Next()
			if err != nil {
				return
			}
			for _, p := range append(m.Parts, m.Same...) {
				if p == "" || p == "." || p == ".." || len(p) > 255 || strings.ContainsAny(p, "/\x00") {
					t.Fatalf("a name %q", p)
				}
			}
			if m.Mode&ModeType == ModeRegular && m.Same == nil {
				if _, err := r.Content(1 << 16); err != nil {
					return
				}
			}
		}
	})
}
