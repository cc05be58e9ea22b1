package mdtrecord

import (
	"encoding/json"
	"fmt"

	"fettle/internal/format/lustre"
	"fettle/internal/store"
)

// Dirent is the content of a name, and of '..'.
type Dirent struct {
	Inode uint32 `json:"inode"`
	Type  string `json:"type,omitempty"` // a word of ext4.TypeName
	FID   string `json:"fid,omitempty"`
	Other uint8  `json:"other_records,omitempty"` // flags of data records other than the FID, which stay as they are
}

// Link is one name in a link EA: the FID of the directory, and the name as lustre.NameText and lustre.NameRaw give it.
type Link struct {
	Parent  string `json:"parent"`
	Name    string `json:"name"`
	NameRaw []byte `json:"name_raw,omitempty"`
}

// Links are records of a link EA in this form.
func Links(ls []lustre.Link) []Link {
	var out []Link
	for _, l := range ls {
		out = append(out, Link{l.Parent.String(), lustre.NameText(l.Name), lustre.NameRaw(l.Name)})
	}
	return out
}

// Decode is the reverse of Links for one record.
func (l Link) Decode() (lustre.Link, error) {
	f, err := lustre.ParseFID(l.Parent)
	return lustre.Link{Parent: f, Name: lustre.NameOf(l.Name, l.NameRaw)}, err
}

// LinkEA is the content of a link EA. Raw is used where the rest does not give the same bytes.
type LinkEA struct {
	Links    []Link `json:"links,omitempty"`
	Overflow uint32 `json:"overflow,omitempty"` // seconds since 1970 when names did not fit, 0 for never
	Raw      []byte `json:"raw,omitempty"`
}

// LMA is the content of an LMA. Raw is used where the rest does not give the same bytes.
type LMA struct {
	FID      string `json:"fid,omitempty"`
	Compat   uint32 `json:"compat,omitempty"`
	Incompat uint32 `json:"incompat,omitempty"`
	Raw      []byte `json:"raw,omitempty"`
}

// Layout is the content of an LMV, and of a LOV: in words, and as it is. Only Raw is written.
type Layout struct {
	Says string `json:"says,omitempty"`
	Raw  []byte `json:"raw"`
}

// OIEntry is an entry of the object index.
type OIEntry struct {
	Inode      uint32 `json:"inode"`
	Generation uint32 `json:"generation"`
}

// Inode is an inode that is made: Near, Up and UpFID say where and with what '..'. Of an inode that is freed it says what it was.
type Inode struct {
	Type  string `json:"type"`
	Mode  uint16 `json:"mode"` // permissions
	Near  uint32 `json:"near,omitempty"`
	Up    uint32 `json:"up,omitempty"`
	UpFID string `json:"up_fid,omitempty"`
	Agent string `json:"agent_of,omitempty"`
	// Target is that of a symbolic link.
	Target string `json:"target,omitempty"`
	// Not are free inodes that are passed over, because names of lost objects still have their numbers.
	Not []uint32 `json:"not,omitempty"`
}

// Object is an object that is destroyed.
type Object struct {
	Type       string `json:"type"`
	FID        string `json:"fid"`
	Links      uint16 `json:"links"`
	Size       uint64 `json:"size"` // bytes on this target
	OSTObjects int    `json:"ost_objects,omitempty"`
}

// Sequences are those that a target has still to give: from Start up to, not including, End, both as hexadecimal text. Only Start is written.
type Sequences struct {
	Start string `json:"start"`
	End   string `json:"end"`
}

// SequencesOf is the content for a space of sequences.
func SequencesOf(start, end uint64) Sequences {
	return Sequences{fmt.Sprintf("%#x", start), fmt.Sprintf("%#x", end)}
}

// Encode makes the JSON of a content, which cannot fail for these types.
func Encode[C Dirent | LinkEA | LMA | Layout | OIEntry | Inode | Object | Sequences | GroupCounts | FreeCounts | QuotaUsage](c C) store.Bytes {
	b, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return b
}
