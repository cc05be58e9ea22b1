package fluxlab

import (
	"encoding/hex"
	"slices"

	"fettle/internal/lab"
)

// drop deletes the rows of blobs.
func (p *patient) drop(s *surgeon, d *lab.Done, hashes []string) error {
	for _, h := range hashes {
		if err := s.exec("DELETE FROM objects WHERE rowid=?1", p.rowOf(h)); err != nil {
			return err
		}
		d.Add("deleted %s", blobref(h))
	}
	return nil
}

func (p *patient) dropValues(s *surgeon, d *lab.Done) error {
	return p.drop(s, d, p.pick(d.Injury, p.valueBlobs()))
}

func (p *patient) dropDirs(s *surgeon, d *lab.Done) error {
	return p.drop(s, d, p.pick(d.Injury, p.dirBlobs()))
}

func (p *patient) dropRoot(s *surgeon, d *lab.Done) error {
	return p.drop(s, d, []string{p.root})
}

func (p *patient) dropRandom(s *surgeon, d *lab.Done) error {
	return p.drop(s, d, p.pick(d.Injury, p.whole.order))
}

func (p *patient) dropOldRoots(s *surgeon, d *lab.Done) error {
	var old []string
	for _, c := range p.whole.checkpt {
		h, _ := c.root()
		_, dir := p.before.dirs[h]
		if h != "" && h != p.root && !dir && !slices.Contains(old, h) {
			old = append(old, h)
		}
	}
	for i, h := range p.pick(d.Injury, old) {
		if i%2 == 1 {
			if err := p.change(s, d, h, p.rnd.IntN(2)); err != nil {
				return err
			}
			continue
		}
		if err := p.drop(s, d, []string{h}); err != nil {
			return err
		}
	}
	return nil
}

// changeContent takes values and directories alike.
func (p *patient) changeContent(s *surgeon, d *lab.Done) error {
	for i, h := range p.pick(d.Injury, append(p.valueBlobs(), p.dirBlobs()...)) {
		if err := p.change(s, d, h, i); err != nil {
			return err
		}
	}
	return nil
}

// change gives a row content that does not hash to its key. Kinds 0 and 1 flip a bit, 2 puts other content, 3 none.
func (p *patient) change(s *surgeon, d *lab.Done, hash string, kind int) error {
	content, err := p.whole.content(p.rowOf(hash))
	if err != nil {
		return err
	}
	switch {
	case len(content) == 0 || kind%4 == 2:
		content = prose(p.rnd, 40+len(content)%1000)
		d.Add("exchanged the content of %s", blobref(hash))
	case kind%4 == 3:
		content = nil
		d.Add("emptied %s", blobref(hash))
	default:
		bit := p.rnd.IntN(8 * len(content))
		content[bit/8] ^= 1 << (bit % 8)
		d.Add("flipped bit %d of byte %d of %s", bit%8, bit/8, blobref(hash))
	}
	return s.replace(p.rowOf(hash), content)
}

func (p *patient) breakRows(s *surgeon, d *lab.Done) error {
	for i, h := range p.pick(d.Injury, append(p.valueBlobs(), p.dirBlobs()...)) {
		if err := p.breakRow(s, d, h, i); err != nil {
			return err
		}
	}
	return nil
}

// breakRow makes a row that cannot be decoded.
func (p *patient) breakRow(s *surgeon, d *lab.Done, hash string, kind int) error {
	id, ref := p.rowOf(hash), blobref(hash)
	content, err := p.whole.content(id)
	if err != nil {
		return err
	}
	compressed := len(content) >= compressFrom
	switch {
	case kind%3 == 0 && compressed:
		d.Add("cut the LZ4 block of %s in half", ref)
		return s.exec("UPDATE objects SET object=substr(object,1,length(object)/2) WHERE rowid=?1", id)
	case kind%3 == 1:
		d.Add("set the object of %s to NULL", ref)
		return s.exec("UPDATE objects SET object=NULL WHERE rowid=?1", id)
	case compressed:
		d.Add("made the size of %s one larger", ref)
		return s.exec("UPDATE objects SET size=size+1 WHERE rowid=?1", id)
	}
	d.Add("set the size of %s, which is not compressed, to %d", ref, len(content))
	return s.exec("UPDATE objects SET size=?1 WHERE rowid=?2", int64(len(content)), id)
}

func (p *patient) breakOrphans(s *surgeon, d *lab.Done) error {
	for i, h := range p.pick(d.Injury, p.orphanBlobs()) {
		make := p.change
		if i%2 == 1 {
			make = p.breakRow
		}
		if err := make(s, d, h, i/2); err != nil {
			return err
		}
	}
	return nil
}

func (p *patient) blobKeys(s *surgeon, d *lab.Done) error {
	for _, h := range p.pick(d.Injury, append(p.valueBlobs(), p.dirBlobs()...)) {
		if err := s.exec("UPDATE objects SET hash=CAST(hash AS BLOB) WHERE rowid=?1", p.rowOf(h)); err != nil {
			return err
		}
		d.Add("stored the key X'%s' as BLOB", hex.EncodeToString([]byte(h)))
	}
	return nil
}

func (p *patient) twins(s *surgeon, d *lab.Done) error {
	for _, h := range p.pick(d.Injury, p.valueBlobs()) {
		if err := s.exec("INSERT INTO objects (hash,size,object) SELECT CAST(hash AS BLOB),size,object FROM objects WHERE rowid=?1", p.rowOf(h)); err != nil {
			return err
		}
		d.Add("added a second row for %s", blobref(h))
	}
	return nil
}
