package treeobj

import "bytes"

// Type is the type of a tree object. The zero value means "unknown".
type Type uint8

// The types of RFC 11 that Flux implements (hdir it does not).
const (
	TypeUnknown Type = iota
	TypeVal
	TypeValref
	TypeDir
	TypeDirref
	TypeSymlink
)

var typeNames = [...]string{"unknown", "val", "valref", "dir", "dirref", "symlink"}

// String is the name used in the JSON text, "unknown" for the zero value.
func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return "unknown"
}

func typeOf(name []byte) Type {
	for i := TypeVal; i <= TypeSymlink; i++ {
		if typeNames[i] == string(name) {
			return i
		}
	}
	return TypeUnknown
}

// MaxSize is the longest text the Scanner takes, in bytes. Flux itself cannot
// load a blob above 1 GiB.
const MaxSize = 1 << 30

// MaxBadEntries is how many malformed entries of one blob are given one by
// one; more are only counted in Tree.BadOmitted.
const MaxBadEntries = 1 << 16

// Entry is one tree object: a directory entry, or (Tree.Root) the object of
// the blob itself. All slices point into the scanned text (or, for a Name with
// escapes, to memory of its own) and stay valid as long as the text does.
type Entry struct {
	Name   []byte // decoded name, nil for the root
	Raw    []byte // the JSON text of the object
	Type   Type   // TypeUnknown if it could not be told
	Rule   Rule   // RuleNone: a good object
	Depth  int16  // 0: entry of the blob's own directory, +1 per inline directory
	Parent int32  // index in Tree.Entries of the inline dir that holds it, -1: the root
	Count  int32  // valref, dirref: number of good blobrefs; dir: number of entries
	Ref    Ref    // valref, dirref: the first good blobref

	detail  string
	next    int32  // while scanning: index behind the last descendant
	at      uint32 // offset of the fault, or of the object
	dataOff uint32 // data value inside Raw
	dataEnd uint32
}

// Tree is the result of a scan.
type Tree struct {
	Root Entry
	// Entries in document order; entries of an inline dir follow it with a
	// greater Depth. Of entries with equal names only the last one is here,
	// the one Flux sees.
	Entries []Entry
	// Broken: the text stops being JSON at some place. Root carries the rule,
	// Entries what was read before. The object open at the break has a rule too.
	Broken bool
	// Rejected counts the entries (without Root) that break a rule Flux
	// enforces. One of them makes the whole blob undecodable for Flux.
	Rejected int
	// Tolerated counts the entries that break only rules Flux does not enforce.
	Tolerated int
	// BadOmitted counts malformed entries beyond MaxBadEntries, not in Entries.
	BadOmitted int
	// Duplicates counts entries hidden by a later entry of the same name.
	Duplicates int
}

// Decodable reports whether Flux can decode the blob.
func (t *Tree) Decodable() bool {
	return !t.Broken && !t.Root.Rule.FluxRejects() && t.Rejected == 0 && t.BadOmitted == 0
}

// IsDir reports whether the object itself is a directory, malformed or not.
func (t *Tree) IsDir() bool { return t.Root.Type == TypeDir }

// Err describes the rule that entry i breaks; i = -1 is the root. It is nil
// for a good entry.
func (t *Tree) Err(i int) *InvalidError {
	e := &t.Root
	if i >= 0 {
		e = &t.Entries[i]
	}
	if e.Rule == RuleNone {
		return nil
	}
	return &InvalidError{Rule: e.Rule, Path: t.Path(i), Offset: int(e.at), Detail: e.detail}
}

// Path is the names that lead to entry i, outermost first; empty for -1.
func (t *Tree) Path(i int) []string {
	if i < 0 {
		return nil
	}
	p := make([]string, int(t.Entries[i].Depth)+1)
	for k := len(p) - 1; k >= 0 && i >= 0; k-- {
		p[k] = string(t.Entries[i].Name)
		i = int(t.Entries[i].Parent)
	}
	return p
}

// fault is a place where the text is not the JSON that jansson accepts.
type fault struct {
	rule Rule // RuleNone: no fault
	off  int
	why  string
}

// Scanner reads serialized tree objects. It keeps its memory between scans, so
// that a plain entry costs no allocation. Not for concurrent use; the zero
// value is ready.
type Scanner struct {
	b        []byte
	allowNUL bool  // \u0000 is no fault
	bad      int   // malformed entries recorded so far
	brk      fault // where the text stops being JSON
	last     fault // newest fault inside a string or number
	scratch  []byte
	remap    []int32
	hidden   []int32 // indexes of entries overridden by a later one
	tree     Tree
}

// Parse scans one serialized tree object of any type. The Tree belongs to the
// Scanner and is valid until its next scan. Any input is accepted; faults are
// told by the rules of Root and Entries.
func (s *Scanner) Parse(b []byte) *Tree {
	s.reset(b)
	t := &s.tree
	if len(b) > MaxSize {
		t.Broken = true
		t.Root.Rule, t.Root.detail = RuleSize, "text longer than 1 GiB"
		return t
	}
	i := s.ws(0)
	f := frame{start: i}
	if s.at(i) != '{' {
		s.broken(i, "text does not start with '{'")
	} else if end, ok := s.object(i, 1, -1, &f); ok {
		if j := s.ws(end); j != len(b) {
			s.broken(j, "text goes on after the object")
		}
		f.store(&t.Root, b, end)
	} else {
		f.store(&t.Root, b, len(b))
	}
	if s.brk.rule != RuleNone {
		t.Broken = true
		t.Root.Rule, t.Root.at, t.Root.detail = s.brk.rule, uint32(s.brk.off), s.brk.why
	}
	t.Root.Parent = -1
	s.finish()
	return t
}

// ParseDir is Parse for a blob that must hold a directory: another valid type
// gets RuleNotDir.
func (s *Scanner) ParseDir(b []byte) *Tree {
	t := s.Parse(b)
	if t.Root.Rule == RuleNone && t.Root.Type != TypeDir {
		t.Root.Rule, t.Root.detail = RuleNotDir, "the object is a "+t.Root.Type.String()+", not a dir"
	}
	return t
}

// Memory kept between scans is at most this many entries.
const keepEntries = 1 << 16

func (s *Scanner) reset(b []byte) {
	ents := s.tree.Entries[:0]
	if cap(ents) > keepEntries {
		ents = nil
	}
	s.tree = Tree{Entries: ents}
	s.b, s.bad, s.hidden = b, 0, s.hidden[:0]
	s.brk, s.last = fault{}, fault{}
}

// fault notes a fault from which the reader can go on; Flux refuses the whole
// text because of it.
func (s *Scanner) fault(f *frame, r Rule, off int, why string) {
	s.last = fault{r, off, why}
	f.note(r, off, why)
}

// broken records that the text is no JSON at off; it always returns false.
func (s *Scanner) broken(off int, why string) bool {
	if s.brk.rule == RuleNone {
		s.brk = fault{RuleJSON, min(off, len(s.b)), why}
	}
	return false
}

func (s *Scanner) brokenDepth(off int) bool {
	if s.brk.rule == RuleNone {
		s.brk = fault{RuleDepth, off, "nested deeper than 2048"}
	}
	return false
}

// finish removes hidden and meaningless entries and counts the bad ones.
func (s *Scanner) finish() {
	t := &s.tree
	if len(s.hidden) > 0 || t.Broken {
		s.compact()
	}
	seen := false
	for i := range t.Entries {
		switch r := t.Entries[i].Rule; {
		case r == RuleNone:
		case r.FluxRejects():
			t.Rejected++
			seen = seen || r == RuleJSON || r == RuleUTF8
		default:
			t.Tolerated++
		}
	}
	if s.last.rule != RuleNone && !seen && !t.Root.Rule.FluxRejects() {
		// The fault is in text that a later equal key or name replaced.
		t.Root.Rule, t.Root.at, t.Root.detail = s.last.rule, uint32(s.last.off), s.last.why
	}
}

// compact drops entries hidden by a later one with all that is below them,
// and, in a broken text, non-objects below an object that was still open
// (they may be the members of a symlink).
func (s *Scanner) compact() {
	t := &s.tree
	hide := make(map[int32]bool, len(s.hidden))
	for _, i := range s.hidden {
		hide[i] = true
	}
	t.Duplicates = len(s.hidden)
	s.remap = s.remap[:0]
	n := int32(0)
	for i := range t.Entries {
		e := &t.Entries[i]
		drop := hide[int32(i)]
		if e.Parent >= 0 {
			p := s.remap[e.Parent]
			drop = drop || p < 0
			drop = drop || t.Broken && e.Rule == RuleEntry && t.Entries[p].Rule == RuleJSON
			e.Parent = p
		} else {
			drop = drop || t.Broken && e.Rule == RuleEntry && t.Root.Type == TypeUnknown
		}
		if drop {
			s.remap = append(s.remap, -1)
			continue
		}
		s.remap = append(s.remap, n)
		t.Entries[n] = *e
		n++
	}
	t.Entries = t.Entries[:n]
}

// hideDuplicates marks every direct child in Entries[base:] whose name comes
// again later. Called only when the names were not in ascending order.
func (s *Scanner) hideDuplicates(base int) {
	last := make(map[string]int32)
	ents := s.tree.Entries
	for i := base; i < len(ents); i = int(ents[i].next) {
		if prev, ok := last[string(ents[i].Name)]; ok {
			s.hidden = append(s.hidden, prev)
		}
		last[string(ents[i].Name)] = int32(i)
	}
}

// EachRef calls f for every good blobref of a valref or dirref in order.
// idx is its index in the data array.
func (e *Entry) EachRef(f func(idx int, r Ref) bool) {
	if e.Type != TypeValref && e.Type != TypeDirref {
		return
	}
	s := Scanner{b: e.Data()}
	if s.at(0) != '[' {
		return
	}
	var fr frame
	for i, idx := s.ws(1), 0; s.at(i) != ']'; idx++ {
		r, end, good := s.element(i, 1, &fr)
		if end <= i {
			return
		}
		if good && !f(idx, r) {
			return
		}
		if i = s.ws(end); s.at(i) == ',' {
			i = s.ws(i + 1)
		}
	}
}

// AppendRefs appends the good blobrefs of a valref or dirref to dst.
func (e *Entry) AppendRefs(dst []Ref) []Ref {
	if e.Count == 1 {
		return append(dst, e.Ref)
	}
	e.EachRef(func(_ int, r Ref) bool {
		dst = append(dst, r)
		return true
	})
	return dst
}

// Data is the JSON text of the data value, nil if there is none.
func (e *Entry) Data() []byte {
	if e.dataEnd == 0 {
		return nil
	}
	return e.Raw[e.dataOff:e.dataEnd]
}

// Offset is where the object starts in the scanned text, or for an entry with
// a rule where the fault is.
func (e *Entry) Offset() int { return int(e.at) }

// Good reports whether the entry breaks no rule at all.
func (e *Entry) Good() bool { return e.Rule == RuleNone }

// is reports whether the decoded string equals name.
func (t strTok) is(name string) bool {
	if !t.escaped {
		return string(t.body) == name
	}
	return bytes.Equal(t.text(), []byte(name))
}
