package fluxlab

import (
	"context"
	"fmt"

	"github.com/pierrec/lz4/v4"

	"fettle/internal/format/sqliteedit"
	"fettle/internal/format/treeobj"
)

// compressFrom is the length in bytes from which content-sqlite compresses, even when the result is longer.
const compressFrom = 256

// blobs writes rows of the objects table the way content-sqlite does. Errors are kept: see err.
type blobs struct {
	ctx   context.Context
	db    *sqliteedit.DB
	alg   treeobj.Alg
	sql   string
	epoch int64 // -1: the table has no such column
	rows  int64
	err   error // the first error; nothing is written after it

	lz  lz4.Compressor
	buf []byte
}

func newBlobs(ctx context.Context, db *sqliteedit.DB, alg treeobj.Alg, withEpoch bool) *blobs {
	b := &blobs{ctx: ctx, db: db, alg: alg, epoch: -1, sql: "INSERT OR IGNORE INTO objects (hash,size,object) VALUES (?1,?2,?3)"}
	if withEpoch {
		b.epoch, b.sql = 0, "INSERT OR IGNORE INTO objects (hash,size,object,epoch) VALUES (?1,?2,?3,?4)"
	}
	return b
}

// ref names content without storing it.
func (b *blobs) ref(content []byte) treeobj.Ref { return treeobj.Hash(b.alg, content) }

// put stores content unless it is there already. The key is bound as TEXT, as Flux does.
func (b *blobs) put(content []byte) {
	if b.err != nil {
		return
	}
	size, stored := stored(&b.lz, &b.buf, content)
	args := append(make([]any, 0, 4), string(b.ref(content).Sum()), size, stored)
	if b.epoch >= 0 {
		args = append(args, b.epoch)
	}
	if err := b.db.Exec(b.sql, args...); err != nil {
		b.err = fmt.Errorf("store a blob of %d bytes: %w", len(content), err)
		return
	}
	b.rows += b.db.Changes()
	if b.rows&1023 == 0 {
		b.err = b.ctx.Err()
	}
}

// stored is the form of content in the object column, and the value of the size column. The result lives in buf or is
// content itself.
func stored(lz *lz4.Compressor, buf *[]byte, content []byte) (size int64, object []byte) {
	if len(content) < compressFrom {
		return -1, content
	}
	if bound := lz4.CompressBlockBound(len(content)); cap(*buf) < bound {
		*buf = make([]byte, bound)
	}
	n, err := lz.CompressBlock(content, (*buf)[:cap(*buf)])
	if err != nil || n == 0 {
		// With room for the bound a block always fits.
		panic(fmt.Sprintf("fluxlab: LZ4 of %d bytes: %d, %v", len(content), n, err))
	}
	return int64(len(content)), (*buf)[:n]
}
