package thinmeta

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
)

// ReadXML reads what thin_dump wrote, of at most limit bytes (0: no limit). Malformed input, mappings out of order, and devices that
// come twice give an XMLError that says the line; what was read until then is returned with it.
func ReadXML(r io.Reader, limit int64) (*Dump, error) {
	if limit <= 0 {
		limit = 1<<63 - 1
	}
	p := &xmlParser{s: newScanner(r, limit), d: &Dump{}, defs: map[string]int{}, body: -1}
	err := p.run()
	d := p.d
	slices.SortStableFunc(d.byID, func(a, b dumpDevice) int { return cmp.Compare(a.id, b.id) })
	if err != nil {
		return d, fmt.Errorf("thin metadata as XML: %w", err)
	}
	return d, nil
}

// xmlParser turns tags into a Dump.
type xmlParser struct {
	s     *scanner
	d     *Dump
	defs  map[string]int // by name
	open  string         // name of the element whose content is read: "superblock", "device", "def", or "" before and after
	body  int            // that is filled
	state int            // 0 before the superblock, 1 in it, 2 behind it
}

// maxNesting is how deep definitions may refer to definitions.
const maxNesting = 64

func (p *xmlParser) run() error {
	seen := map[uint32]bool{}
	for {
		t, err := p.s.next()
		if errors.Is(err, io.EOF) {
			if p.state == 2 {
				return nil
			}
			return p.s.fail("the input ends before the superblock element does")
		}
		if err != nil {
			return err
		}
		if t.end {
			err = p.close(t.name)
		} else {
			err = p.element(t, seen)
		}
		if err != nil {
			return err
		}
	}
}

func (p *xmlParser) close(name string) error {
	switch {
	case p.open != name || name == "":
		return p.s.fail("</%s> has no beginning", name)
	case name == "superblock":
		p.open, p.state = "", 2
	default:
		p.open, p.body = "superblock", -1
	}
	return nil
}

// inside says in which element another one must be.
var inside = map[string]string{"superblock": "", "device": "superblock", "def": "superblock"}

func (p *xmlParser) element(t *tag, seen map[uint32]bool) error {
	switch name := t.name; name {
	case "superblock", "device", "def":
		if inside[name] != p.open || name == "superblock" && p.state != 0 {
			return p.s.fail("<%s> is not allowed here", name)
		}
		var err error
		switch name {
		case "superblock":
			p.state, err = 1, p.superblock()
		case "device":
			err = p.device(seen)
		default:
			err = p.define()
		}
		if err != nil {
			return err
		}
		p.open = name
		if t.empty {
			return p.close(name)
		}
		return nil
	case "single_mapping", "range_mapping", "ref":
		if p.body < 0 {
			return p.s.fail("<%s> is not allowed here", name)
		}
		if !t.empty {
			return p.s.fail("<%s> has content", name)
		}
		if name == "ref" {
			return p.refer()
		}
		return p.mapping(name == "single_mapping")
	default:
		return p.s.fail("unknown element <%s>", name)
	}
}

// fields reads numbers of the current tag.
type fields struct {
	s   *scanner
	err error
}

func (f *fields) get(name string, bits int) uint64 {
	if f.err != nil {
		return 0
	}
	n, err := f.s.number(name, bits)
	f.err = err
	return n
}

// or reads a number that may be missing.
func (f *fields) or(name string, bits int, otherwise uint64) uint64 {
	if _, ok := f.s.tag.raw(name); !ok {
		return otherwise
	}
	return f.get(name, bits)
}

func (p *xmlParser) superblock() error {
	f := fields{s: p.s}
	s := Superblock{Magic: Magic, MetaBlockSize: BlockSize / 512,
		Time: uint32(f.get("time", 32)), TransactionID: f.get("transaction", 64), Flags: uint32(f.or("flags", 32, 0)),
		Version: uint32(f.or("version", 32, Version)), DataBlockSize: uint32(f.get("data_block_size", 32)),
		HeldRoot: f.or("metadata_snap", 64, 0),
	}
	s.Data.Blocks = f.get("nr_data_blocks", 64)
	if uuid, ok := p.s.tag.text("uuid"); ok {
		if len(uuid) > len(s.UUID) {
			return p.s.fail("uuid has more than %d bytes", len(s.UUID))
		}
		copy(s.UUID[:], uuid)
	}
	p.d.super = s
	return f.err
}

func (p *xmlParser) device(seen map[uint32]bool) error {
	f := fields{s: p.s}
	id := uint32(f.get("dev_id", timeBits)) // ids have as many bits as times
	details := Details{MappedBlocks: f.get("mapped_blocks", 64), TransactionID: f.get("transaction", 64),
		CreationTime: uint32(f.get("creation_time", 32)), SnapshotTime: uint32(f.get("snap_time", 32))}
	if f.err != nil {
		return f.err
	}
	if seen[id] {
		return p.s.fail("device %d comes twice", id)
	}
	seen[id] = true
	p.begin()
	p.d.byID = append(p.d.byID, dumpDevice{id, details, p.body})
	return nil
}

func (p *xmlParser) define() error {
	name, ok := p.s.tag.text("name")
	if _, twice := p.defs[name]; !ok || twice {
		return p.s.fail("definition %q has no name or comes twice", name)
	}
	p.begin()
	p.defs[name] = p.body
	return nil
}

func (p *xmlParser) begin() {
	p.body = len(p.d.bodies)
	p.d.bodies = append(p.d.bodies, body{})
}

func (p *xmlParser) refer() error {
	name, _ := p.s.tag.text("name")
	def, ok := p.defs[name]
	if !ok || def == p.body {
		return p.s.fail("reference to %q, which is not defined before", name)
	}
	b, of := &p.d.bodies[p.body], &p.d.bodies[def]
	if len(of.segs) == 0 {
		return nil
	}
	if b.height = max(b.height, of.height+1); b.height > maxNesting {
		return p.s.fail("definitions are nested more than %d deep", maxNesting)
	}
	if err := p.follows(b, of.first); err != nil {
		return err
	}
	b.segs = append(b.segs, segment{def: def})
	b.next, b.full, b.mapped = of.next, of.full, b.mapped+of.mapped
	b.newest, b.outlaw = max(b.newest, of.newest), max(b.outlaw, of.outlaw)
	return nil
}

// follows checks that what begins at a virtual block comes behind everything that the body has, and notes where it begins.
func (p *xmlParser) follows(b *body, first uint64) error {
	if len(b.segs) == 0 {
		b.first = first
		return nil
	}
	if b.full || first < b.next {
		return p.s.fail("mapping of virtual block %d comes after that of block %d", first, b.next-1)
	}
	return nil
}

func (p *xmlParser) mapping(single bool) error {
	f := fields{s: p.s}
	r := Run{Length: 1}
	if single {
		r.Virtual, r.Data = f.get("origin_block", 64), f.get("data_block", 64-timeBits)
	} else {
		r.Virtual, r.Data, r.Length = f.get("origin_begin", 64), f.get("data_begin", 64-timeBits), f.get("length", 64)
	}
	r.Time = uint32(f.get("time", timeBits))
	if f.err != nil {
		return f.err
	}
	if r.Length == 0 || r.Length-1 > ^uint64(0)-r.Virtual || r.Length > 1<<(64-timeBits)-r.Data {
		return p.s.fail("mapping of %d blocks from virtual block %d to data block %d is not possible", r.Length, r.Virtual, r.Data)
	}
	d := p.d
	b := &d.bodies[p.body]
	if err := p.follows(b, r.Virtual); err != nil {
		return err
	}
	if n := len(b.segs); n == 0 || b.segs[n-1].def >= 0 {
		b.segs = append(b.segs, segment{def: -1, off: len(d.runs)})
	}
	d.runs = append(d.runs, r)
	b.segs[len(b.segs)-1].n++
	b.next = r.Virtual + r.Length
	b.full = b.next == 0
	b.mapped += r.Length
	b.newest = max(b.newest, r.Time)
	if end := r.Data + r.Length; end > d.super.Data.Blocks {
		b.outlaw = max(b.outlaw, end-1)
	}
	return nil
}
