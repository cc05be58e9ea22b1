package flux

import (
	"context"
	"fmt"
	"path"
	"slices"

	"fettle/internal/finding"
	"fettle/internal/format/treeobj"
	"fettle/internal/say"
	"fettle/internal/store"
)

// reporter is the last pass: it names what the others found, in one fixed order: the file, the checkpoint rows, the keys
// in the order of the tree, the blobs that nothing uses. It is the only one that emits findings.
type reporter struct {
	u     *unit
	env   store.Env
	v     *dirVisitor
	taint *taint

	rootMend    *int            // the finding about the root, when it could be mended
	fileCause   *int            // the finding about the file that lost rows follow from
	schemaCause *int            // the finding about missing tables
	walMissing  bool            // they are missing because their -wal is
	lost        map[string]bool // blobrefs that the index names and the table lost
	blobKeys    bool            // rows of the wrong storage class are told in one finding
	listed      bitmap
	extra       int // how many more times directories may be listed under a second path
	omitted     int64
	longPaths   int64 // bytes of the long paths in findings
	older       *versionFinder
	olderTries  int
	back        *rollback // nil: there is no checkpoint that the whole store could go back to
}

// rollback is the newest checkpoint whose whole tree is good, and what going back to it costs.
type rollback struct {
	Checkpoint int64
	Jobs       int64 // how many jobs fewer its tree holds than what can be read of the current one
	says       string
}

// reportDamage is the pass.
func (u *unit) reportDamage(ctx context.Context, env store.Env) error {
	if u.reach == nil {
		if err := u.walkTree(ctx, env); err != nil {
			return err
		}
	}
	if err := u.checkIndex(ctx, env); err != nil {
		return err
	}
	r := &reporter{u: u, env: env, v: newDirVisitor(u), lost: map[string]bool{}, extra: max(100000, u.idx.n), olderTries: maxOlderTries}
	for _, ref := range u.indexed.Lost {
		r.lost[ref] = true
	}
	r.blobKeys = u.counts.BlobKeys > maxSingleBlobKeys
	if u.objectsRoot != 0 && u.foreign != "" {
		_, err := r.emit(u.foreignFinding())
		return err
	}
	for _, step := range []func(context.Context) error{r.file, r.rows, r.tree, r.orphans, r.notes} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// maxSingleBlobKeys is up to how many rows of the wrong storage class are findings of their own.
const maxSingleBlobKeys = 64

// maxOlderTries bounds how many findings of one check are looked up in older checkpoints; a plan looks up all of them.
const maxOlderTries = 500

func (r *reporter) emit(f finding.Finding) (int, error) {
	if f.Path != nil && r.u.skipped(*f.Path) {
		return 0, nil
	}
	return r.env.Emit(f)
}

// skipped tells whether the user does not want to hear of a key. A pattern matches a key when it matches it whole or up
// to a dot; the star does not stop at dots.
func (u *unit) skipped(key string) bool {
	for _, p := range u.opts.skip {
		if matchKey(p, key) {
			return true
		}
	}
	return false
}

func matchKey(pattern, key string) bool {
	for {
		if ok, err := path.Match(pattern, key); err == nil && ok {
			return true
		}
		i := lastDot(key)
		if i < 0 {
			return false
		}
		key = key[:i]
	}
}

func lastDot(s string) int {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == '.' {
			return i
		}
	}
	return -1
}

// tree names every damaged key below the chosen roots.
func (r *reporter) tree(ctx context.Context) error {
	if r.u.reach.good() && r.u.reach.counts.Suspect == 0 {
		return nil
	}
	if err := r.findRollback(ctx); err != nil {
		return err
	}
	r.taint = newTaint(r.u)
	r.listed = newBitmap(r.u.idx.n)
	for _, root := range r.u.roots {
		n := r.u.idx.find(root.ref.Sum())
		if n < 0 {
			continue
		}
		bad, err := r.taint.compute(ctx, n)
		if err != nil {
			return err
		}
		if bad {
			if err := r.list(ctx, root, n); err != nil {
				return err
			}
		}
	}
	return nil
}

// findRollback looks whether there is a good checkpoint to go back to, and says so.
func (r *reporter) findRollback(ctx context.Context) error {
	if len(r.u.roots) == 0 || r.u.opts.checkpoint != "" {
		return nil
	}
	back, counts, err := r.u.goodRollback(ctx, r.env, r.u.roots[0].ref)
	if err != nil || back == nil {
		return err
	}
	r.back = &rollback{Checkpoint: back.id(), Jobs: max(0, r.u.reach.counts.Jobs-counts.Jobs)}
	age := ""
	if cur := r.u.current(); cur != nil && !cur.when().IsZero() && !back.when().IsZero() {
		age = roundAge(cur.when().Sub(back.when()))
	}
	r.back.says = fmt.Sprintf("%s is the newest checkpoint whose whole tree is good", back.label())
	if age != "" {
		r.back.says += fmt.Sprintf(": a rollback to it loses %s and %s", age, say.Count(int(r.back.Jobs), "job"))
	}
	r.env.Note(r.back.says)
	r.env.Fact("rollback_checkpoint", r.back.Checkpoint)
	return nil
}

// key looks for an older version of the key, so that the finding can say what there is to restore, and emits it.
//
// under is the finding about a directory above that only fettle can read, because it could be mended: for Flux the key is
// hidden behind it. The result is the number of the finding when the key is such a directory itself.
func (r *reporter) key(ctx context.Context, c *keyClaims, under *int) (mended *int, err error) {
	if r.olderTries > 0 && c.Entry != "root" {
		r.olderTries--
		if r.older == nil {
			r.older = newVersionFinder(r.u, c.Root.ref)
		}
		v, err := r.older.inCheckpoints(ctx, c.Path)
		if err != nil {
			return nil, err
		}
		c.Older = v
	}
	c.Behind = under != nil
	f := judgeKey(c)
	f.CausedBy = under
	if r.back == nil {
		drop(&f, finding.Rollback)
	}
	r.offerMend(&f, c)
	if c.Root.ref != r.u.roots[0].ref {
		f.Severity = finding.Warning
		f.Prefer(finding.Ignore, "it is in the tree of "+c.Root.label()+", which is not the current one; the finding about that row takes care of it")
	}
	if r.fileCause != nil {
		for _, b := range c.Bad {
			if r.lost[b.Text] || b.Class == UndecodableBlob && b.Says == shortRow {
				f.CausedBy = r.fileCause
			}
		}
	}
	seq, err := r.emit(f)
	if c.Entry == "dirref" && f.Suggested == finding.Rewrite && f.Class != HashStorageClass {
		mended = &seq
	}
	return mended, err
}

// offerMend suggests to write the damaged rows of a key again if their right content could be proved.
func (r *reporter) offerMend(f *finding.Finding, c *keyClaims) {
	if !slices.Contains(f.Actions, finding.Rewrite) || f.Class == HashStorageClass {
		return
	}
	var proofs []finding.Evidence
	for _, b := range c.Bad {
		n, have := r.v.lookup(b.Ref)
		if n >= 0 && have.goodContent() {
			continue // only its key is wrong
		}
		m, ok := r.u.mended[uint32(max(n, 0))]
		if n < 0 || !ok {
			drop(f, finding.Rewrite)
			return
		}
		if len(proofs) < 8 {
			proofs = append(proofs, finding.Evidence{Witness: "hash of " + b.Text, Says: "proves the right content: " + m.how})
		}
	}
	if len(proofs) > 0 {
		f.Evidence = append(f.Evidence, proofs...)
		f.Prefer(finding.Rewrite, "nothing is lost: the hash proves the right content")
	}
}

// directory makes the items of directory number n, which lies at dirPath.
func (r *reporter) directory(root chosenRoot, n int, dirPath []byte) ([]listItem, error) {
	row, err := r.v.b.at(r.u.idx.at(n))
	if err != nil {
		return nil, err
	}
	ref, err := treeobj.RefFromHash(row.Hash)
	if err != nil {
		return nil, err
	}
	content, err := r.v.b.content(n)
	if err != nil {
		return nil, err
	}
	t := r.v.scan.ParseDir(content)
	var items []listItem
	logBad := r.jobLogBad(t, dirPath)
	for i := range t.Entries {
		e := &t.Entries[i]
		bad := keyClaims{Dir: ref, Root: root, Entry: e.Type.String(), Of: int(e.Count)}
		down := -1
		switch {
		case e.Rule != treeobj.RuleNone:
			bad.Rule = t.Err(i)
		case e.Type == treeobj.TypeValref:
			bad.Bad = r.badRefs(e, DanglingValref)
			if len(bad.Bad) == 0 && logBad && e.Depth == 0 && string(e.Name) == "eventlog" {
				bad.DirPath, bad.Path = string(dirPath), joinKey(string(dirPath), "eventlog")
				if err := r.logFinding(&bad); err != nil {
					return nil, err
				}
			}
		case e.Type == treeobj.TypeDirref:
			bad.Bad, down = r.subdirectory(e)
		}
		if bad.Rule == nil && len(bad.Bad) == 0 && down < 0 {
			continue
		}
		name := treeobj.FormatKey(t.Path(i))
		if bad.Rule != nil || len(bad.Bad) > 0 {
			items = append(items, listItem{claims: &bad, name: name})
		}
		if down >= 0 {
			items = append(items, listItem{child: down, name: name})
		}
	}
	return items, nil
}

// subdirectory judges a dirref; down is the directory to go on with, -1 if there is none.
func (r *reporter) subdirectory(e *treeobj.Entry) (bad []badRef, down int) {
	bad = r.badRefs(e, DanglingDirref)
	n, _ := r.v.lookup(e.Ref)
	if len(bad) == 0 && r.u.reach.notDir.has(n) {
		bad = []badRef{r.notDirectory(e.Ref, n)}
	}
	if n >= 0 && r.u.readable(n) && !r.u.reach.notDir.has(n) && r.taint.bad.has(n) {
		return bad, n
	}
	return bad, -1
}

// notDirectory says why a good blob is no directory.
func (r *reporter) notDirectory(ref treeobj.Ref, n int) badRef {
	b := badRef{Ref: ref, Text: ref.String(), Class: NotADirectory, Says: "the blob is no directory object"}
	reader := newBlobReader(r.u) // the visitor's own buffers hold the directory that is being listed
	content, err := reader.content(n)
	if err != nil {
		return b
	}
	var scan treeobj.Scanner
	t := scan.ParseDir(content)
	if e := t.Err(-1); e != nil {
		b.Says = "the blob is no directory object: " + e.Error()
		if t.IsDir() && !t.Broken {
			b.Class = InvalidTreeobj
		}
	}
	return b
}

// badRefs looks up the references of an entry again and describes the bad ones.
func (r *reporter) badRefs(e *treeobj.Entry, missing string) []badRef {
	var bad []badRef
	var reader *blobReader
	e.EachRef(func(i int, ref treeobj.Ref) bool {
		n, have := r.v.lookup(ref)
		b := badRef{Index: i, Ref: ref, Text: ref.String()}
		switch {
		case n < 0:
			b.Class, b.Says = missing, "no such row"
			if r.lost[b.Text] {
				b.Says = "no such row; the hash index names it, so it was there"
			}
		case have.usable():
			return true
		default:
			if reader == nil {
				reader = newBlobReader(r.u)
			}
			row, err := reader.at(have)
			if err != nil {
				b.Class, b.Says = UndecodableBlob, err.Error()
				break
			}
			f := rowFault(row)
			if f.class == HashStorageClass && r.blobKeys {
				return true
			}
			b.Class, b.Says = f.class, f.says
		}
		bad = append(bad, b)
		return true
	})
	return bad
}

// shortRow is what rowDecoder says of a row whose overflow chain is broken.
const shortRow = "part of the row lies on an unreadable page"

// longestJobDir is more than the length of the path of any job directory, in bytes.
const longestJobDir = 64

func (r *reporter) jobLogBad(t *treeobj.Tree, dirPath []byte) bool {
	if len(dirPath) == 0 || len(dirPath) > longestJobDir || jobDir(string(dirPath)) != string(dirPath) {
		return false
	}
	var log, spec bool
	for i := range t.Entries {
		if e := &t.Entries[i]; e.Depth == 0 {
			log = log || string(e.Name) == "eventlog"
			spec = spec || string(e.Name) == "jobspec" || string(e.Name) == "J"
		}
	}
	return log && spec && r.v.logOutOfOrder(t)
}

func (r *reporter) logFinding(c *keyClaims) error {
	f := judgeLog(c)
	_, err := r.emit(f)
	return err
}

func joinKey(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "." + name
}
