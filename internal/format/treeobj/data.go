package treeobj

import "bytes"

// data reads the data value, whose meaning is known only when the type has
// been seen (Flux writes data first).
func (s *Scanner) data(i, depth int, self int32, f *frame) (end int, ok bool) {
	if f.hasData { // the last of equal keys counts
		s.dropChildren(f)
		f.count, f.badElem, f.ref = 0, 0, Ref{}
	}
	f.hasData, f.dataOff, f.dataEnd = true, i, 0
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
	var nf frame // collects faults in names, which are the entry's own
	i = s.ws(i + 1)
	if s.at(i) == '}' {
		return i + 1, true
	}
	for {
		t, j, ok := s.key(i, &nf)
		if !ok {
			return j, false
		}
		name := t.text()
		if !first && bytes.Compare(name, prev) <= 0 {
			sorted = false
		}
		prev, first = name, false
		if i, ok = s.member(name, j, depth+1, self, f, nf.fault()); !ok {
			return i, false
		}
		nf.rule = RuleNone
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
		s.hideDuplicates(base)
	}
	return i + 1, true
}

// member reads one value of a data object. f is the frame of the object that
// owns the data, bad a fault in the name.
func (s *Scanner) member(name []byte, i, depth int, self int32, f *frame, bad fault) (end int, ok bool) {
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
	cf := frame{start: i, rule: bad.rule, at: bad.off, detail: bad.why}
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
	s.tree.Entries[idx].next = int32(len(s.tree.Entries))
	if cf.rule != RuleNone && ok {
		if s.bad++; s.bad > MaxBadEntries && int(idx) == len(s.tree.Entries)-1 {
			s.tree.Entries = s.tree.Entries[:idx]
			s.tree.BadOmitted++
		}
	}
	return end, ok
}
