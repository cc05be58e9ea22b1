package flux

import (
	"encoding/json"
	"fmt"
	"strings"

	"fettle/internal/finding"
	"fettle/internal/format/treeobj"
	"fettle/internal/say"
)

// The judges are pure: claims in, a finding out. They do not read the store.

// badRef is one reference of a key with what is wrong about it.
type badRef struct {
	Index int         `json:"index"`
	Ref   treeobj.Ref `json:"-"`
	Text  string      `json:"blobref"`
	Class string      `json:"fault"`
	Says  string      `json:"says"`
}

// keyClaims is everything that is claimed about one key: by the directory that names it, and by the rows it refers to.
type keyClaims struct {
	Path      string
	Dir       treeobj.Ref // the directory object that holds the entry; zero for the root itself
	DirPath   string
	Entry     string // type of the entry: valref, dirref, root, ...
	Of        int    // number of blobrefs
	Bad       []badRef
	Rule      *treeobj.InvalidError // the entry, or the object behind it, breaks a rule
	Root      chosenRoot
	Older     *olderVersion // where an older version was found, if one was looked for
	OmitPaths bool
	Behind    bool // a directory above can only be read because it could be mended
}

// classOrder ranks the faults of a key's references: the finding takes the class of the worst.
var classOrder = map[string]int{DanglingValref: 0, DanglingDirref: 0, DanglingRoot: 0, UndecodableBlob: 1, HashMismatch: 2, NotADirectory: 3, InvalidTreeobj: 4, HashStorageClass: 5}

// keyDetail is the machine-readable part of a finding about a key.
type keyDetail struct {
	Kind       string        `json:"kind"`
	Of         int           `json:"of,omitempty"`
	Bad        []badRef      `json:"bad,omitempty"`
	Rule       string        `json:"rule,omitempty"`
	Directory  string        `json:"directory,omitempty"`
	Checkpoint int64         `json:"checkpoint,omitempty"`
	Root       string        `json:"root"`
	Older      *olderVersion `json:"older,omitempty"`
	Omitted    bool          `json:"more_paths,omitempty"`
	Behind     bool          `json:"behind_mended,omitempty"`
}

// judgeKey makes the one finding of a damaged key.
func judgeKey(c *keyClaims) finding.Finding {
	class := ""
	subject := ""
	for _, b := range c.Bad {
		if class == "" || classOrder[b.Class] < classOrder[class] {
			class, subject = b.Class, b.Text
		}
	}
	if class == "" {
		class, subject = InvalidTreeobj, c.Dir.String()
	}
	f := newFinding(class)
	f.Subject = subject
	f.Path = &c.Path
	f.Group = jobOf(c.Path)
	f.Title = keyTitle(c, class)
	f.Evidence = keyEvidence(c)
	d := keyDetail{Kind: c.Entry, Of: c.Of, Bad: c.Bad, Root: c.Root.ref.String(), Checkpoint: c.Root.id(), Older: c.Older, Omitted: c.OmitPaths, Behind: c.Behind}
	if c.Rule != nil {
		d.Rule = c.Rule.Rule.String()
	}
	if !c.Dir.IsZero() {
		d.Directory = c.Dir.String()
	}
	f.Detail, _ = json.Marshal(d) // a struct of strings and numbers always marshals
	offerForKey(&f, c)
	return f
}

// offerForKey removes actions that have nothing to work with and moves the one that loses nothing to the front.
func offerForKey(f *finding.Finding, c *keyClaims) {
	if c.Older == nil {
		drop(f, finding.Restore)
	}
	if c.Entry != "root" {
		drop(f, finding.Recreate)
	}
	switch {
	case f.Class == HashStorageClass:
	case specialKey(c.Path):
		f.Why = "Flux needs this key: what survives stays in its place"
	case c.Entry == "root":
	case c.Entry == "dirref" && c.Older != nil:
		f.Why = "the older version is kept in lost+found; putting it back in place could bring finished jobs back to life"
	case c.Entry == "dirref":
		f.Why = "the plan looks for an older version among unreferenced blobs first; if there is none the name is removed and nothing of it is left"
	default:
		f.Why = "what is readable is kept and nothing is guessed"
	}
}

func drop(f *finding.Finding, a finding.Action) {
	out := f.Actions[:0]
	for _, have := range f.Actions {
		if have != a {
			out = append(out, have)
		}
	}
	f.Actions = out
	if f.Suggested == a && len(out) > 0 {
		f.Suggested = out[0]
	}
}

// newFinding starts a finding of a class with that class's severity, actions and default.
func newFinding(class string) finding.Finding {
	c, ok := Classes.Lookup(class)
	if !ok {
		panic("flux: class without a row in the table: " + class) // a programming error that the tests of the table catch
	}
	return finding.Finding{Class: c.ID, Severity: c.Severity, Title: c.Title, Actions: c.ActionNames(), Suggested: c.Default()}
}

func keyTitle(c *keyClaims, class string) string {
	name := c.Path
	if name == "" {
		name = "root"
	}
	switch {
	case c.Entry == "root" || c.Entry == "dirref" && len(c.Bad) > 0:
		what := map[string]string{DanglingDirref: "the directory object is lost", DanglingRoot: "the root directory is lost",
			HashMismatch: "the directory object has wrong content", UndecodableBlob: "the directory object cannot be decoded",
			NotADirectory: "refers to something that is no directory", InvalidTreeobj: "the directory object is malformed",
			HashStorageClass: "the directory object is stored under a key that Flux cannot find"}[class]
		return name + ": " + what
	case len(c.Bad) > 0:
		what := map[string]string{DanglingValref: "lost", HashMismatch: "wrong", UndecodableBlob: "undecodable",
			HashStorageClass: "stored under a key that Flux cannot find"}[class]
		if c.Of == 1 {
			return name + ": its only blob is " + what
		}
		return fmt.Sprintf("%s: %s of its %s %s (index %s)", name, count(len(c.Bad)), say.Count(c.Of, "blob"), what, indexes(c.Bad))
	}
	return fmt.Sprintf("%s: malformed tree object (%s)", name, c.Rule.Rule)
}

func keyEvidence(c *keyClaims) []finding.Evidence {
	var ev []finding.Evidence
	const show = 8
	switch {
	case c.Entry == "root":
		ev = append(ev, finding.Evidence{Witness: c.Root.label(), Says: "the root is " + c.Root.ref.String()})
	case c.Rule != nil && len(c.Bad) == 0:
		ev = append(ev, finding.Evidence{Witness: dirWitness(c), Says: fmt.Sprintf("entry at offset %d: %s", c.Rule.Offset, c.Rule.Detail)},
			finding.Evidence{Witness: "RFC 11", Says: "rule " + c.Rule.Rule.String() + " is broken" + fluxReaction(c)})
	default:
		ev = append(ev, finding.Evidence{Witness: dirWitness(c), Says: fmt.Sprintf("%s is a %s of %s", lastName(c.Path), c.Entry, say.Count(c.Of, "blob"))})
	}
	for i, b := range c.Bad {
		if i == show {
			ev = append(ev, finding.Evidence{Witness: "objects", Says: fmt.Sprintf("and %d more bad references", len(c.Bad)-show)})
			break
		}
		ev = append(ev, finding.Evidence{Witness: fmt.Sprintf("objects row %s (index %d)", b.Text, b.Index), Says: b.Says})
	}
	if c.Older != nil {
		ev = append(ev, finding.Evidence{Witness: c.Older.From, Says: c.Older.Says})
	}
	return ev
}

func fluxReaction(c *keyClaims) string {
	if c.Rule.Rule.FluxRejects() {
		return fmt.Sprintf("; Flux refuses the whole directory %s because of it", orRoot(c.DirPath))
	}
	return ""
}

func dirWitness(c *keyClaims) string {
	return fmt.Sprintf("directory %s (%s)", orRoot(c.DirPath), c.Dir)
}

func orRoot(path string) string {
	if path == "" {
		return "root"
	}
	return path
}

func lastName(path string) string {
	names := treeobj.NamesOf(path)
	if len(names) == 0 {
		return ""
	}
	return names[len(names)-1]
}

func count(n int) string {
	if n == 1 {
		return "one"
	}
	return fmt.Sprint(n)
}

// indexes lists the bad indexes, the first few of them.
func indexes(bad []badRef) string {
	var s []string
	for i, b := range bad {
		if i == 12 {
			s = append(s, "...")
			break
		}
		s = append(s, fmt.Sprint(b.Index))
	}
	return strings.Join(s, ",")
}
