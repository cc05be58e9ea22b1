package treeobj

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
	s.tree.BadOmitted, s.bad = f.omitBase, f.badBase
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
