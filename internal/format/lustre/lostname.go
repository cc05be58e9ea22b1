package lustre

import (
	"fmt"
	"regexp"
	"strconv"
)

// LostName is a name that LFSCK gives an object in .lustre/lost+found/MDTxxxx: [FID]INFIX-TYPE-N.
type LostName struct {
	Object FID
	// Parent is the directory or file that the object claimed to belong to; zero if the name does not say.
	Parent FID
	// Slot is the place in the layout of a conflicting OST object (type C); -1 if the name does not say.
	Slot int
	// Type is one of the Lost constants.
	Type byte
	// N makes the name unique.
	N int
}

// Types of names in lost+found, as LFSCK's comments explain them.
const (
	LostOrphan    = 'O' // no name, and no link EA that could give it one back
	LostDirectory = 'D' // a directory that knew its parent, but not its name there
	LostParent    = 'P' // made anew, because its children say that it was there
	LostShard     = 'S' // a shard of a striped directory
	LostNoParent  = 'N' // made for an OST object that does not know its file
	LostRecreated = 'R' // made for an OST object that knows its file, whose name is lost
	LostConflict  = 'C' // made for an OST object whose slot in the file is taken by another one
)

var lostPattern = regexp.MustCompile(`^(\[[0-9a-fx:]+\])(?:-(\[[0-9a-fx:]+\]))?(?:-([0-9a-f]+))?-([ODPSNRC])-([0-9]{1,9})$`)

// ParseLostName takes a name in lost+found apart. ok is false when LFSCK does not give such names.
func ParseLostName(name string) (l LostName, ok bool) {
	m := lostPattern.FindStringSubmatch(name)
	if m == nil {
		return LostName{}, false
	}
	l = LostName{Slot: -1, Type: m[4][0]}
	var err error
	if l.Object, err = ParseFID(m[1]); err != nil {
		return LostName{}, false
	}
	if m[2] != "" {
		if l.Parent, err = ParseFID(m[2]); err != nil {
			return LostName{}, false
		}
	}
	if m[3] != "" {
		slot, err := strconv.ParseUint(m[3], 16, 31)
		if err != nil || l.Type != LostConflict {
			return LostName{}, false
		}
		l.Slot = int(slot)
	}
	n, err := strconv.Atoi(m[5])
	l.N = n
	return l, err == nil && l.String() == name
}

// String gives the name as LFSCK writes it.
func (l LostName) String() string {
	s := l.Object.String()
	if !l.Parent.IsZero() {
		s += "-" + l.Parent.String()
	}
	if l.Slot >= 0 && l.Type == LostConflict {
		s += "-" + strconv.FormatInt(int64(l.Slot), 16)
	}
	return s + "-" + string(rune(l.Type)) + "-" + strconv.Itoa(l.N)
}

// Explain says in a sentence what the name means.
func (l LostName) Explain() string {
	of := func(known, unknown string) string {
		if l.Parent.IsZero() {
			return unknown
		}
		return fmt.Sprintf(known, l.Parent)
	}
	switch l.Type {
	case LostOrphan:
		return fmt.Sprintf("No directory names %v, and it has no link EA, or none whose name is still free.", l.Object)
	case LostDirectory:
		return fmt.Sprintf("No directory names %v, and it has no link EA, or none whose name is still free.%s", l.Object, of(" It said that it belongs to %v.", ""))
	case LostParent:
		return fmt.Sprintf("%v is a directory that was made anew under its old FID, because the link EA of other objects says that they were in it.", l.Object)
	case LostShard:
		return fmt.Sprintf("%v is a shard of %s whose name there is lost or taken.", l.Object, of("the striped directory %v", "a striped directory"))
	case LostNoParent:
		return fmt.Sprintf("%v was made to hold an OST object that does not know which file it belongs to.", l.Object)
	case LostRecreated:
		return fmt.Sprintf("%v was made anew under its old FID, because OST objects say that they belong to it; its name is lost.", l.Object)
	case LostConflict:
		slot := "a slot"
		if l.Slot >= 0 {
			slot = fmt.Sprintf("slot %d", l.Slot)
		}
		return fmt.Sprintf("%v was made to hold an OST object that claims %s of %s, which another OST object has.", l.Object, slot, of("%v", "a file"))
	}
	return fmt.Sprintf("%v was put here for an unknown reason.", l.Object)
}
