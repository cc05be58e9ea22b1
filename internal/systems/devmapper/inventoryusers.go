package devmapper

import (
	"fmt"
	"slices"

	"fettle/internal/format/snapshotdb"
	"fettle/internal/say"
)

// Bounds on what is followed and listed, for files that are not what they should be.
const (
	maxImages = 64      // images that a row lists: layers of very many images are told by the first ones
	maxBlobs  = 10_000  // blobs that are followed from one image
	maxSteps  = 4 << 20 // blobs that are followed altogether
)

// users finds out what needs each row: containers, images, leases.
func (inv *Inventory) users() {
	m := inv.j.meta
	if m == nil {
		return
	}
	for i := range m.Containers {
		c := &m.Containers[i]
		if k, ok := inv.index.byEntry[nsKey{c.Namespace, c.SnapshotKey}]; ok {
			inv.Rows[k].Containers = append(inv.Rows[k].Containers, ContainerUse{c.Namespace, c.ID, c.Image})
		}
	}
	for i := range m.Leases {
		l := &m.Leases[i]
		for _, key := range l.Snapshots {
			if k, ok := inv.index.byEntry[nsKey{l.Namespace, key}]; ok {
				inv.Rows[k].Leases = append(inv.Rows[k].Leases, l.ID)
			}
		}
	}
	inv.images(m)
	inv.below()
}

// images follows the labels of content from every image to snapshots, as garbage collection does, and from there to the layers below.
func (inv *Inventory) images(m *snapshotdb.Meta) {
	byDigest := map[nsKey]int{}
	for i := range m.Contents {
		byDigest[nsKey{m.Contents[i].Namespace, m.Contents[i].Digest}] = i
	}
	steps := 0
	for i := range m.Images {
		img := &m.Images[i]
		seen := map[string]bool{img.Digest: true}
		todo := []string{img.Digest}
		for len(todo) > 0 && len(seen) < maxBlobs && steps < maxSteps {
			at, ok := byDigest[nsKey{img.Namespace, todo[len(todo)-1]}]
			todo = todo[:len(todo)-1]
			steps++
			if !ok {
				continue
			}
			c := &m.Contents[at]
			for _, key := range c.Snapshots {
				if k, ok := inv.index.byEntry[nsKey{img.Namespace, key}]; ok {
					inv.needs(k, ImageUse{img.Namespace, img.Name, true})
				}
			}
			for _, b := range c.Blobs {
				if !seen[b] {
					seen[b] = true
					todo = append(todo, b)
				}
			}
		}
	}
}

// needs notes that an image needs a row and all that it is made from. It ends at a row that lists the image or is full, so that it takes
// no more than maxImages steps for each row.
func (inv *Inventory) needs(k int, use ImageUse) {
	for ; k >= 0; k = inv.Rows[k].Up {
		r := &inv.Rows[k]
		at := slices.IndexFunc(r.Images, func(u ImageUse) bool { return u.Namespace == use.Namespace && u.Name == use.Name })
		if at >= 0 {
			r.Images[at].Top = r.Images[at].Top || use.Top
			return
		}
		if len(r.Images) >= maxImages {
			return
		}
		r.Images = append(r.Images, use)
		use.Top = false
	}
}

// below counts the containers above each layer. Rows in a circle of parents are left out.
func (inv *Inventory) below() {
	left := make([]int, len(inv.Rows)) // children that are not done
	var todo []int
	for i := range inv.Rows {
		if left[i] = len(inv.Rows[i].Children); left[i] == 0 {
			todo = append(todo, i)
		}
	}
	for len(todo) > 0 {
		r := &inv.Rows[todo[len(todo)-1]]
		todo = todo[:len(todo)-1]
		if r.Up < 0 {
			continue
		}
		inv.Rows[r.Up].Below += r.Below + len(r.Containers)
		if left[r.Up]--; left[r.Up] == 0 {
			todo = append(todo, r.Up)
		}
	}
}

// totals sums up the pool.
func (inv *Inventory) totals() {
	j, p := inv.j, &inv.Pool
	p.Name, p.Live = j.poolName, j.live
	if j.store != nil {
		p.Snapshots = len(j.store.Snapshots)
	}
	if j.pool != nil {
		p.Records = len(j.pool.Devices)
	}
	for i := range inv.Rows {
		if r := &inv.Rows[i]; r.Leaked {
			p.Leaked++
			if r.Exclusive != nil {
				p.Reclaimable += *r.Exclusive
			}
		}
	}
	for i := range inv.found {
		if inv.counts(i) {
			p.Findings++
		}
	}
	if j.thin == nil {
		return
	}
	rep := j.thin.report
	p.ThinDevices = len(rep.Devices)
	put := func(at **uint64, v uint64) { *at = &v }
	block := inv.blockBytes()
	if block == 0 {
		return
	}
	put(&p.BlockSize, block)
	put(&p.TransactionID, rep.Super.TransactionID)
	if !j.thin.xml && rep.DataBlocks > 0 {
		put(&p.DataUsed, max(rep.DataAllocated, rep.DataUsed)*block)
		put(&p.DataTotal, rep.DataBlocks*block)
		put(&p.MetadataUsed, max(rep.MetadataAllocated, rep.MetadataUsed)*thinBlock)
		put(&p.MetadataTotal, rep.MetadataBlocks*thinBlock)
	}
}

// thinBlock is the size of a metadata block in bytes.
const thinBlock = 4096

// layerNotes says which layers are missing or damaged.
func (u *unit) layerNotes() []string {
	var out []string
	for _, l := range []struct{ path, what string }{{u.meta, "meta.db"}, {u.store, "metadata.db"}, {u.pool, "the pool database"}} {
		if l.path == "" {
			out = append(out, l.what+" is not there: what it would say is left out")
		}
	}
	if u.thin == nil {
		out = append(out, "the thin metadata is left out: "+u.thinUnseen())
	}
	for _, b := range u.bolts {
		if !b.whole() && len(b.report.Problems) > 0 {
			out = append(out, fmt.Sprintf("%s is damaged (%s): what could be read is shown; first: %s", b.target, say.Count(len(b.report.Problems)+b.report.More, "problem"), b.report.Problems[0]))
		}
	}
	if t := u.thin; t != nil {
		switch {
		case t.broken != nil:
			out = append(out, fmt.Sprintf("the thin metadata in XML ends early: %v", t.broken))
		case !t.xml && (!t.whole || !t.report.Complete):
			out = append(out, "the thin metadata is damaged: devices or mapped bytes are missing from what is shown")
		}
	}
	return out
}
