package lustre

import "fmt"

// The feature dirdata puts records behind the name of a directory entry: one NUL byte, then one record per flag in the upper
// half of the entry's file type, in the order of the flags. A record begins with its length, which counts itself.
const (
	// DirTypeMask covers the type of the object in an entry's file type byte.
	DirTypeMask = 0x0f
	// DirLUFID says that a record with the FID of the object follows the name.
	DirLUFID = 0x10
	// DirFlagMask covers all flags of records.
	DirFlagMask = 0xf0

	dirHeader  = 8  // inode, record length, name length, file type
	lufidBytes = 17 // the length byte and a big-endian FID
)

// DirRecord is one record behind a name. Data shares the memory it was decoded from.
type DirRecord struct {
	Flag byte
	Data []byte
}

// DecodeDirData reads the records behind a name. tail is what an entry holds behind its name, up to its record length. The
// records that fit are given together with an error that says what does not.
func DecodeDirData(fileType byte, tail []byte) ([]DirRecord, error) {
	if fileType&DirFlagMask == 0 {
		return nil, nil
	}
	if len(tail) == 0 || tail[0] != 0 {
		return nil, fmt.Errorf("decode the data behind a name: no NUL after the name")
	}
	var out []DirRecord
	at := 1
	for flag := byte(DirLUFID); flag != 0; flag <<= 1 {
		if fileType&flag == 0 {
			continue
		}
		if at >= len(tail) {
			return out, fmt.Errorf("decode the data behind a name: no room for the record of flag 0x%02x", flag)
		}
		n := int(tail[at])
		if n < 1 || n > len(tail)-at {
			return out, fmt.Errorf("decode the data behind a name: record of flag 0x%02x has length %d, possible are 1 to %d", flag, n, len(tail)-at)
		}
		if flag == DirLUFID && n != lufidBytes {
			return out, fmt.Errorf("decode the data behind a name: the FID's record has length %d, want %d", n, lufidBytes)
		}
		out = append(out, DirRecord{flag, tail[at+1 : at+n]})
		at += n
	}
	return out, nil
}

// EntryFID gives the FID behind a name without allocating. It is what a sweep uses; DecodeDirData says what is wrong.
func EntryFID(fileType byte, tail []byte) (f FID, ok bool) {
	if fileType&DirLUFID == 0 || len(tail) < 1+lufidBytes || tail[0] != 0 || tail[1] != lufidBytes {
		return FID{}, false
	}
	return BigFID(tail[2:]), true
}

// AppendEntryFID appends what stands behind a name that has only a FID: NUL, length, FID. 18 bytes.
func AppendEntryFID(b []byte, f FID) []byte {
	return f.AppendBig(append(b, 0, lufidBytes))
}

// EntrySize is how many bytes an entry needs: with dataBytes of records (each with its length byte) behind the name, or 0.
func EntrySize(nameLen, dataBytes int) int {
	n := dirHeader + nameLen
	if dataBytes > 0 {
		n += 1 + dataBytes
	}
	return (n + 3) &^ 3
}

// EntrySizeFID is how many bytes an entry with a FID needs.
func EntrySizeFID(nameLen int) int { return EntrySize(nameLen, lufidBytes) }

// EntryUsed is how many bytes of an entry are in use, whatever its record length says; what is behind may be taken for another
// entry. entry is the whole entry up to its record length, with at least 8 bytes. Records that cannot be read count as using
// everything: taking space from such an entry would destroy a FID.
func EntryUsed(entry []byte) int {
	if len(entry) < dirHeader {
		return len(entry)
	}
	nameLen, fileType := int(entry[6]), entry[7]
	if dirHeader+nameLen > len(entry) {
		return len(entry)
	}
	records, err := DecodeDirData(fileType, entry[dirHeader+nameLen:])
	if err != nil {
		return len(entry)
	}
	data := 0
	for _, r := range records {
		data += 1 + len(r.Data)
	}
	return min(EntrySize(nameLen, data), len(entry))
}
