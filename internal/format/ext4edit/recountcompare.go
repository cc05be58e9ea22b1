package ext4edit

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"fettle/internal/format/ext4"
	"fettle/internal/format/ext4quota"
)

// diff is where bitmaps and inodes differ.
type diff struct {
	set, give []BlockRun
	inodes    []uint32
}

// compare finds what bitmaps and counts should be.
func (c *counter) compare() error {
	var d diff
	for g := range c.fs.Groups() {
		if err := c.group(g, &d); err != nil {
			return err
		}
	}
	if len(d.set) > maxRuns {
		return damaged("more than %d runs of blocks are in use and marked as free", maxRuns)
	}
	c.out.Blocks = d.set
	if c.out.Kept == "" {
		room := maxRuns - len(d.set)
		if len(d.give) > room {
			c.out.Notes = append(c.out.Notes, fmt.Sprintf("%d runs of blocks belong to nothing; %d are given back now, the rest by the next repair", len(d.give), room))
			d.give = d.give[:room]
		}
		c.out.Blocks = append(c.out.Blocks, d.give...)
		c.out.Inodes = d.inodes[:min(len(d.inodes), maxRuns)]
		c.out.Deleted = c.deleted
	}
	return c.counts()
}

// group compares the bitmaps of one group.
func (c *counter) group(g uint32, d *diff) error {
	have, err := c.e.blockBits(g)
	if err != nil {
		return err
	}
	want, first := c.blocks.group(g), c.e.sb.GroupFirstBlock(g)
	add := func(list *[]BlockRun, b uint64, used bool) {
		if n := len(*list); n > 0 && (*list)[n-1].From+(*list)[n-1].N == b {
			(*list)[n-1].N++
			return
		}
		*list = append(*list, BlockRun{b, 1, used})
	}
	for i := range c.e.groupBlocks(g) {
		if i%8 == 0 && have[i/8] == want[i/8] {
			continue
		}
		switch h, w := getBit(have, i), getBit(want, i); {
		case w && !h:
			add(&d.set, first+uint64(i), true)
		case h && !w:
			add(&d.give, first+uint64(i), false)
		}
	}
	if err := c.neverUsed(g); err != nil {
		return err
	}
	empty := c.empty.group(g)
	for i := range c.e.sb.InodesPerGroup {
		if getBit(empty, int(i)) {
			d.inodes = append(d.inodes, g*c.e.sb.InodesPerGroup+i+1)
		}
	}
	return nil
}

// neverUsed looks for inodes that are marked as in use where the group says that none ever was: the sweep does not go there.
func (c *counter) neverUsed(g uint32) error {
	d, err := c.e.group(g)
	if err != nil || !c.e.usesUninit() || d.Flags&ext4.GroupInodeUninit != 0 {
		return err
	}
	if err := c.e.loadInodes(d); err != nil {
		return err
	}
	per := int(c.e.sb.InodesPerGroup)
	from := per - min(int(d.ItableUn), per)
	if used := per - from - int(zeros(d.inodes, per)-zeros(d.inodes, from)); used > 0 {
		c.keep("%d inodes of group %d are marked as in use behind the end of the used part of its table", used, g)
	}
	return nil
}

// counts works out the counts that follow from the bitmaps as they become.
func (c *counter) counts() error {
	delta := make([]int64, c.fs.Groups()) // of free blocks
	for _, r := range c.out.Blocks {
		err := c.e.perGroup(r.From, r.N, func(g uint32, _, n int) error {
			if r.Used {
				n = -n
			}
			delta[g] += int64(n)
			return nil
		})
		if err != nil {
			return err
		}
	}
	freed := make([]uint32, c.fs.Groups())
	for _, ino := range c.out.Inodes {
		freed[(ino-1)/c.e.sb.InodesPerGroup]++
	}
	var free FreeCount
	for g := range c.fs.Groups() {
		have, err := c.e.GroupCounts(g)
		if err != nil {
			return err
		}
		blocks, err := c.e.blockBits(g)
		if err != nil {
			return err
		}
		inodes, err := c.freeInodes(g)
		if err != nil {
			return err
		}
		want := GroupCounts{FreeBlocks: uint32(int64(zeros(blocks, c.e.groupBlocks(g))) + delta[g]), FreeInodes: inodes + freed[g]}
		want.Dirs = min(have.Dirs, c.e.sb.InodesPerGroup-want.FreeInodes)
		if c.out.Kept == "" {
			want.Dirs = c.dirs[g]
		}
		if have != want {
			c.out.Groups = append(c.out.Groups, GroupCount{g, have, want})
		}
		free.Blocks += uint64(want.FreeBlocks)
		free.Inodes += want.FreeInodes
	}
	blocks, inodes, err := c.e.Free()
	if err == nil && (blocks != free.Blocks || inodes != free.Inodes) {
		c.out.Super = &free
	}
	return err
}

// freeInodes counts the inodes of a group that are marked as free.
func (c *counter) freeInodes(g uint32) (uint32, error) {
	d, err := c.e.group(g)
	if err != nil || d.Flags&ext4.GroupInodeUninit != 0 {
		return c.e.sb.InodesPerGroup, err
	}
	if err := c.e.loadInodes(d); err != nil {
		return 0, err
	}
	return zeros(d.inodes, int(c.e.sb.InodesPerGroup)), nil
}

// quota compares the usage with what the quota files say.
func (c *counter) quota() error {
	for k := range ext4quota.Kind(ext4quota.Kinds) {
		usage := c.usage[k]
		switch {
		case usage == nil:
			continue
		case c.out.Kept != "":
			c.out.Notes = append(c.out.Notes, fmt.Sprintf("%s quota was not counted: %s", k, c.out.Kept))
			continue
		}
		ids, err := c.e.QuotaIDs(k)
		if errors.Is(err, ErrDamaged) {
			c.out.Notes = append(c.out.Notes, fmt.Sprintf("%s quota was left as it is: %v", k, err))
			continue
		}
		if err != nil {
			return err
		}
		for _, id := range ids {
			if _, ok := usage[id]; !ok {
				usage[id] = QuotaUsage{}
			}
		}
		if err := c.quotaOf(k, usage); err != nil {
			return err
		}
	}
	return nil
}

// quotaOf lists the ids of one file whose usage is not what was counted.
func (c *counter) quotaOf(k ext4quota.Kind, usage map[uint32]QuotaUsage) error {
	listed, missing, passed := 0, 0, 0
	for _, id := range slices.Sorted(maps.Keys(usage)) {
		have, has, err := c.e.QuotaUsage(k, id)
		if err != nil {
			return err
		}
		want := usage[id]
		switch {
		case has && have == want:
			continue
		case listed == maxRuns || !has && missing == maxNewIDs:
			passed++
			continue
		case !has:
			missing++
		}
		listed++
		c.out.Quota = append(c.out.Quota, QuotaCount{k, id, has, have, want})
	}
	if passed > 0 {
		c.out.Notes = append(c.out.Notes, fmt.Sprintf("the %s quota of %d more ids is wrong or missing, and left to the next repair", k, passed))
	}
	return nil
}
