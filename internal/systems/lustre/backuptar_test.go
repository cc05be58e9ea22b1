package lustre

import (
	"archive/tar"
	"bytes"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
	"fettle/internal/systems/lustre/lustrelab"
)

// member is a member of an archive that a test makes or changes.
type member struct {
	tar.Header
	body []byte
}

const xattrKey = "SCHILY.xattr.trusted."

// attr gives an attribute, nil if there is none.
func (m *member) attr(name string) []byte {
	if v, ok := m.PAXRecords[xattrKey+name]; ok {
		return []byte(v)
	}
	return nil
}

// setAttr sets an attribute; nil removes it.
func (m *member) setAttr(name string, value []byte) {
	if value == nil {
		delete(m.PAXRecords, xattrKey+name)
		return
	}
	m.PAXRecords[xattrKey+name] = string(value)
}

// fid is what the LMA says.
func (m *member) fid() lustre.FID {
	l, err := lustre.DecodeLMA(m.attr("lma"))
	if err != nil {
		return lustre.FID{}
	}
	return l.FID
}

// links are the records of the link EA.
func (m *member) links() []lustre.Link {
	ea, _, err := lustre.DecodeLinkEA(m.attr("link"))
	if err != nil {
		return nil
	}
	return ea.Links
}

// base is the last name of the path.
func (m *member) base() string {
	p := strings.TrimSuffix(m.Name, "/")
	return p[strings.LastIndexByte(p, '/')+1:]
}

// up is the path of the directory.
func (m *member) up() string {
	return strings.TrimSuffix(strings.TrimSuffix(m.Name, "/"), m.base())
}

// archive is a backup under the knife.
type archive []*member

// named gives the first member that a test approves of.
func (a archive) named(t testing.TB, what string, ok func(*member) bool) *member {
	t.Helper()
	for _, m := range a {
		if ok(m) {
			return m
		}
	}
	t.Fatalf("the backup has no %s", what)
	return nil
}

// without leaves members out.
func (a archive) without(gone func(*member) bool) archive {
	var out archive
	for _, m := range a {
		if !gone(m) {
			out = append(out, m)
		}
	}
	return out
}

// clone gives a copy that can be changed.
func (a archive) clone() archive {
	var out archive
	for _, m := range a {
		c := *m
		c.PAXRecords = maps.Clone(m.PAXRecords)
		out = append(out, &c)
	}
	return out
}

// rename changes the begin of paths, of hard links as well.
func (a archive) rename(from, to string) {
	for _, m := range a {
		for _, p := range []*string{&m.Name, &m.Linkname} {
			if rest, ok := strings.CutPrefix(*p, from); ok && (p == &m.Name || m.Typeflag == tar.TypeLink) {
				*p = to + rest
			}
		}
	}
}

// readArchive reads an archive as a whole.
func readArchive(t testing.TB, path string) archive {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out archive
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		records := map[string]string{}
		for k, v := range h.PAXRecords {
			if strings.HasPrefix(k, xattrKey) {
				records[k] = v
			}
		}
		h.PAXRecords, h.Xattrs, h.Format = records, nil, tar.FormatPAX //nolint:staticcheck // cleared because it repeats the records
		out = append(out, &member{*h, body})
	}
}

// bytes gives the archive as it is in a file.
func (a archive) bytes(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range a {
		h := m.Header
		h.Size = int64(len(m.body))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatalf("%s: %v", h.Name, err)
		}
		if _, err := w.Write(m.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// write writes the archive to a file.
func (a archive) write(t testing.TB, path string) string {
	t.Helper()
	if err := os.WriteFile(path, a.bytes(t), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// backUp makes the archive that tar makes at the top of an image that is mounted as ldiskfs.
func backUp(t testing.TB, image string) archive {
	t.Helper()
	fs, err := ext4.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer fs.Close()
	b := backer{t: t, fs: fs, first: map[uint32]string{}}
	b.add("./", ext4.InoRoot)
	return b.out
}

type backer struct {
	t     testing.TB
	fs    *ext4.FS
	out   archive
	first map[uint32]string // path of the first name
}

func (b *backer) add(path string, ino uint32) {
	in, err := b.fs.Inode(ino)
	if err != nil {
		b.t.Fatal(err)
	}
	m := &member{Header: tar.Header{Name: path, Mode: int64(in.Mode & 0o7777), Format: tar.FormatPAX, PAXRecords: map[string]string{}}}
	if first, known := b.first[ino]; known && !in.IsDir() {
		m.Typeflag, m.Linkname = tar.TypeLink, first
		b.out = append(b.out, m)
		return
	}
	if !in.Allocated || in.Mode == 0 || in.IsDir() && b.first[ino] != "" {
		return // a name that leads to nothing, or to a directory for the second time, cannot be copied
	}
	b.first[ino] = path
	if err := in.Xattrs(b.fs, func(x ext4.Xattr) bool {
		if x.Index == ext4.XattrIndexTrusted {
			m.PAXRecords[xattrKey+string(x.Name)] = string(x.Value)
		}
		return true
	}, nil); err != nil {
		b.t.Fatal(err)
	}
	b.out = append(b.out, m)
	switch {
	case in.IsDir():
		m.Typeflag = tar.TypeDir
		b.directory(path, in)
	case in.IsSymlink():
		m.Typeflag, m.Linkname = tar.TypeSymlink, "somewhere"
	case in.Mode&0xf000 == 0x1000:
		m.Typeflag = tar.TypeFifo
	case in.IsRegular():
		m.Typeflag = tar.TypeReg
		if in.Size < 1<<20 {
			if m.body, err = b.fs.ReadAll(in, 1<<20); err != nil {
				b.t.Fatal(err)
			}
		}
	default:
		b.t.Fatalf("%s has the mode %#o", path, in.Mode)
	}
}

func (b *backer) directory(path string, in *ext4.Inode) {
	type name struct {
		text string
		ino  uint32
	}
	var names []name
	if err := b.fs.Dir(in.Clone(), func(e ext4.Dirent) bool {
		if text := string(e.Name); text != "." && text != ".." {
			names = append(names, name{text, e.Inode})
		}
		return true
	}, nil); err != nil {
		b.t.Fatal(err)
	}
	for _, n := range names {
		child, err := b.fs.Inode(n.ino)
		if err != nil {
			b.t.Fatal(err)
		}
		p := path + n.text
		if child.IsDir() {
			p += "/"
		}
		b.add(p, n.ino)
	}
}

// labBackup makes a file system in the lab and gives images and backups of its targets.
func labBackup(t testing.TB, o lustrelab.Options) (images []string, backups []archive) {
	t.Helper()
	dir := t.TempDir()
	if _, err := lustrelab.Make(t.Context(), dir, o); err != nil {
		t.Fatal(err)
	}
	images, err := lustrelab.Targets(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range images {
		backups = append(backups, backUp(t, p))
	}
	return images, backups
}

// writeAll writes archives to files.
func writeAll(t testing.TB, all []archive) []string {
	t.Helper()
	dir := t.TempDir()
	var out []string
	for i, a := range all {
		out = append(out, a.write(t, filepath.Join(dir, "mdt"+string(rune('0'+i))+".tar")))
	}
	return out
}
