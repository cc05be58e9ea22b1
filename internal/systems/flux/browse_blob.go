package flux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"fettle/internal/fault"
	"fettle/internal/format/treeobj"
	"fettle/internal/store"
)

// cmdBlob is about single blobs, whether anything refers to them or not.
func (v *view) cmdBlob(ctx context.Context, c store.BrowseCall) error {
	what, args := c.Args[0], c.Args[1:]
	switch {
	case what == "stat" && len(args) == 1:
		return v.blobStat(c.Out, args[0])
	case what == "dump":
		return v.blobDump(c, args)
	case what == "load" && len(args) == 1:
		return v.blobLoad(c.Out, args[0])
	}
	return fault.NewUsage(fmt.Errorf("blob %s: no such use", what), "usage: blob stat REF | blob dump REF [FILE] | blob load FILE")
}

func parseBlobref(text string) (treeobj.Ref, error) {
	ref, err := treeobj.ParseRef(text)
	if err != nil {
		return ref, fault.NewUsage(err, "a reference is sha1- and 40, or sha256- and 64 lower case hex digits; stat KEY shows those of a key")
	}
	return ref, nil
}

// errNoBlob is returned for references that the store has no row for.
func errNoBlob(ref treeobj.Ref) error {
	return fault.WithHint(fmt.Errorf("%s is not in the store", ref), "find -damaged lists the keys that lost blobs")
}

func (v *view) blobStat(w io.Writer, text string) error {
	ref, err := parseBlobref(text)
	if err != nil {
		return err
	}
	b := v.k.f.b
	row, ok := b.lookup(ref)
	if !ok {
		return errNoBlob(ref)
	}
	e := v.u.idx.at(v.u.idx.find(ref.Sum()))
	p := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-14s %s\n", name, fmt.Sprintf(format, args...))
	}
	p("blob", "%s", ref)
	switch says := rowTrouble(row, true); {
	case says != "":
		p("status", "damaged: %s", says)
	case row.BlobKey:
		p("status", "content is good, but Flux cannot find it: the key has storage class BLOB")
	default:
		p("status", "good")
	}
	if row.Content != nil {
		p("size", "%d", len(row.Content))
	}
	switch {
	case row.Stored == nil:
		p("stored", "nothing")
	case row.Size == -1:
		p("stored", "%d bytes, not compressed", len(row.Stored))
	default:
		p("stored", "%d bytes, LZ4 (size column %d)", len(row.Stored), row.Size)
	}
	if row.HasEp {
		p("epoch", "%d", row.Epoch)
	}
	p("row id", "%d", b.row.RowID)
	p("page", "%d, cell %d", e.page(), e.cell())
	if e.has(flagSalvaged) {
		p("salvaged", "the page is in no tree that can be read")
	}
	if e.has(flagDuplicate) {
		p("duplicate", "another row has the same hash")
	}
	if row.Content != nil {
		p("looks like", "%s", contentKind(row.Content))
	}
	return nil
}

// contentKind guesses what a blob is part of.
func contentKind(content []byte) string {
	var scan treeobj.Scanner
	if looksLikeDir(content) {
		if t := scan.ParseDir(content); t.IsDir() && !t.Broken {
			kind := "a directory"
			if looksLikeRoot(t) {
				kind = "a root directory"
			}
			return fmt.Sprintf("%s with %d entries", kind, len(t.Entries))
		}
	}
	if first, _ := eventCodes(content); first != evNone {
		return "part of an eventlog"
	}
	return "part of a value"
}

func (v *view) blobDump(c store.BrowseCall, args []string) error {
	ref, err := parseBlobref(args[0])
	if err != nil {
		return err
	}
	row, ok := v.k.f.b.lookup(ref)
	if !ok {
		return errNoBlob(ref)
	}
	if row.Content == nil {
		return fmt.Errorf("%s: %s", ref, rowTrouble(row, true))
	}
	if len(args) > 1 {
		if err := writeNew(args[1], row.Content); err != nil {
			return err
		}
		fmt.Fprintf(c.Err, "%d bytes in %s\n", len(row.Content), args[1])
	} else if _, err := c.Raw.Write(row.Content); err != nil {
		return err
	}
	if says := rowTrouble(row, true); says != "" {
		return store.Partial("%s: %s", ref, says)
	}
	return nil
}

// writeNew writes a file that did not exist.
func writeNew(name string, content []byte) error {
	f, err := createNew(name)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		os.Remove(name) // ours, and useless
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// createNew refuses to touch what exists: the shell must not be able to hurt a store by a slip of the fingers.
func createNew(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil, fault.WithHint(err, "the shell writes to new files only")
	}
	return f, err
}

func (v *view) blobLoad(w io.Writer, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxContent+1))
	if err != nil {
		return err
	}
	if len(content) > maxContent {
		return fmt.Errorf("%s has more than %d bytes, the most that a blob can have", name, maxContent)
	}
	ref := treeobj.Hash(v.u.algorithm(), content)
	fmt.Fprintf(w, "%s  %d bytes\n", ref, len(content))
	row, ok := v.k.f.b.lookup(ref)
	switch says := rowTrouble(row, ok); {
	case !ok:
		fmt.Fprintln(w, "the store does not have this blob. Nothing was written: the shell never writes to the store.")
	case says != "":
		fmt.Fprintf(w, "the store has a row for this blob, but %s. Nothing was written.\n", says)
	default:
		fmt.Fprintln(w, "the store has this blob. Nothing was written.")
	}
	return nil
}
