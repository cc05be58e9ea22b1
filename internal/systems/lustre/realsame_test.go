package lustre

import (
	"fmt"
	"os"
	"testing"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
	"fettle/internal/systems/lustre/mdtrecord"
)

// TestSameNameTwice gives a directory of the pair a name twice, which no other test can write. That is all that is told: link counts and link
// EAs are as if the name were there once.
func TestSameNameTwice(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(*surgery)
	}{
		{"one object", func(s *surgery) {
			dir := s.at(initDir)
			s.name(dir, "READMF", func(r *mdtrecord.Dirent) {
				was, err := s.mdts.Dirent(dir.mdt, dir.ino, "README")
				s.must(err)
				*r = *was
			})
		}},
		{"two objects", func(s *surgery) {
			dir := s.at(initDir)
			was, err := s.mdts.Dirent(dir.mdt, dir.ino, "functions")
			s.must(err)
			s.name(dir, "functions", nil)
			s.name(dir, "READMF", func(r *mdtrecord.Dirent) { *r = *was })
			s.link(functions, initDir, "README")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			paths := pair(t)
			var at int64
			var dir place
			operate(t, paths, func(s *surgery) {
				c.do(s)
				dir = s.at(initDir)
			})
			operate(t, paths, func(s *surgery) {
				in, err := s.mdts.Inode(dir.mdt, dir.ino)
				s.must(err)
				s.must(s.mdts.Edit(dir.mdt).View().Dir(in, func(e ext4.Dirent) bool {
					if string(e.Name) == "READMF" {
						at = e.At
					}
					return at == 0
				}, nil))
			})
			f, err := os.OpenFile(paths[1], os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt([]byte("README"), at+ext4.DirentName); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			found := checkPaths(t, nil, paths...)
			if len(found) != 1 || found[0].Class != Damage || found[0].Subject != fmt.Sprintf("%s inode %d", lustre.MDTName(1), dir.ino) {
				t.Error("not what it should be")
				tell(t, found)
			}
		})
	}
}

// A block has its names once, or tells of the second.
func TestSameNames(t *testing.T) {
	var s sameNames
	for range 2 {
		s.begin()
		for i := range uint32(1000) {
			if _, same := s.met(linkHash(lustre.FID{}, fmt.Append(nil, "name", i)), i); same {
				t.Fatalf("name %d was met", i)
			}
		}
		if ino, same := s.met(linkHash(lustre.FID{}, []byte("name77")), 5000); !same || ino != 77 {
			t.Errorf("the second name: %d, %v", ino, same)
		}
	}
}
