package treeobj

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

	kind   jkind
	base64 bool // kindString: data is valid base64

	count    int32 // kindArray: good blobrefs; kindObject: members
	badElem  int   // offset of the first element that is no blobref, plus 1
	dirBase  int   // kindObject: first child in Tree.Entries
	omitBase int   // Tree.BadOmitted before the object
	badBase  int   // Scanner.bad before the object
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

// fault is what note kept.
func (f *frame) fault() fault { return fault{f.rule, f.at, f.detail} }

// store copies the verdict to e. Name, Depth and Parent are not touched.
func (f *frame) store(e *Entry, b []byte, end int) {
	e.Raw = b[f.start:end:end]
	e.Type, e.Rule, e.Count, e.Ref = f.typ, f.rule, f.count, f.ref
	e.at, e.detail = uint32(f.start), ""
	if f.rule != RuleNone {
		e.at, e.detail = uint32(f.at), f.detail
	}
	if f.dataEnd > 0 && f.dataEnd <= end {
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
	f.dirBase, f.omitBase, f.badBase = len(s.tree.Entries), s.tree.BadOmitted, s.bad
	if end, done, ok := s.canonicalObject(i, depth, self, f); !ok {
		return s.openAtBreak(end, f)
	} else if done {
		f.judge(s)
		return end, true
	} else if end > i { // only data was read
		i = s.ws(end)
		if s.at(i) != ',' {
			return s.closeObject(i, f)
		}
	}
	i = s.ws(i + 1)
	if s.at(i) == '}' && !f.hasData {
		f.judge(s)
		return i + 1, true
	}
	for {
		var ok bool
		if i, ok = s.objectMember(i, depth, self, f); !ok {
			return s.openAtBreak(i, f)
		}
		i = s.ws(i)
		if s.at(i) != ',' {
			return s.closeObject(i, f)
		}
		i = s.ws(i + 1)
	}
}

func (s *Scanner) closeObject(i int, f *frame) (int, bool) {
	if s.at(i) != '}' {
		s.broken(i, "'}' is missing")
		return s.openAtBreak(i, f)
	}
	f.judge(s)
	return i + 1, true
}

// objectMember reads one key of a tree object with its value.
func (s *Scanner) objectMember(i, depth int, self int32, f *frame) (int, bool) {
	t, j, ok := s.key(i, f)
	switch {
	case !ok:
		return j, false
	case t.is("data"):
		return s.data(j, depth+1, self, f)
	case t.is("type"):
		return s.typeName(j, depth+1, f)
	case t.is("ver"):
		return s.version(j, depth+1, f)
	}
	f.note(RuleKeys, i, "a key other than ver, type, data")
	return s.value(j, depth+1, f)
}

const head = `{"data":`

// tails is what follows the data value in the form Flux writes.
var tails = func() (t [TypeSymlink + 1]string) {
	for i := TypeVal; i <= TypeSymlink; i++ {
		t[i] = `,"type":"` + typeNames[i] + `","ver":1}`
	}
	return t
}()

// canonicalObject is the fast way for objects written by Flux. If the object
// at i does not start with data, nothing is read (end == i). If it does but
// goes on differently, only the data member is read (done false).
func (s *Scanner) canonicalObject(i, depth int, self int32, f *frame) (end int, done, ok bool) {
	if len(s.b)-i < len(head) || string(s.b[i:i+len(head)]) != head || depth >= MaxDepth {
		return i, false, true
	}
	if end, ok = s.data(s.ws(i+len(head)), depth+1, self, f); !ok {
		return end, false, false
	}
	var first, second Type
	switch f.kind {
	case kindArray:
		first, second = TypeDirref, TypeValref
	case kindString:
		first, second = TypeVal, TypeVal
	case kindObject:
		first, second = TypeDir, TypeSymlink
	}
	rest := s.b[end:]
	for _, typ := range [2]Type{first, second} {
		if n := len(tails[typ]); n > 0 && len(rest) >= n && string(rest[:n]) == tails[typ] {
			f.typ, f.hasType, f.hasVer = typ, true, true
			return end + n, true, true
		}
	}
	return end, false, true
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
