package mdtrecord

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
	KindBlocks  = "blocks"
	KindMark    = "mark"
	KindDeleted = "deleted"
	KindGroup   = "group"
	KindFree    = "free"
	KindQuota   = "quota"
)

// Words for marks.
const (
	MarkFree  = "free"
	MarkUsed  = "in use"
	MarkMixed = "mixed"
)

// GroupCounts is the content of the counts of a group, FreeCounts of those of the superblock.
type GroupCounts struct {
	FreeBlocks uint32 `json:"free_blocks"`
	FreeInodes uint32 `json:"free_inodes"`
	Dirs       uint32 `json:"directories"`
}

type FreeCounts struct {
	Blocks uint64 `json:"free_blocks"`
	Inodes uint32 `json:"free_inodes"`
}

// QuotaUsage is the usage of one id.
type QuotaUsage struct {
	Inodes uint64 `json:"inodes"`
	Bytes  uint64 `json:"bytes"`
}

// Account is the address of such a record, taken apart. Of the fields only those of its kind count.
type Account struct {
	Kind        string         // KindBlocks and so on
	From, Count uint64         // of blocks
	Number      uint32         // of an inode or a group; the id of a quota
	Quota       ext4quota.Kind // whose
}

// String is the address.
func (a Account) String() string {
	switch a.Kind {
	case KindBlocks:
		return fmt.Sprintf("%s/%d-%d", KindBlocks, a.From, a.From+a.Count-1)
	case KindFree:
		return KindFree + "/superblock"
	case KindQuota:
		return fmt.Sprintf("%s/%s/%d", KindQuota, a.Quota, a.Number)
	}
	return fmt.Sprintf("%s/%d", a.Kind, a.Number)
}

// isAccount tells whether an address is that of such a record.
func isAccount(addr string) bool {
	switch KindOf(addr) {
	case KindBlocks, KindMark, KindDeleted, KindGroup, KindFree, KindQuota:
		return true
	}
	return false
}

// parseAccount takes an address apart. What it accepts it would write in the same way.
func parseAccount(addr string) (a Account, err error) {
	var rest string
	a.Kind, rest, _ = strings.Cut(addr, "/")
	num := func(s string, bits int) uint64 {
		n, e := strconv.ParseUint(s, 10, bits)
		if e != nil {
			err = e
		}
		return n
	}
	switch a.Kind {
	case KindBlocks:
		first, last, _ := strings.Cut(rest, "-")
		a.From = num(first, 63)
		if to := num(last, 63); to < a.From {
			err = strconv.ErrRange
		} else {
			a.Count = to - a.From + 1
		}
	case KindQuota:
		kind, id, _ := strings.Cut(rest, "/")
		if a.Quota, err = ext4quota.ParseKind(kind); err == nil {
			a.Number = uint32(num(id, 32))
		}
	case KindMark, KindDeleted, KindGroup:
		a.Number = uint32(num(rest, 32))
	}
	if err != nil || !isAccount(addr) || a.String() != addr {
		return a, fmt.Errorf("bad address of a record: %q", addr)
	}
	return a, nil
}

// readAccount gives the content of such a record, nil if a quota file has no entry for the id.
func (s *Set) readAccount(mdt int, addr string) (store.Bytes, error) {
	a, err := parseAccount(addr)
	if err != nil {
		return nil, err
	}
	e := s.edits[mdt]
	switch a.Kind {
	case KindBlocks:
		is, err := e.Marked(a.From, a.Count)
		return store.Bytes([]string{ext4edit.BitsFree: MarkFree, ext4edit.BitsUsed: MarkUsed, ext4edit.BitsMixed: MarkMixed}[is]), err
	case KindMark:
		used, err := e.InUse(a.Number)
		if used {
			return store.Bytes(MarkUsed), err
		}
		return store.Bytes(MarkFree), err
	case KindDeleted:
		n, err := e.DeletedLinks(a.Number)
		return store.Bytes(strconv.Itoa(int(n))), err
	case KindGroup:
		c, err := e.GroupCounts(a.Number)
		return Encode(GroupCounts(c)), err
	case KindFree:
		blocks, inodes, err := e.Free()
		return Encode(FreeCounts{blocks, inodes}), err
	}
	u, ok, err := e.QuotaUsage(a.Quota, a.Number)
	if !ok || err != nil {
		return nil, err
	}
	return Encode(QuotaUsage(u)), nil
}

// writeAccount makes such a record what after says.
func (s *Set) writeAccount(mdt int, addr string, after store.Bytes) error {
	a, err := parseAccount(addr)
	if err != nil {
		return err
	}
	e := s.edits[mdt]
	mark := string(after)
	switch {
	case a.Kind == KindBlocks && (mark == MarkFree || mark == MarkUsed):
		return e.Mark(a.From, a.Count, mark == MarkUsed)
	case a.Kind == KindMark && mark == MarkUsed:
		return e.RestoreInode(a.Number)
	case a.Kind == KindMark && mark == MarkFree:
		return e.ReleaseInode(a.Number)
	case a.Kind == KindDeleted && mark == "0":
		return e.DropLinks(a.Number)
	case a.Kind == KindGroup:
		var rec GroupCounts
		if err := json.Unmarshal(after, &rec); err != nil {
			return err
		}
		return e.SetGroupCounts(a.Number, ext4edit.GroupCounts(rec))
	case a.Kind == KindFree:
		var rec FreeCounts
		if err := json.Unmarshal(after, &rec); err != nil {
			return err
		}
		return e.SetFree(rec.Blocks, rec.Inodes)
	case a.Kind == KindQuota && after != nil:
		var rec QuotaUsage
		if err := json.Unmarshal(after, &rec); err != nil {
			return err
		}
		return e.SetQuotaUsage(a.Quota, a.Number, ext4quota.Usage(rec))
	}
	return fmt.Errorf("record %s cannot become %q", addr, after)
}
