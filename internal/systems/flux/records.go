package flux

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/pierrec/lz4/v4"

	"fettle/internal/format/treeobj"
	"fettle/internal/store"
)

// Addresses of records in plans. A record's content is JSON for people.
//
//	objects/sha1-..        the row of a blob (recordRow); nil: no such row
//	objects/rowid/17       the row with that rowid, where a hash does not name it uniquely
//	objects/storage-class  how many rows have a key of storage class BLOB
//	checkpt_v2/9           the value of a checkpoint row
//	checkpt/kvs-primary    the value of the legacy row
//	schema/checkpt_v2      the statement that makes the table
//	file                   the whole database, built anew from every readable row
//	wal                    the -wal, moved into the database as SQLite would
const (
	addrObjects      = "objects/"
	addrRowID        = "objects/rowid/"
	addrStorageClass = "objects/storage-class"
	addrCheckpoint   = "checkpt_v2/"
	addrLegacy       = "checkpt/kvs-primary"
	addrTable        = "schema/checkpt_v2"
	addrFile         = "file"
	addrWAL          = "wal"
)

// Statements of the tables as Flux makes them (content-sqlite).
const (
	sqlObjects    = "CREATE TABLE IF NOT EXISTS objects(  hash BLOB PRIMARY KEY,  size INT,  object BLOB,  epoch INT DEFAULT 0);"
	sqlCheckpoint = "CREATE TABLE IF NOT EXISTS checkpt_v2(  id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,  value TEXT);"
)

// compressFrom is the content length from which Flux stores an LZ4 block.
const compressFrom = 256

// recordRow is a row of the objects table in a plan.
type recordRow struct {
	RowID  int64       `json:"rowid,omitempty"` // 0 for rows that are to be inserted
	Hash   string      `json:"hash,omitempty"`  // blobref; "" where the address has it
	Key    string      `json:"key"`             // storage class of the key: "text" or "blob"
	Size   *int64      `json:"size"`            // the column; null when it is no number
	Epoch  *int64      `json:"epoch,omitempty"`
	Object store.Bytes `json:"object"` // the column; null when it is NULL, or when the next two stand for it
	// Digest and Length stand for a long object that the store has before the change: it is not put back from the plan, which
	// would have to hold all of it, but from the journal, which has the pages.
	Digest string `json:"object_sha256,omitempty"`
	Length int64  `json:"object_bytes,omitempty"`
	// ObjectOf is the rowid of the row whose object a row that is to be inserted gets; Digest and Length say what it must be.
	ObjectOf int64 `json:"object_of_rowid,omitempty"`
}

// longObject is from how many bytes on an object stands in a plan by its digest.
const longObject = 64 << 10

// before is the record of a row as it must be before a change.
func (r recordRow) before() store.Bytes {
	if len(r.Object) >= longObject {
		r = r.digested()
	}
	return r.bytes()
}

// digested is the record with its object's digest in its place.
func (r recordRow) digested() recordRow {
	sum := sha256.Sum256(r.Object)
	r.Digest, r.Length, r.Object = hex.EncodeToString(sum[:]), int64(len(r.Object)), nil
	return r
}

// has tells whether the record's object is that of the column.
func (r recordRow) has(object []byte) bool {
	if r.Digest == "" {
		return bytes.Equal(object, r.Object)
	}
	sum := sha256.Sum256(object)
	return int64(len(object)) == r.Length && hex.EncodeToString(sum[:]) == r.Digest
}

func (r recordRow) bytes() store.Bytes {
	b, err := json.Marshal(r)
	if err != nil {
		panic(err) // strings, numbers and bytes always marshal
	}
	return b
}

func parseRecordRow(b store.Bytes) (recordRow, error) {
	var r recordRow
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("row in plan: %w", err)
	}
	if r.Key != "text" && r.Key != "blob" {
		return r, fmt.Errorf("row in plan: storage class %q", r.Key)
	}
	return r, nil
}

// rowOf makes the record of a decoded row.
func rowOf(row *blobRow, rowID int64) recordRow {
	r := recordRow{RowID: rowID, Key: "text", Object: store.Bytes(row.Stored)}
	if ref, err := treeobj.RefFromHash(row.Hash); err == nil {
		r.Hash = ref.String()
	}
	if row.BlobKey {
		r.Key = "blob"
	}
	size := row.Size
	r.Size = &size
	if row.HasEp {
		e := row.Epoch
		r.Epoch = &e
	}
	return r
}

// newRow makes the record of a blob that is to be stored, in the form that Flux would give it.
func newRow(content []byte, epoch int64, hasEpoch bool) recordRow {
	r := recordRow{Key: "text"}
	size := int64(-1)
	object := content
	if len(content) >= compressFrom {
		buf := make([]byte, lz4.CompressBlockBound(len(content)))
		// A block that does not shrink is reported as 0 and kept as it is; readers take either form at any size.
		if n, err := lz4.CompressBlock(content, buf, nil); err == nil && n > 0 && n < len(content) {
			size, object = int64(len(content)), buf[:n]
		}
	}
	r.Size, r.Object = &size, store.Bytes(append([]byte{}, object...))
	if hasEpoch {
		r.Epoch = &epoch
	}
	return r
}

func objectAddr(ref treeobj.Ref) string { return addrObjects + ref.String() }

// rowAddr is the address of a row of objects by its row id, for rows whose key is not to be trusted.
func rowAddr(rowID int64) string { return addrRowID + strconv.FormatInt(rowID, 10) }

// checkpointAddr is the address of a row of checkpt_v2.
func checkpointAddr(id int64) string { return addrCheckpoint + strconv.FormatInt(id, 10) }

// refOfAddr is the inverse of objectAddr.
func refOfAddr(addr string) (treeobj.Ref, bool) {
	ref, err := treeobj.ParseRef(strings.TrimPrefix(addr, addrObjects))
	return ref, err == nil && strings.HasPrefix(addr, addrObjects)
}
