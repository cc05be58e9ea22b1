package lustre

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"fettle/internal/fault"
	"fettle/internal/fieldmatrix"
	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
	"fettle/internal/store"
	"fettle/internal/systems/lustre/lustrelab"
)

// hostile are pairs of images that somebody made to do harm. quiet says that there may be no finding.
var hostile = []struct {
	name  string
	o     lustrelab.Options
	hurt  func(p *patient)
	quiet bool
}{
	{name: "directories in a circle", hurt: func(p *patient) {
		a, b := p.remote(), p.pick("directory", func(b *body) bool {
			return b.in.IsDir() && b.lmv == nil && len(b.names) == 1 && b.names[0].mdt == b.mdt && b.lma.FID.Seq >= lustre.SeqNormal
		})
		p.fid(p.entry(a.place, ".."), b.lma.FID)
		p.fid(p.entry(b.place, ".."), a.lma.FID)
		p.patch(a, "link", 26, b.lma.FID.AppendBig(nil))
		p.patch(b, "link", 26, a.lma.FID.AppendBig(nil))
		p.drop(a.names[0])
		p.drop(b.names[0])
	}},
	{name: "a directory in itself", hurt: func(p *patient) {
		a := p.remote()
		p.fid(p.entry(a.place, ".."), a.lma.FID)
		p.patch(a, "link", 26, a.lma.FID.AppendBig(nil))
		p.drop(a.names[0])
	}},
	{name: "every name leads to one directory", hurt: func(p *patient) {
		d := p.remote()
		for i := range p.all {
			for _, n := range p.all[i].names {
				p.write(n.mdt, n.at+7, []byte{0x12})
				p.fid(n, d.lma.FID)
			}
		}
	}},
	{name: "one inode table for all groups", hurt: func(p *patient) {
		raw, _, err := p.u.targets[0].fs.RawGroup(0)
		_, at1, err1 := p.u.targets[0].fs.RawGroup(1)
		if err = errors.Join(err, err1); err != nil {
			p.t.Fatal(err)
		}
		p.u.targets[0].fs.Sums().PutGroup(1, raw)
		p.write(0, at1, raw)
	}},
	{name: "an inode table made of inode tables", hurt: func(p *patient) {
		_, at, err := p.u.targets[0].fs.RawGroup(0)
		if err != nil {
			p.t.Fatal(err)
		}
		p.write(0, at+ext4.GDInodeTableLo, le32(1))
	}},
	{name: "all inodes share an attribute block", hurt: func(p *patient) {
		for i := range p.all {
			b := &p.all[i]
			block := uint32(b.in.Offset / 4096)
			p.write(b.mdt, b.in.Offset+ext4.InodeFileACLLo, le32(block))
		}
	}},
	{name: "a link EA that claims 65535 records", hurt: func(p *patient) { p.patch(p.hardLink(), "link", 4, le32(65535)) }},
	{name: "2000 shards and none is there", hurt: func(p *patient) {
		m := p.master()
		p.patch(m, "lmv", 4, le32(lustre.LMVMaxCount))
		for i := range p.all {
			for _, n := range p.all[i].names {
				if n.place == m.place {
					p.drop(n)
				}
			}
		}
	}},
	{name: "names that move the cursor", hurt: func(p *patient) {
		for i := range p.all {
			for _, n := range p.all[i].names {
				evil := []byte("\x1b[2J\n\x9b31m\u202e\x00/")
				p.write(n.mdt, n.at+8, evil[:min(len(evil), len(n.text))])
			}
		}
	}},
	{name: "all inodes of a target are free", hurt: func(p *patient) {
		for i := range p.all {
			if p.all[i].mdt == 1 {
				p.free(&p.all[i])
			}
		}
	}},
	{name: "two targets with the same content", hurt: func(p *patient) {
		b, err := os.ReadFile(p.paths[0])
		if err != nil {
			p.t.Fatal(err)
		}
		copy(b[ext4.SuperOffset+ext4.SBVolumeName:], "lab-MDT0001")
		if err := os.WriteFile(p.paths[1], b, 0o600); err != nil {
			p.t.Fatal(err)
		}
	}},
	{name: "ranges of 200 targets", quiet: true, hurt: func(p *patient) {
		var ranges []lustre.Range
		for i := range uint32(100) {
			start := lustre.SeqNormal + uint64(i)*0x40000000
			ranges = append(ranges, lustre.Range{Start: start, End: start + 0x40000000, Index: 2 * i})
		}
		blocks, err := lustre.BuildFLD(4096, ranges)
		if err != nil {
			p.t.Fatal(err)
		}
		in, err := p.u.targets[0].fs.Inode(p.u.targets[0].marks.fld)
		if err == nil {
			err = in.Blocks(p.u.targets[0].fs, func(x ext4.Extent) bool {
				for i := range x.Length {
					if int(x.Logical+i) < len(blocks) {
						p.write(0, int64(x.Physical+uint64(i))*4096, blocks[x.Logical+i])
					}
				}
				return true
			}, nil)
		}
		if err != nil {
			p.t.Fatal(err)
		}
	}},
	{name: "extents in themselves", o: lustrelab.Options{Extents: true}, hurt: func(p *patient) {
		for i := range p.all {
			b := &p.all[i]
			if !b.in.IsDir() {
				continue
			}
			block := uint32(b.in.Offset / 4096)
			node := make([]byte, 60)
			binary.LittleEndian.PutUint16(node, ext4.ExtentMagic)
			copy(node[2:], []byte{4, 0, 4, 0, 5})
			for k := range 4 {
				copy(node[12+12*k:], le32(uint32(k)))
				copy(node[16+12*k:], le32(block))
			}
			p.write(b.mdt, b.in.Offset+ext4.InodeBlock, node)
		}
	}},
	{name: "files of 16 TiB", hurt: func(p *patient) {
		for i := range p.all {
			p.write(p.all[i].mdt, p.all[i].in.Offset+ext4.InodeSizeLo, bytes.Repeat([]byte{0xff}, 4))
			p.write(p.all[i].mdt, p.all[i].in.Offset+ext4.InodeSizeHi, le32(0xfff))
		}
	}},
	{name: "all FIDs are one", hurt: func(p *patient) {
		for i := range p.all {
			p.patch(&p.all[i], "lma", 8, p.all[len(p.all)/2].lma.FID.AppendLittle(nil))
		}
	}},
	{name: "cut in the inode tables", hurt: func(p *patient) { p.truncate(0, p.all[len(p.all)/2].in.Offset) }},
	{name: "cut behind the superblock", hurt: func(p *patient) { p.truncate(0, 4096) }},
	{name: "cut in the superblock", hurt: func(p *patient) { p.truncate(1, 1500) }},
	{name: "empty", hurt: func(p *patient) { p.truncate(1, 0) }},
	{name: "cut in the directories", hurt: func(p *patient) { p.truncate(0, p.file().names[0].at) }},
	{name: "all zero", hurt: func(p *patient) { p.truncate(1, 0); p.truncate(1, 1<<28) }},
}

func (p *patient) truncate(mdt int, size int64) {
	if err := os.Truncate(p.paths[mdt], size); err != nil {
		p.t.Fatal(err)
	}
}

// TestHostileImages: such images are refused, or checked, shown and planned for without a panic, a hang, much memory, or text that a
// terminal would act on; and what is planned can be applied and undone.
func TestHostileImages(t *testing.T) {
	for _, h := range hostile {
		t.Run(h.name, func(t *testing.T) {
			p := newPatient(t, filepath.Join(t.TempDir(), "pair"), h.o)
			h.hurt(p)
			m := &matrix{patient: p}
			done := make(chan error, 1)
			go func() { done <- m.endure(t, h.quiet) }()
			select {
			case err := <-done:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(2 * fieldmatrix.Limit):
				panic(h.name + " does not end")
			}
		})
	}
}

func (m *matrix) endure(t *testing.T, quiet bool) error {
	ctx, cancel := context.WithTimeout(t.Context(), fieldmatrix.Limit)
	defer cancel()
	fs, unseen, err := m.check(t)
	if refused, ok := errors.AsType[*fault.Error](err); ok && refused.Op == "open" {
		t.Log(err)
		return nil
	}
	if err != nil {
		return err
	}
	if len(fs) == 0 && !quiet {
		return errors.New("nothing was found")
	}
	t.Logf("%d findings, %d things not looked at", len(fs), len(unseen))
	for i := range fs {
		text := fs[i].Title + fs[i].Subject + fs[i].PathOr("")
		for _, e := range fs[i].Evidence {
			text += e.Witness + e.Says
		}
		if strings.ContainsFunc(text, unicode.IsControl) {
			return fmt.Errorf("finding %d has control characters: %q", i, text)
		}
	}
	st, err := System{}.Open(ctx, store.Location{Paths: m.paths}, store.Options{})
	if err != nil {
		return err
	}
	u := st.Units()[0]
	err = roam(ctx, u, t.TempDir(), 250)
	if err = errors.Join(err, st.Close()); err != nil {
		return fmt.Errorf("look around: %w", err)
	}
	_, err = m.mend(t, fs)
	return err
}
