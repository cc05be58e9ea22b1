package lustre

import (
	"fmt"
	"testing"

	"fettle/internal/format/lustre"
)

// Names in directories that were made one after the other are told apart, also where names are counted up as their FIDs are.
func TestLinkHash(t *testing.T) {
	names := []string{"", "\x00", "\x00\x00", "aaaaaaaa", "aaaaaaaaaaaaaaaa"}
	for i := range 200 {
		for _, form := range []string{"%d", "f%d", "lnu-%d-one-of-very-many-names", "file%04d", "1234567%d", "123456789abc%d", "chunk-%04d-of-a-long-name"} {
			names = append(names, fmt.Sprintf(form, i))
		}
	}
	seen := map[uint64]string{}
	for oid := range uint32(64) {
		for seq := range uint64(4) {
			dir := lustre.FID{Seq: 0x200000400 + seq, OID: oid + 1}
			for _, n := range names {
				h := linkHash(dir, []byte(n))
				if other, ok := seen[h]; ok {
					t.Fatalf("%q in %v has the hash of %s", n, dir, other)
				}
				seen[h] = fmt.Sprintf("%q in %v", n, dir)
			}
		}
	}
}
