package treeobj

import "bytes"

// jkind is the JSON kind of a data value.
type jkind uint8

const (
	kindNone jkind = iota
	kindString
	kindArray
	kindObject
	kindOther
)

// frame is what is known about one tree object while it is read.
type frame struct {
	start, dataOff, dataEnd int

	rule   Rule
	at     int
	detail string

	typ                      Type
	hasVer, hasType, hasData bool
	extra                    bool

	kind   jkind
	base64 bool // kindString: data is valid base64

	count    int32 // kindArray: good blobrefs; kindObject: members
	badElem  int   // offset of the first element that is no blobref, plus 1
	dirBase  int   // kindObject: first child in Tree.Entries
	omitBase int   // Tree.BadOmitted before the object
	target   jkind // kindObject: kind of the member "target"
	ns       jkind // kindObject: kind of the member "namespace"
	others   int   // kindObject: members with other names
	ref      Ref
	badVer   string
	badVerAt int
	badType  string
	typeAt   int
}

// note keeps the first fault of the object.
func (f *frame) note(r Rule, at int, detail string) {
	if f.rule == RuleNone {
		f.rule, f.at, f.detail = r, at, detail
	}
}

// store copies the verdict to e. Name, Depth and Parent are not touched.
func (f *frame) store(e *Entry, b []byte, end int) {
	e.Raw = b[f.start:end:end]
	e.Type, e.Rule, e.Count, e.Ref = f.typ, f.rule, f.count, f.ref
	e.at, e.detail = uint32(f.start), ""
	if f.rule != RuleNone {
		e.at, e.detail = uint32(f.at), f.detail
	}
	if f.dataEnd > 0 {
		e.dataOff, e.dataEnd = uint32(f.dataOff-f.start), uint32(f.dataEnd-f.start)
	}
}

// object reads the tree object that starts with '{' at i. self is its index in
// Tree.Entries (-1: root). The verdict is left in f. ok is false when the text
// is broken.
func (s *Scanner) object(i, depth int, self int32, f *frame) (end int, ok bool) {
	if depth > MaxDepth {
		return i, s.brokenDepth(i)
	}
	f.dirBase, f.omitBase = len(s.tree.Entries), s.tree.BadOmitted
	i = s.ws(i + 1)
	if s.at(i) == '}' {
		f.judge(s)
		return i + 1, true
	}
	for {
		t, j, ok := s.key(i, f)
		if !ok {
			return s.openAtBreak(i, f)
		}
		switch {
		case t.is("data"):
			i, ok = s.data(j, depth+1, self, f)
		case t.is("type"):
			i, ok = s.typeName(j, depth+1, f)
		case t.is("ver"):
			i, ok = s.version(j, depth+1, f)
		default:
			f.extra = true
			f.note(RuleKeys, i, "a key other than ver, type, data")
			i, ok = s.value(j, depth+1, f)
		}
		if !ok {
			return s.openAtBreak(i, f)
		}
		i = s.ws(i)
		if s.at(i) != ',' {
			break
		}
		i = s.ws(i + 1)
	}
	if s.at(i) != '}' {
		s.broken(i, "'}' is missing")
		return s.openAtBreak(i, f)
	}
	f.judge(s)
	return i + 1, true
}

func (s *Scanner) openAtBreak(i int, f *frame) (int, bool) {
	f.rule = RuleNone
	f.note(RuleJSON, i, "the text breaks off inside this object")
	return i, false
}

func (s *Scanner) typeName(i, depth int, f *frame) (int, bool) {
	f.hasType, f.typ, f.badType, f.typeAt = true, TypeUnknown, "", i
	if s.at(i) != '"' {
		f.badType = "type is not a string"
		return s.value(i, depth, f)
	}
	if depth > MaxDepth {
		return i, s.brokenDepth(i)
	}
	t, ok := s.str(i, f)
	if !ok {
		return i, false
	}
	if f.typ = typeOf(t.text()); f.typ == TypeUnknown {
		f.badType = "unknown type"
	}
	return t.end, true
}

func (s *Scanner) version(i, depth int, f *frame) (int, bool) {
	f.hasVer, f.badVer, f.badVerAt = true, "", i
	c := s.at(i)
	if c != '-' && !isDigit(c) {
		f.badVer = "ver is not an integer"
		return s.value(i, depth, f)
	}
	if depth > MaxDepth {
		return i, s.brokenDepth(i)
	}
	n, end, ok := s.number(i, f)
	switch {
	case !ok:
	case !n.isInt:
		f.badVer = "ver is not an integer"
	case n.val == 1:
	case int32(n.val) == 1:
		f.badVer = verWraps
	default:
		f.badVer = "ver is not 1"
	}
	return end, ok
}

const verWraps = "ver is 1 only in its low 32 bits"

// data reads the data value, whose meaning is known only when the type has
// been seen (Flux writes data first).
func (s *Scanner) data(i, depth int, self int32, f *frame) (end int, ok bool) {
	if f.hasData { // the last of equal keys counts
		s.dropChildren(f)
		f.count, f.badElem, f.ref = 0, 0, Ref{}
	}
	f.hasData, f.dataOff = true, i
	switch s.at(i) {
	case '"':
		if depth > MaxDepth {
			return i, s.brokenDepth(i)
		}
		f.kind = kindString
		t, ok := s.str(i, f)
		if !ok {
			return i, false
		}
		f.base64 = validBase64(t.text())
		end = t.end
	case '[':
		f.kind = kindArray
		if end, ok = s.array(i, depth, f); !ok {
			return end, false
		}
	case '{':
		f.kind = kindObject
		if end, ok = s.members(i, depth, self, f); !ok {
			return end, false
		}
	default:
		f.kind = kindOther
		if end, ok = s.value(i, depth, f); !ok {
			return end, false
		}
	}
	f.dataEnd = end
	return end, true
}

// array reads the data of a valref or dirref.
func (s *Scanner) array(i, depth int, f *frame) (int, bool) {
	if depth > MaxDepth {
		return i, s.brokenDepth(i)
	}
	i = s.ws(i + 1)
	if s.at(i) == ']' {
		return i + 1, true
	}
	for {
		r, end, good := s.element(i, depth+1, f)
		if end < 0 {
			return i, false
		}
		if good {
			if f.count == 0 {
				f.ref = r
			}
			f.count++
		} else if f.badElem == 0 {
			f.badElem = i + 1
		}
		i = s.ws(end)
		if s.at(i) != ',' {
			break
		}
		i = s.ws(i + 1)
	}
	if s.at(i) != ']' {
		return i, s.broken(i, "']' is missing")
	}
	return i + 1, true
}

// element reads one element of a blobref array. good: it is a blobref.
// end is -1 when the text is broken.
func (s *Scanner) element(i, depth int, f *frame) (r Ref, end int, good bool) {
	if depth > MaxDepth {
		s.brokenDepth(i)
		return r, -1, false
	}
	b := s.b[i:]
	if len(b) > sha1Text+1 && b[0] == '"' && b[sha1Text+1] == '"' {
		if r, good = parseRef(b[1 : 1+sha1Text]); good {
			return r, i + sha1Text + 2, true
		}
	}
	if s.at(i) != '"' {
		end, ok := s.value(i, depth, f)
		if !ok {
			end = -1
		}
		return r, end, false
	}
	t, ok := s.str(i, f)
	if !ok {
		return r, -1, false
	}
	r, good = parseRef(t.text())
	return r, t.end, good
}

// members reads a data object: the entries of a dir, or target and namespace
// of a symlink. Every member becomes an entry; judge drops them again if the
// object turns out not to be a dir.
func (s *Scanner) members(i, depth int, self int32, f *frame) (int, bool) {
	if depth > MaxDepth {
		return i, s.brokenDepth(i)
	}
	f.target, f.ns, f.others = kindNone, kindNone, 0
	base := len(s.tree.Entries)
	var prev []byte
	first, sorted := true, true
	i = s.ws(i + 1)
	if s.at(i) == '}' {
		return i + 1, true
	}
	for {
		t, j, ok := s.key(i, f)
		if !ok {
			return j, false
		}
		name := t.text()
		if !first && bytes.Compare(name, prev) <= 0 {
			sorted = false
		}
		prev, first = name, false
		if i, ok = s.member(name, j, depth+1, self, f); !ok {
			return i, false
		}
		i = s.ws(i)
		if s.at(i) != ',' {
			break
		}
		i = s.ws(i + 1)
	}
	if s.at(i) != '}' {
		return i, s.broken(i, "'}' is missing")
	}
	if !sorted {
		s.hideDuplicates(base, self)
	}
	return i + 1, true
}

// member reads one value of a data object.
func (s *Scanner) member(name []byte, i, depth int, self int32, f *frame) (end int, ok bool) {
	kind := kindOther
	switch s.at(i) {
	case '"':
		kind = kindString
	case '{':
		kind = kindObject
	}
	switch string(name) {
	case "target":
		f.target = kind
	case "namespace":
		f.ns = kind
	default:
		f.others++
	}
	f.count++
	cf := frame{start: i}
	idx := int32(len(s.tree.Entries))
	d := int16(0)
	if self >= 0 {
		d = s.tree.Entries[self].Depth + 1
	}
	s.tree.Entries = append(s.tree.Entries, Entry{Name: name, Parent: self, Depth: d})
	if kind == kindObject {
		end, ok = s.object(i, depth, idx, &cf)
	} else {
		end, ok = s.value(i, depth, &cf)
		cf.note(RuleEntry, i, "the entry is not a JSON object")
	}
	if !ok {
		end = max(end, i)
	}
	cf.store(&s.tree.Entries[idx], s.b, min(end, len(s.b)))
	if cf.rule != RuleNone && ok {
		if s.bad++; s.bad > MaxBadEntries && int(idx) == len(s.tree.Entries)-1 {
			s.tree.Entries = s.tree.Entries[:idx]
			s.tree.BadOmitted++
		}
	}
	return end, ok
}

// judge applies the rules to a completely read object.
func (f *frame) judge(s *Scanner) {
	drop := f.typ != TypeDir && f.kind == kindObject
	if drop && s.last.rule != RuleNone && s.last.off >= f.start {
		f.note(s.last.rule, s.last.off, s.last.why) // a fault in a child that is dropped
	}
	switch {
	case !f.hasVer:
		f.note(RuleKeys, f.start, "key ver is missing")
	case !f.hasType:
		f.note(RuleKeys, f.start, "key type is missing")
	case !f.hasData:
		f.note(RuleKeys, f.start, "key data is missing")
	}
	if f.badVer != "" && f.badVer != verWraps {
		f.note(RuleVersion, f.badVerAt, f.badVer)
	}
	if f.badType != "" {
		f.note(RuleType, f.typeAt, f.badType)
	}
	if f.hasData && f.hasType {
		f.judgeData()
	}
	if f.badVer == verWraps {
		f.note(RuleVersionRange, f.badVerAt, f.badVer)
	}
	if drop {
		s.dropChildren(f)
		f.count = 0
	}
}

func (s *Scanner) dropChildren(f *frame) {
	s.tree.BadOmitted = f.omitBase
	s.tree.Entries = s.tree.Entries[:f.dirBase]
	for n := len(s.hidden); n > 0 && int(s.hidden[n-1]) >= f.dirBase; n-- {
		s.hidden = s.hidden[:n-1]
	}
}

// judgeData checks data against the type. Rules that Flux enforces come first.
func (f *frame) judgeData() {
	switch f.typ {
	case TypeVal:
		if f.kind != kindString {
			f.note(RuleData, f.dataOff, "data of a val is not a string")
		} else if !f.base64 {
			f.note(RuleBase64, f.dataOff, "data of a val is not standard padded base64")
		}
	case TypeValref, TypeDirref:
		switch {
		case f.kind != kindArray:
			f.note(RuleData, f.dataOff, "data of a "+f.typ.String()+" is not an array")
		case f.badElem > 0:
			f.note(RuleBlobref, f.badElem-1, "an element is not a blobref")
		case f.count == 0:
			f.note(RuleCount, f.dataOff, "no blobref")
		case f.count > 1 && f.typ == TypeDirref:
			f.note(RuleDirrefCount, f.dataOff, "a dirref with more than one blobref")
		}
	case TypeDir:
		if f.kind != kindObject {
			f.note(RuleData, f.dataOff, "data of a dir is not an object")
		}
	case TypeSymlink:
		switch {
		case f.kind != kindObject:
			f.note(RuleData, f.dataOff, "data of a symlink is not an object")
		case f.target != kindString:
			f.note(RuleSymlink, f.dataOff, "symlink without a target string")
		case f.ns != kindNone && f.ns != kindString:
			f.note(RuleSymlink, f.dataOff, "symlink namespace is not a string")
		case f.others > 0:
			f.note(RuleSymlinkKeys, f.dataOff, "symlink with a key other than target, namespace")
		}
	}
}
