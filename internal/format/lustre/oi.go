package lustre

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

// OIEntry says which inode an object has on its target.
type OIEntry struct {
	FID             FID
	Ino, Generation uint32
}

// OIName is the name of the n-th file of the object index in the root of the target.
func OIName(n int) string { return "oi.16." + strconv.Itoa(n) }

// ParseOIName gives the number of such a file. "oi.16" alone, which old targets have, is number 0.
func ParseOIName(name string) (n int, ok bool) {
	if name == "oi.16" {
		return 0, true
	}
	digits, found := strings.CutPrefix(name, "oi.16.")
	n, err := strconv.Atoi(digits)
	return n, found && err == nil && n >= 0 && OIName(n) == name
}

// OIFile is the number of the file, of count (a power of two), that holds the entry of a FID.
func OIFile(f FID, count int) (int, error) {
	if count < 1 || bits.OnesCount(uint(count)) != 1 {
		return 0, fmt.Errorf("the object index has %d files, want a power of two", count)
	}
	return int(f.Seq & uint64(count-1)), nil
}

// InOI reports whether a target keeps an entry for such an object at all. compat is that of its LMA. Objects of old logs
// (SeqLLOG) and LAST_ID files are found by their place under /O instead; named logs have entries. Agents have none of their own:
// their LMA carries the FID of an object of another target.
func InOI(f FID, compat uint32) bool {
	return compat&LMACNotInOI == 0 && f.Seq != SeqLLOG && !f.IsLastID() && !f.IsZero()
}

// OIEntries calls fn with each entry of a leaf. The all-zero record that a server begins with is left out.
func OIEntries(block []byte, fn func(OIEntry) bool) ([]Problem, error) {
	return ShapeOI.Records(block, func(key, record []byte) bool {
		e := OIEntry{BigFID(key), binary.BigEndian.Uint32(record), binary.BigEndian.Uint32(record[4:])}
		return e == OIEntry{} || fn(e)
	})
}

// Key and Record give the two halves of the entry as an IAM index holds them.
func (e OIEntry) Key() []byte { return e.FID.AppendBig(nil) }

// Record gives inode and generation, big-endian.
func (e OIEntry) Record() []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, e.Ino), e.Generation)
}

// BuildOI makes one file of the object index, with leaves three quarters full. The entries are sorted in place; two entries of
// one FID are an error.
func BuildOI(blockSize int, entries []OIEntry) ([][]byte, error) {
	slices.SortFunc(entries, func(a, b OIEntry) int { return a.FID.Compare(b.FID) })
	buf := make([]byte, 0, len(entries)*(ShapeOI.Key+ShapeOI.Record))
	records := make([]IAMRecord, len(entries))
	for i, e := range entries {
		at := len(buf)
		buf = e.FID.AppendBig(buf)
		buf = binary.BigEndian.AppendUint32(buf, e.Ino)
		buf = binary.BigEndian.AppendUint32(buf, e.Generation)
		records[i] = IAMRecord{buf[at : at+FIDSize], buf[at+FIDSize:]}
	}
	blocks, err := ShapeOI.Build(blockSize, 192, records)
	if err != nil {
		return nil, fmt.Errorf("build object index of %d entries: %w", len(entries), err)
	}
	return blocks, nil
}
