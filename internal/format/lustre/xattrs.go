package lustre

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// Names of the attributes that are decoded here.
const (
	XattrLMA     = "trusted.lma"
	XattrLink    = "trusted.link"
	XattrLMV     = "trusted.lmv"
	XattrLOV     = "trusted.lov"
	XattrLFSCKNS = "trusted.lfsck_ns"
)

var knownXattrs = map[string]string{
	XattrLMA:                   "the object's FID and flags",
	XattrLink:                  "the object's names, as parent and name",
	XattrLMV:                   "how names are spread over the shards of a striped directory",
	XattrLOV:                   "on which OSTs the file's data is",
	"trusted.dmv":              "the layout that new directories inherit",
	"trusted.fid":              "the MDT object that an OST object belongs to",
	"trusted.som":              "size and blocks of the file, as the MDT knows them",
	"trusted.hsm":              "the state of the file in an archive",
	"trusted.version":          "the version of the object, from old servers",
	"trusted.projid":           "the project, in a file-level backup",
	"trusted.dataver":          "the version of the data",
	"trusted.pin":              "targets on which the file is pinned",
	"trusted.inodefl":          "flags of the inode",
	"trusted.dummy":            "an empty attribute that forces an update",
	"trusted.lfsck_bitmap":     "the targets whose objects LFSCK has not verified",
	XattrLFSCKNS:               "state and counters of LFSCK's namespace check",
	"trusted.rename_tgt":       "the new name of the file system, while a target is renamed",
	"encryption.c":             "the context of an encrypted object",
	"security.c":               "the context of an encrypted object, from old clients",
	"system.posix_acl_access":  "the access ACL",
	"system.posix_acl_default": "the default ACL",
	"user.job":                 "the job that made the file",
}

// KnownXattr says in a few words what an attribute of an MDT's inode holds.
func KnownXattr(name string) (what string, known bool) {
	what, known = knownXattrs[name]
	return what, known
}

// SOM is trusted.som: size and blocks of a file as the MDT knows them.
type SOM struct {
	Valid        uint16 // 1 strict, 2 stale, 4 lazy
	Size, Blocks uint64 // bytes, and blocks of 512 bytes
}

// DecodeSOM reads trusted.som.
func DecodeSOM(b []byte) (SOM, error) {
	if len(b) < 24 {
		return SOM{}, fmt.Errorf("decode trusted.som: %d bytes, want 24", len(b))
	}
	le := binary.LittleEndian
	return SOM{le.Uint16(b), le.Uint64(b[8:]), le.Uint64(b[16:])}, nil
}

// HSM is trusted.hsm: the state of a file in an archive.
type HSM struct {
	Compat, Flags   uint32
	Archive, Copied uint64 // number of the archive, version that was copied
}

// DecodeHSM reads trusted.hsm.
func DecodeHSM(b []byte) (HSM, error) {
	if len(b) < 24 {
		return HSM{}, fmt.Errorf("decode trusted.hsm: %d bytes, want 24", len(b))
	}
	le := binary.LittleEndian
	return HSM{le.Uint32(b), le.Uint32(b[4:]), le.Uint64(b[8:]), le.Uint64(b[16:])}, nil
}

// Describe gives the content of an attribute in words, one fact per line, and false if it is not one that can be told so.
// Damage is told too.
func Describe(name string, value []byte) (text string, ok bool) {
	switch name {
	case XattrLMA:
		return described(DecodeLMA(value))
	case XattrLink:
		return describeLinks(value), true
	case XattrLMV:
		if LMVMagic(value) == LMVForeign {
			return described(DecodeForeign(value))
		}
		return described(DecodeLMV(value))
	case XattrLOV:
		return described(DecodeLOV(value))
	case "trusted.som":
		return described(DecodeSOM(value))
	case "trusted.hsm":
		return described(DecodeHSM(value))
	}
	return "", false
}

func described[T any](v T, err error) (string, bool) {
	if err != nil {
		return err.Error(), true
	}
	return fmt.Sprintf("%+v", v), true
}

func describeLinks(value []byte) string {
	ea, ps, err := DecodeLinkEA(value)
	if err != nil {
		return err.Error()
	}
	var lines []string
	for _, l := range ea.Links {
		lines = append(lines, fmt.Sprintf("%v %q", l.Parent, l.Name))
	}
	if ea.Overflow != 0 {
		lines = append(lines, fmt.Sprintf("overflow at %d", ea.Overflow))
	}
	for _, p := range ps {
		lines = append(lines, "problem: "+p.String())
	}
	return strings.Join(lines, "\n")
}
