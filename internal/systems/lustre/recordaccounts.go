package lustre

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"fettle/internal/format/ext4edit"
	"fettle/internal/format/ext4quota"
	"fettle/internal/store"
)

// Records of what ldiskfs keeps about itself, by the begin of their address. They are apart from those about the namespace.
//
//	blocks/FIRST-LAST    what the block bitmaps say of a run of blocks: "in use", "free" or "mixed"
//	mark/INODE           what the inode bitmap says of an inode that holds nothing, or that is whole and marked as free
//	deleted/INODE        links that are left in an inode that was deleted
//	group/NUMBER         how many free blocks, free inodes and directories a group says it has
//	free/superblock      how many free blocks and inodes the superblock says there are
//	quota/KIND/ID        usage of a user, group or project
const (
	recBlocks = "blocks"
	recMark   = "mark"
	recDelete = "deleted"
	recGroup  = "group"
	recFree   = "free"
	recQuota  = "quota"
)

// Words for marks.
const (
	markFree  = "free"
	markUsed  = "in use"
	markMixed = "mixed"
)

// groupRecord is the content of the counts of a group, freeRecord of those of the superblock.
type groupRecord struct {
	FreeBlocks uint32 `json:"free_blocks"`
	FreeInodes uint32 `json:"free_inodes"`
	Dirs       uint32 `json:"directories"`
}

type freeRecord struct {
	Blocks uint64 `json:"free_blocks"`
	Inodes uint32 `json:"free_inodes"`
}

// quotaRecord is the usage of one id.
type quotaRecord struct {
	Inodes uint64 `json:"inodes"`
	Bytes  uint64 `json:"bytes"`
}

// account is the address of such a record, taken apart.
type account struct {
	rec     string
	from, n uint64 // blocks
	num     uint32 // inode, group, id
	kind    ext4quota.Kind
}

func (a account) String() string {
	switch a.rec {
	case recBlocks:
		return fmt.Sprintf("%s/%d-%d", recBlocks, a.from, a.from+a.n-1)
	case recFree:
		return recFree + "/superblock"
	case recQuota:
		return fmt.Sprintf("%s/%s/%d", recQuota, a.kind, a.num)
	}
	return fmt.Sprintf("%s/%d", a.rec, a.num)
}

// isAccount tells whether an address is that of such a record.
func isAccount(addr string) bool {
	switch rec, _, _ := strings.Cut(addr, "/"); rec {
	case recBlocks, recMark, recDelete, recGroup, recFree, recQuota:
		return true
	}
	return false
}

// parseAccount takes an address apart. What it accepts it would write in the same way.
func parseAccount(addr string) (a account, err error) {
	var rest string
	a.rec, rest, _ = strings.Cut(addr, "/")
	num := func(s string, bits int) uint64 {
		n, e := strconv.ParseUint(s, 10, bits)
		if e != nil {
			err = e
		}
		return n
	}
	switch a.rec {
	case recBlocks:
		first, last, _ := strings.Cut(rest, "-")
		a.from = num(first, 63)
		if to := num(last, 63); to < a.from {
			err = strconv.ErrRange
		} else {
			a.n = to - a.from + 1
		}
	case recQuota:
		kind, id, _ := strings.Cut(rest, "/")
		if a.kind, err = ext4quota.ParseKind(kind); err == nil {
			a.num = uint32(num(id, 32))
		}
	case recMark, recDelete, recGroup:
		a.num = uint32(num(rest, 32))
	}
	if err != nil || !isAccount(addr) || a.String() != addr {
		return a, fmt.Errorf("bad address of a record: %q", addr)
	}
	return a, nil
}

// readAccount gives the content of such a record, nil if a quota file has no entry for the id.
func (b *bench) readAccount(mdt int, addr string) (store.Bytes, error) {
	a, err := parseAccount(addr)
	if err != nil {
		return nil, err
	}
	e := b.edits[mdt]
	switch a.rec {
	case recBlocks:
		is, err := e.Marked(a.from, a.n)
		return store.Bytes([]string{ext4edit.BitsFree: markFree, ext4edit.BitsUsed: markUsed, ext4edit.BitsMixed: markMixed}[is]), err
	case recMark:
		used, err := e.InUse(a.num)
		if used {
			return store.Bytes(markUsed), err
		}
		return store.Bytes(markFree), err
	case recDelete:
		n, err := e.DeletedLinks(a.num)
		return store.Bytes(strconv.Itoa(int(n))), err
	case recGroup:
		c, err := e.GroupCounts(a.num)
		return encode(groupRecord(c)), err
	case recFree:
		blocks, inodes, err := e.Free()
		return encode(freeRecord{blocks, inodes}), err
	}
	u, ok, err := e.QuotaUsage(a.kind, a.num)
	if !ok || err != nil {
		return nil, err
	}
	return encode(quotaRecord(u)), nil
}

// writeAccount makes such a record what after says.
func (b *bench) writeAccount(mdt int, addr string, after store.Bytes) error {
	a, err := parseAccount(addr)
	if err != nil {
		return err
	}
	e := b.edits[mdt]
	mark := string(after)
	switch {
	case a.rec == recBlocks && (mark == markFree || mark == markUsed):
		return e.Mark(a.from, a.n, mark == markUsed)
	case a.rec == recMark && mark == markUsed:
		return e.RestoreInode(a.num)
	case a.rec == recMark && mark == markFree:
		return e.ReleaseInode(a.num)
	case a.rec == recDelete && mark == "0":
		return e.DropLinks(a.num)
	case a.rec == recGroup:
		var rec groupRecord
		if err := json.Unmarshal(after, &rec); err != nil {
			return err
		}
		return e.SetGroupCounts(a.num, ext4edit.GroupCounts(rec))
	case a.rec == recFree:
		var rec freeRecord
		if err := json.Unmarshal(after, &rec); err != nil {
			return err
		}
		return e.SetFree(rec.Blocks, rec.Inodes)
	case a.rec == recQuota && after != nil:
		var rec quotaRecord
		if err := json.Unmarshal(after, &rec); err != nil {
			return err
		}
		return e.SetQuotaUsage(a.kind, a.num, ext4quota.Usage(rec))
	}
	return fmt.Errorf("record %s cannot become %q", addr, after)
}
