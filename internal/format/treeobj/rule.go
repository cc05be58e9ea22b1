package treeobj

import (
	"fmt"
	"strconv"
	"strings"
)

// Rule says which rule of the format an object breaks. RuleNone: none.
type Rule uint8

// The rules. The text of String is stable and may be used as an identifier.
const (
	RuleNone         Rule = iota
	RuleJSON              // the text is not JSON, or JSON that jansson refuses
	RuleUTF8              // invalid UTF-8 inside a string
	RuleDepth             // nested deeper than MaxDepth
	RuleSize              // longer than MaxSize
	RuleKeys              // a key of ver, type, data is missing or there is another one
	RuleVersion           // ver is not the integer 1
	RuleVersionRange      // ver is 1 only after Flux cuts it to 32 bits
	RuleType              // type is not a string or not a known type
	RuleData              // data has the wrong JSON type for this object type
	RuleCount             // valref or dirref without any blobref
	RuleDirrefCount       // dirref with more than one blobref
	RuleBlobref           // an element of valref or dirref is not a blobref
	RuleSymlink           // symlink without a target string, or namespace no string
	RuleSymlinkKeys       // symlink data with a key other than target, namespace
	RuleBase64            // data of val is not standard padded base64
	RuleEntry             // a directory entry is not a JSON object
	RuleNotDir            // a valid tree object, but not a directory
)

var ruleNames = [...]string{
	RuleNone: "", RuleJSON: "json", RuleUTF8: "utf8", RuleDepth: "depth", RuleSize: "size",
	RuleKeys: "keys", RuleVersion: "version", RuleVersionRange: "version-range",
	RuleType: "type", RuleData: "data", RuleCount: "count", RuleDirrefCount: "dirref-count",
	RuleBlobref: "blobref", RuleSymlink: "symlink", RuleSymlinkKeys: "symlink-keys",
	RuleBase64: "base64", RuleEntry: "entry", RuleNotDir: "not-dir",
}

// String is the stable id of the rule, "" for RuleNone.
func (r Rule) String() string {
	if int(r) < len(ruleNames) {
		return ruleNames[r]
	}
	return "rule-" + strconv.Itoa(int(r))
}

// FluxRejects reports whether Flux itself refuses to decode an object that
// breaks this rule, and with it the whole blob that holds the object.
// The other rules come from RFC 11 only:
// dirref-count is an error of flux fsck but not of the decoder, base64 fails
// when the value is read (missing padding and loose bits not even then),
// symlink-keys and version-range go unnoticed.
func (r Rule) FluxRejects() bool {
	switch r {
	case RuleNone, RuleDirrefCount, RuleBase64, RuleSymlinkKeys, RuleVersionRange:
		return false
	}
	return true
}

// InvalidError describes one broken rule at one place of a blob.
type InvalidError struct {
	Rule   Rule
	Path   []string // entry names from the blob's own object down; empty: the object itself
	Offset int      // byte offset in the blob
	Detail string   // what was found
}

// Error names rule, entry and offset.
func (e *InvalidError) Error() string {
	var sb strings.Builder
	sb.WriteString("tree object")
	if len(e.Path) > 0 {
		sb.WriteString(" entry " + FormatPath(e.Path))
	}
	fmt.Fprintf(&sb, ": %s (rule %s, byte %d)", e.Detail, e.Rule, e.Offset)
	return sb.String()
}

// quoteShort quotes at most 40 bytes of b for a message.
func quoteShort(b []byte) string {
	if len(b) > 40 {
		return strconv.Quote(string(b[:40])) + "..."
	}
	return strconv.Quote(string(b))
}
