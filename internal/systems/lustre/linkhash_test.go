package lustre

import (
	"fmt"
	"testing"

	"fettle/internal/format/lustre"
)

// Names that are alike in directories whose FIDs follow each other have different hashes.
func TestLinkHashesDiffer(t *testing.T) {
	met := map[uint64]string{}
	for oid := uint32(1); oid < 64; oid++ {
		for i := range 200 {
			name := fmt.Sprintf("lnk-%d-one-of-very-many-names", i)
			h := linkHash(lustre.FID{Seq: 0x200000400, OID: oid}, []byte(name))
			text := fmt.Sprint(oid, " ", name)
			if was := met[h]; was != "" {
				t.Fatalf("%s and %s have the hash %#x", was, text, h)
			}
			met[h] = text
		}
	}
}
