package flux

import (
	"context"
	"fmt"
	"io"
	"strings"

	"fettle/internal/fault"
	"fettle/internal/format/treeobj"
	"fettle/internal/store"
)

// Read implements store.View.
func (v *view) Read(ctx context.Context, n store.Node, part int, w io.Writer) error {
	o, err := v.followed(ctx, &n)
	if err != nil {
		return err
	}
	e := &v.scan.Parse(o.raw).Root
	switch o.typ {
	case treeobj.TypeVal:
		if part > 0 {
			return fmt.Errorf("it is kept in its directory as one part; there is no part %d", part)
		}
		content, err := e.Value()
		if err != nil {
			return fmt.Errorf("the value is malformed: %w", err)
		}
		_, err = w.Write(content)
		return err
	case treeobj.TypeValref:
		return v.readBlobs(ctx, e.AppendRefs(nil), o.rule, part, w)
	case treeobj.TypeDir, treeobj.TypeDirref:
		return fault.WithHint(fmt.Errorf("it is a directory"), "ls lists it, stat names its object")
	}
	return fmt.Errorf("the entry is malformed (%s) and has no content", o.rule)
}

// readBlobs writes the content of the blobs that can be read.
func (v *view) readBlobs(ctx context.Context, refs []treeobj.Ref, rule treeobj.Rule, part int, w io.Writer) error {
	if part >= len(refs) {
		return fmt.Errorf("it has the parts 0 to %d, no part %d", len(refs)-1, part)
	}
	var bad []string
	for i, ref := range refs {
		if part >= 0 && i != part {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		row, ok := v.k.f.b.lookup(ref)
		if says := rowTrouble(row, ok); says != "" {
			bad = append(bad, fmt.Sprintf("index %d of %d (%s): %s", i, len(refs), ref, says))
			continue
		}
		if _, err := w.Write(row.Content); err != nil {
			return err
		}
	}
	if len(bad) > 0 {
		return store.Partial("%s", firstTexts(bad, 5))
	}
	if rule != treeobj.RuleNone {
		return store.Partial("the entry is malformed (%s)", rule)
	}
	return nil
}

// firstTexts joins at most n texts and says how many more there are.
func firstTexts(texts []string, n int) string {
	if len(texts) <= n {
		return strings.Join(texts, "; ")
	}
	return fmt.Sprintf("%s; and %d more", strings.Join(texts[:n], "; "), len(texts)-n)
}
