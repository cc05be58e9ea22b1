package lustre

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"fettle/internal/fault"
	"fettle/internal/format/lustre"
	"fettle/internal/store"
)

// Commands implements store.View.
func (v *view) Commands() []store.BrowseCommand {
	const either = "PATH may be a FID as well."
	return []store.BrowseCommand{
		{Name: "fid2path", Usage: "FID", Short: "list the paths that an object's link EA tells of", MinArgs: 1, MaxArgs: 1, Run: v.cmdFid2path,
			Long: "A path whose last name does not lead to the object is marked with \"!\"."},
		{Name: "path2fid", Usage: "PATH", Short: "show the FID of an object", MinArgs: 1, MaxArgs: 1, Paths: true, Run: v.cmdPath2fid},
		{Name: "mdt", Usage: "FID|PATH", Short: "tell which MDT an object belongs to, and where it is", MinArgs: 1, MaxArgs: 1, Paths: true, Run: v.cmdMDT},
		{Name: "xattrs", Usage: "PATH", Short: "decode all attributes of an inode", MinArgs: 1, MaxArgs: 1, Paths: true, Run: v.cmdXattrs, Long: either},
		{Name: "linkea", Usage: "PATH", Short: "list the names that an object knows, and whether they are there", MinArgs: 1, MaxArgs: 1, Paths: true,
			Run: v.cmdLinkEA, Long: either},
		{Name: "lmv", Usage: "PATH", Short: "show how a directory is striped, and where its shards are", MinArgs: 1, MaxArgs: 1, Paths: true, Run: v.cmdLMV, Long: either},
		{Name: "oi", Usage: "FID", Short: "look a FID up in the object indexes, and compare with the inodes", MinArgs: 1, MaxArgs: 1, Run: v.cmdOI},
	}
}

// parseFID reads a FID of a command line.
func parseFID(text string) (lustre.FID, error) {
	f, err := lustre.ParseFID(text)
	if err != nil {
		return f, fault.NewUsage(err, "path2fid PATH shows the FID of a path")
	}
	return f, nil
}

// meant gives what a path or a FID of a command line means.
func (v *view) meant(ctx context.Context, c store.BrowseCall) (*thing, error) {
	text := c.Args[0]
	if f, err := lustre.ParseFID(text); err == nil {
		th, err := v.byFID(ctx, f.String())
		if err != nil {
			return nil, err
		}
		return th, nil
	}
	path, err := v.Resolve(ctx, c.Cwd, text)
	if err != nil {
		return nil, err
	}
	n, err := v.Lookup(ctx, path, false)
	if err != nil {
		return nil, fmt.Errorf("/%s: %w", v.Format(path), err)
	}
	th := *n.Handle.(*thing)
	if th.top {
		p, ok := v.root()
		if !ok {
			return nil, errors.New("ROOT is not on the given MDTs")
		}
		th = thing{at: p}
	}
	if !th.none && th.fid == (lustre.FID{}) {
		th.fid, _ = v.fidAt(th.at)
	}
	return &th, nil
}

// inode is meant for commands that need an inode.
func (v *view) inode(ctx context.Context, c store.BrowseCall) (*thing, error) {
	th, err := v.meant(ctx, c)
	if err == nil && th.none {
		return nil, fmt.Errorf("%s has no inode that could be read: %s", c.Args[0], th.trouble)
	}
	return th, err
}

func (v *view) cmdPath2fid(ctx context.Context, c store.BrowseCall) error {
	th, err := v.meant(ctx, c)
	if err != nil {
		return err
	}
	if th.trouble != "" {
		fmt.Fprintln(c.Err, th.trouble)
	}
	_, err = fmt.Fprintln(c.Out, th.fid)
	return err
}

func (v *view) cmdMDT(ctx context.Context, c store.BrowseCall) error {
	var f lustre.FID
	var err error
	if f, err = lustre.ParseFID(c.Args[0]); err != nil {
		th, err := v.meant(ctx, c)
		if err != nil {
			return err
		}
		f = th.fid
	}
	if _, err := fmt.Fprintf(c.Out, "%v belongs to %s\n", f, v.owner(f)); err != nil {
		return err
	}
	p, how, err := v.seek(ctx, f)
	switch {
	case err != nil:
		return err
	case how == locFound:
		_, err = fmt.Fprintf(c.Out, "it is %s inode %d\n", v.targets[p.mdt].name(), p.ino)
	case how == locUnseen:
		_, err = fmt.Fprintln(c.Out, v.unseenText(f))
	default:
		_, err = fmt.Fprintln(c.Out, "! no inode is that object")
	}
	return err
}

func (v *view) cmdXattrs(ctx context.Context, c store.BrowseCall) error {
	th, err := v.inode(ctx, c)
	if err != nil {
		return err
	}
	in, err := v.targets[th.at.mdt].fs.Inode(th.at.ino)
	if err != nil {
		return err
	}
	return v.writeAttributes(in, th.at, c.Out)
}

// linkState says whether a record of a link EA is true of an object, "" if it is.
func (v *view) linkState(ctx context.Context, f lustre.FID, l lustre.Link) (string, error) {
	p, how, err := v.seek(ctx, l.Parent)
	switch {
	case err != nil:
		return "", err
	case how == locUnseen:
		return v.unseenText(l.Parent), nil
	case how != locFound:
		return fmt.Sprintf("there is no directory %v", l.Parent), nil
	}
	r, ok := v.find(p, l.Name)
	if !ok {
		return "there is no such name", nil
	}
	th, err := v.follow(ctx, p, r)
	if err != nil {
		return "", err
	}
	if th.none || th.fid != f {
		return fmt.Sprintf("the name leads to %v", th.fid), nil
	}
	return "", nil
}

func (v *view) cmdLinkEA(ctx context.Context, c store.BrowseCall) error {
	th, err := v.inode(ctx, c)
	if err != nil {
		return err
	}
	t := v.tenant(th.at)
	switch {
	case !t.hasLink:
		_, err = fmt.Fprintln(c.Out, "it has no link EA")
		return err
	case t.crash != nil:
		return t.crash
	}
	for _, l := range t.link.Links {
		state, err := v.linkState(ctx, th.fid, l)
		if err != nil {
			return err
		}
		if state != "" {
			state = "  ! " + state
		}
		if _, err := fmt.Fprintf(c.Out, "%v %s%s\n", l.Parent, formatName(l.Name), state); err != nil {
			return err
		}
	}
	if t.link.Overflow != 0 {
		fmt.Fprintf(c.Out, "overflow at %d: it has more names than those that are listed\n", t.link.Overflow)
	}
	for _, p := range t.problems {
		fmt.Fprintf(c.Out, "! %s\n", p)
	}
	return nil
}

func (v *view) cmdFid2path(ctx context.Context, c store.BrowseCall) error {
	f, err := parseFID(c.Args[0])
	if err != nil {
		return err
	}
	th, err := v.byFID(ctx, f.String())
	if err != nil {
		return err
	}
	if f.IsRoot() {
		_, err = fmt.Fprintln(c.Out, "/")
		return err
	}
	t := v.tenant(th.at)
	if len(t.link.Links) == 0 {
		return fmt.Errorf("%v has no link EA that tells of a name", f)
	}
	for _, l := range t.link.Links {
		state, err := v.linkState(ctx, f, l)
		if err != nil {
			return err
		}
		head, err := v.above(ctx, l.Parent)
		if err != nil {
			return err
		}
		line := strings.TrimSuffix(head, "/") + "/" + formatName(l.Name)
		if shard, _, ok := lustre.ParseShardName(l.Name); ok && shard == f {
			line = head
		}
		if state != "" {
			line = "! " + line + "  " + state
		}
		if _, err := fmt.Fprintln(c.Out, line); err != nil {
			return err
		}
	}
	if t.link.Overflow != 0 {
		fmt.Fprintln(c.Err, "the link EA had no room for more: there may be other names")
	}
	return nil
}

// above gives the path of a directory by link EAs, from the root, or from the FID of the last directory that can be found.
func (v *view) above(ctx context.Context, f lustre.FID) (string, error) {
	var parts []string
	head := ""
	seen := map[lustre.FID]bool{}
	for !f.IsRoot() {
		p, how, err := v.seek(ctx, f)
		if err != nil {
			return "", err
		}
		var ls []lustre.Link
		if how == locFound && !seen[f] && len(seen) < maxDepth {
			ls = v.tenant(p).link.Links
		}
		if len(ls) == 0 {
			head = "/" + dotLustre + "/fid/" + f.String()
			break
		}
		seen[f] = true
		if shard, _, ok := lustre.ParseShardName(ls[0].Name); !ok || shard != f {
			parts = append(parts, formatName(ls[0].Name))
		}
		f = ls[0].Parent
	}
	for i := len(parts) - 1; i >= 0; i-- {
		head += "/" + parts[i]
	}
	if head == "" {
		head = "/"
	}
	return head, nil
}

func (v *view) cmdLMV(ctx context.Context, c store.BrowseCall) error {
	th, err := v.inode(ctx, c)
	if err != nil {
		return err
	}
	b := v.attribute(th.at, "lmv")
	if b == nil {
		_, err = fmt.Fprintln(c.Out, "it has no LMV: it is not striped")
		return err
	}
	text, _ := lustre.Describe(lustre.XattrLMV, b)
	if _, err := fmt.Fprintln(c.Out, text); err != nil {
		return err
	}
	s, err := v.striped(ctx, th.at)
	if err != nil || s == nil {
		return err
	}
	for _, sh := range s.shards {
		fid, _ := v.fidAt(sh.at)
		says := "it has no LMV, which a shard must have"
		if b := v.attribute(sh.at, "lmv"); b != nil {
			says, _ = lustre.Describe(lustre.XattrLMV, b)
		}
		if _, err := fmt.Fprintf(c.Out, "%d: %v %s inode %d: %s\n", sh.index, fid, v.targets[sh.at.mdt].name(), sh.at.ino, says); err != nil {
			return err
		}
	}
	for _, l := range s.lost {
		fmt.Fprintf(c.Out, "! %s\n", l)
	}
	return nil
}

func (v *view) cmdOI(ctx context.Context, c store.BrowseCall) error {
	f, err := parseFID(c.Args[0])
	if err != nil {
		return err
	}
	any := false
	for i, t := range v.targets {
		e, ok := v.indexEntry(i, f)
		if !ok {
			continue
		}
		any = true
		in := v.tenant(place{i, e.Ino})
		mark := ""
		if !in.known || in.fid != f || in.agent || in.gen != e.Generation {
			mark = "! "
		}
		gen := ""
		if in.gen != e.Generation && !in.unread {
			gen = fmt.Sprintf(" (of generation %d)", in.gen)
		}
		if _, err := fmt.Fprintf(c.Out, "%s%s: inode %d, generation %d; that inode%s %v\n", mark, t.name(), e.Ino, e.Generation, gen, in); err != nil {
			return err
		}
	}
	if any {
		return nil
	}
	if _, err := fmt.Fprintln(c.Out, "no object index has it"); err != nil {
		return err
	}
	p, how, err := v.seek(ctx, f)
	if err == nil && how == locFound {
		_, err = fmt.Fprintf(c.Out, "! %s inode %d is that object\n", v.targets[p.mdt].name(), p.ino)
	}
	return err
}
