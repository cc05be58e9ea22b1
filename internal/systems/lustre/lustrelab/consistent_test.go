package lustrelab

import (
	"testing"

	"fettle/internal/format/ext4"
)

// report fails the test with everything that is inconsistent.
func report(t *testing.T, w *world) {
	t.Helper()
	for _, s := range w.wrong {
		t.Error(s)
	}
}

func openAll(t *testing.T, paths []string) (out []*ext4.FS) {
	t.Helper()
	for _, path := range paths {
		fs, err := ext4.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { fs.Close() })
		out = append(out, fs)
	}
	return out
}

func readAll(t *testing.T, images []*ext4.FS) *world {
	t.Helper()
	w, err := readWorld(t.Context(), images)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// A file system that was made is consistent in every respect that a naive program can see.
func TestConsistent(t *testing.T) {
	for what, o := range shapes {
		t.Run(what, func(t *testing.T) {
			made := make1(t, o)
			w := readAll(t, openAll(t, made.Paths))
			names, remote := w.check()
			report(t, w)
			if names != made.Names || remote != made.Remote || remote != w.agents {
				t.Errorf("%d names, %d remote ones, %d agents; made were %+v", names, remote, w.agents, made)
			}
			for i, m := range w.mdts {
				if len(m.byIno) != made.Inodes[i] {
					t.Errorf("MDT%04x has %d inodes, made were %d", i, len(m.byIno), made.Inodes[i])
				}
			}
			want := made.Dirs + made.Files
			for _, s := range w.objects {
				if s.lmv != nil && s.lmv.IsShard() || s.lma.FID.IsDotLustre() || s.lma.FID.OID == 0x100 && s.lma.FID.Seq == seqBase(s.mdt) {
					want++
				}
			}
			if len(w.objects) != want {
				t.Errorf("%d objects, want %d", len(w.objects), want)
			}
		})
	}
}
