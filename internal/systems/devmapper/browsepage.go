package devmapper

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	"fettle/internal/fault"
	"fettle/internal/format/quietfile"
	"fettle/internal/format/thinmeta"
	"fettle/internal/store"
)

// Parts of a bolt page (go.etcd.io/bbolt internal/common/page.go): a header of 16 bytes, then elements of 16.
const (
	boltHeader   = 16
	boltBranch   = 0x01
	boltLeaf     = 0x02
	boltMeta     = 0x04
	boltFreelist = 0x10
	boltElement  = 16
	// maxOverflow bounds how many pages behind the first one are read for its elements.
	maxOverflow = 255
)

func (v *view) cmdPage(ctx context.Context, c store.BrowseCall) error {
	n, err := strconv.ParseUint(c.Args[1], 10, 48)
	if err != nil {
		return fault.NewUsage(fmt.Errorf("%q is no number of a page", c.Args[1]), "pages are counted from 0")
	}
	if l := v.layer(c.Args[0]); l != nil {
		return v.boltPage(l, n, c.Out)
	}
	name := strings.TrimPrefix(c.Args[0], "/files/")
	if v.u.thin != nil && (name == "thin" || name == filepath.Base(v.u.thinPath())) {
		r, ok := v.u.thin.pool.(interface {
			ReadBlock(buf []byte, block uint64) error
		})
		if !ok {
			return errors.New("XML has no blocks")
		}
		buf := make([]byte, thinmeta.BlockSize)
		if err := r.ReadBlock(buf, n); err != nil {
			return err
		}
		return thinPage(buf, n, c.Out)
	}
	return fault.NewUsage(fmt.Errorf("no file %q", c.Args[0]), "ls /files lists them")
}

// boltPage shows a page of a database.
func (v *view) boltPage(l *boltLayer, n uint64, w io.Writer) error {
	size := int64(l.file.PageSize())
	if n > uint64(l.file.Size()/size) {
		return fmt.Errorf("%s has %d pages of %d bytes; there is no page %d", l.target, l.file.Size()/size, size, n)
	}
	f, _, err := quietfile.Open(l.read, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	page := make([]byte, size)
	got, err := f.ReadAt(page, int64(n)*size)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	page = page[:got]
	if len(page) < boltHeader {
		return store.Partial("page %d: the file ends at byte %d", n, l.file.Size())
	}
	le := binary.LittleEndian
	id, flags, count, overflow := le.Uint64(page), le.Uint16(page[8:]), le.Uint16(page[10:]), le.Uint32(page[12:])
	fmt.Fprintf(w, "page %d (offset %d): says it is page %d, %s, %d elements, %d overflow pages\n", n, int64(n)*size, id, pageKind(flags), count, overflow)
	if overflow > 0 {
		more := make([]byte, int64(min(overflow, maxOverflow))*size)
		got, err := f.ReadAt(more, int64(n+1)*size)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		page = append(page, more[:got]...)
	}
	switch flags {
	case boltLeaf, boltBranch:
		return pageElements(page, flags == boltLeaf, int(count), w)
	case boltMeta:
		for _, m := range l.file.Metas() {
			if m.Page == n {
				fmt.Fprintf(w, "valid %t  version %d  page size %d  root page %d  freelist page %d  high water %d  transaction %d  checksum %016x\n", m.Valid,
					m.Version, m.PageSize, m.Root, m.Freelist, m.HighWater, m.Txid, m.Checksum)
				if m.Why != "" {
					fmt.Fprintln(w, m.Why)
				}
				return nil
			}
		}
	case boltFreelist:
		return pageFreelist(page, int(count), w)
	}
	return dumpHex(page[:min(int64(len(page)), size)], w)
}

func pageKind(flags uint16) string {
	switch flags {
	case boltLeaf:
		return "leaf"
	case boltBranch:
		return "branch"
	case boltMeta:
		return "meta"
	case boltFreelist:
		return "freelist"
	}
	return fmt.Sprintf("flags 0x%x", flags)
}

// pageElements lists the elements of a leaf or branch, each with why it cannot be right.
func pageElements(page []byte, leaf bool, count int, w io.Writer) error {
	le := binary.LittleEndian
	for i := range count {
		at := boltHeader + i*boltElement
		if at+boltElement > len(page) {
			return store.Partial("element %d and those after it lie outside of the page", i)
		}
		e := page[at:]
		var pos, ksize, vsize uint32
		text := ""
		if leaf {
			pos, ksize, vsize = le.Uint32(e[4:]), le.Uint32(e[8:]), le.Uint32(e[12:])
			if f := le.Uint32(e); f == 1 {
				text = "bucket"
			} else if f != 0 {
				text = fmt.Sprintf("flags 0x%x", f)
			}
		} else {
			pos, ksize = le.Uint32(e), le.Uint32(e[4:])
			text = fmt.Sprintf("-> page %d", le.Uint64(e[8:]))
		}
		begin := uint64(at) + uint64(pos)
		end := begin + uint64(ksize) + uint64(vsize)
		if end > uint64(len(page)) {
			fmt.Fprintf(w, "%4d  at %d, %d + %d bytes: outside of the page\n", i, begin, ksize, vsize)
			continue
		}
		key, value := page[begin:begin+uint64(ksize)], page[begin+uint64(ksize):end]
		line := fmt.Sprintf("%4d  at %-6d %s", i, begin, formatName(string(key)))
		switch {
		case !leaf:
			line += " " + text
		case text == "bucket" && len(value) >= 16:
			line += fmt.Sprintf(" = bucket, root page %d, sequence %d", le.Uint64(value), le.Uint64(value[8:]))
		default:
			line += " = " + strings.TrimLeft(text+" ", " ") + showBytes(value)
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

func pageFreelist(page []byte, count int, w io.Writer) error {
	le := binary.LittleEndian
	ids := page[boltHeader:]
	if count == 0xffff && len(ids) >= 8 { // the number does not fit in the header: it stands before the ids
		n := le.Uint64(ids)
		ids = ids[8:]
		count = int(min(n, uint64(len(ids)/8)))
	}
	for i := range min(count, len(ids)/8) {
		sep := " "
		if i%12 == 11 || i == min(count, len(ids)/8)-1 {
			sep = "\n"
		}
		if _, err := fmt.Fprintf(w, "%d%s", le.Uint64(ids[8*i:]), sep); err != nil {
			return err
		}
	}
	if count > len(ids)/8 {
		return store.Partial("the list has %d pages, and room for %d", count, len(ids)/8)
	}
	return nil
}

// thinPage shows a block of the thin metadata. What it is, only its checksum tells.
func thinPage(b []byte, n uint64, w io.Writer) error {
	le := binary.LittleEndian
	sum := le.Uint32(b)
	names := map[thinmeta.Kind]string{thinmeta.KindSuperblock: "superblock", thinmeta.KindNode: "node", thinmeta.KindBitmap: "bitmap", thinmeta.KindIndex: "index"}
	what := ""
	for k, name := range names {
		if thinmeta.Checksum(k, b) == sum {
			what = name
		}
	}
	switch what {
	case "":
		fmt.Fprintf(w, "block %d: its checksum %08x fits nothing\n", n, sum)
	case "superblock":
		fmt.Fprintf(w, "block %d: superblock\n", n)
		for _, f := range superText(thinmeta.DecodeSuperblock(b), nil) {
			fmt.Fprintf(w, "%-22s %s\n", f.Name, f.Value)
		}
		return nil
	case "node":
		return thinNode(b, n, w)
	default:
		fmt.Fprintf(w, "block %d: %s of block %d\n", n, what, le.Uint64(b[8:]))
	}
	return dumpHex(b, w)
}

// thinNode lists the entries of a btree node: checksum u32, flags u32, block u64, entries u32, maximum u32, size of values u32, padding,
// keys u64, values (kernel, persistent-data/dm-btree-internal.h).
func thinNode(b []byte, n uint64, w io.Writer) error {
	le := binary.LittleEndian
	flags, block, have, room, size := le.Uint32(b[4:]), le.Uint64(b[8:]), int(le.Uint32(b[16:])), int(le.Uint32(b[20:])), int(le.Uint32(b[24:]))
	kind := map[uint32]string{1: "internal", 2: "leaf"}[flags&3]
	fmt.Fprintf(w, "block %d: %s node, says it is block %d, %d of %d entries, values of %d bytes\n", n, kind, block, have, room, size)
	if have > room || size <= 0 || size > 64 || room > (len(b)-32)/(8+size) {
		return dumpHex(b, w)
	}
	for i := range have {
		value := b[32+8*room+i*size:][:size]
		text := hex.EncodeToString(value)
		if size == 8 {
			v := le.Uint64(value)
			text = strconv.FormatUint(v, 10)
			if flags&2 != 0 && v>>24 != 0 {
				text += fmt.Sprintf(" (as a mapping: data block %d, time %d)", v>>24, v&0xffffff)
			}
		}
		if _, err := fmt.Fprintf(w, "%4d  %d = %s\n", i, le.Uint64(b[32+8*i:]), text); err != nil {
			return err
		}
	}
	return nil
}

// dumpHex shows bytes; lines of zeros only are left out.
func dumpHex(b []byte, w io.Writer) error {
	for i := 0; i < len(b); i += 16 {
		line := b[i:min(i+16, len(b))]
		if strings.Trim(string(line), "\x00") == "" {
			continue
		}
		if _, err := fmt.Fprintf(w, "%06x  % x\n", i, line); err != nil {
			return err
		}
	}
	return nil
}
