package ext4edit

import (
	"fmt"
	"testing"

	"fettle/internal/format/ext4"
)

// BenchmarkInsert puts names with FIDs into a hash tree.
func BenchmarkInsert(b *testing.B) {
	e := openEdit(b, makeImage(b, variant{"bench", "300M", "-t ext4 -b 4096 -I 512", true}))
	dir, err := e.MakeDir(NewInode{}, ext4.InoRoot, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		n := Name{fmt.Appendf(nil, "name-%d", i), dir, ext4.TypeDir, ext4.DirdataLUFID, ext4.LUFIDRecord(fid(i))}
		if _, err := e.InsertName(dir, n); err != nil {
			b.Fatal(err)
		}
	}
}
