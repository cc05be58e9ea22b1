package flux

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"fettle/internal/format/eventlog"
	"fettle/internal/format/treeobj"
	"fettle/internal/store"
)

// find looks a key up below cwd and then below the root.
func (v *view) find(ctx context.Context, cwd []string, text string) (store.Node, error) {
	path, err := v.Resolve(ctx, cwd, text)
	if err != nil {
		return store.Node{}, err
	}
	n, err := v.Lookup(ctx, path, true)
	if err != nil && len(cwd) > 0 {
		if again, e := v.find(ctx, nil, text); e == nil {
			return again, nil
		}
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", showKey(path), err)
	}
	return n, err
}

// cmdEventlog prints events one per line as "time name key=value ...", with a line for every gap.
func (v *view) cmdEventlog(ctx context.Context, c store.BrowseCall) error {
	n, err := v.find(ctx, c.Cwd, c.Args[0])
	if err != nil {
		return err
	}
	o := n.Handle.(object)
	if o.typ != treeobj.TypeVal && o.typ != treeobj.TypeValref {
		return fmt.Errorf("%s is a %s, not a value", showKey(n.Path), n.Kind)
	}
	faults := 0
	lost, err := v.eachRun(ctx, o, func(run []byte) error {
		log := eventlog.Parse(run)
		faults += log.ErrorCount
		return printEvents(c.Out, log)
	}, func(gap string) error {
		_, err := fmt.Fprintf(c.Out, "--- %s ---\n", gap)
		return err
	})
	if err != nil {
		return err
	}
	if lost > 0 || faults > 0 {
		return store.Partial("%s: %d blobs lost or damaged, %d malformed lines", showKey(n.Path), lost, faults)
	}
	return nil
}

// maxRun bounds how much of a log is parsed at once, in bytes; it is cut between blobs only, as every append is one blob of whole lines.
const maxRun = 4 << 20

// eachRun gives the content of a value as runs of neighbouring blobs that can be read, and a text for every gap between them. lost is the
// number of blobs that cannot be read.
func (v *view) eachRun(ctx context.Context, o object, run func([]byte) error, gap func(string) error) (lost int, err error) {
	var scan treeobj.Scanner
	e := &scan.Parse(o.raw).Root
	if o.typ == treeobj.TypeVal {
		content, err := e.Value()
		if err != nil {
			return 1, gap("the value is malformed: " + err.Error())
		}
		return 0, run(content)
	}
	var part []byte
	flush := func() error {
		if len(part) == 0 {
			return nil
		}
		err := run(part)
		part = part[:0]
		return err
	}
	refs := e.AppendRefs(nil)
	for i, ref := range refs {
		if err := ctx.Err(); err != nil {
			return lost, err
		}
		row, ok := v.k.f.b.lookup(ref)
		if says := rowTrouble(row, ok); says != "" {
			lost++
			if err := flush(); err != nil {
				return lost, err
			}
			if err := gap(fmt.Sprintf("gap: blob %d of %d (%s): %s", i, len(refs), ref, says)); err != nil {
				return lost, err
			}
			continue
		}
		if part = append(part, row.Content...); len(part) > maxRun {
			if err := flush(); err != nil {
				return lost, err
			}
		}
	}
	return lost, flush()
}

// printEvents writes the events and the faults of a piece of a log in the order of their lines.
func printEvents(w io.Writer, log *eventlog.Log) error {
	var b bytes.Buffer
	bad := log.Errors
	for i := range log.Entries {
		e := &log.Entries[i]
		for len(bad) > 0 && bad[0].Offset < e.Offset {
			fmt.Fprintf(&b, "?   %v\n", bad[0])
			bad = bad[1:]
		}
		when := unixTime(e.Timestamp)
		if when.IsZero() {
			fmt.Fprintf(&b, "%-24s", e.TimeText)
		} else {
			b.WriteString(when.Format("2006-01-02T15:04:05.000Z"))
		}
		b.WriteString(" " + treeobj.FormatPath([]string{e.Name}))
		b.WriteString(contextText(e.Context))
		b.WriteByte('\n')
	}
	for _, f := range bad {
		fmt.Fprintf(&b, "?   %v\n", f)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// maxField is how much of one value of a context is shown, in bytes; cat shows all.
const maxField = 300

// contextText is the members of an event's context as " key=value", in their order.
func contextText(raw json.RawMessage) string {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return ""
	}
	var b strings.Builder
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return b.String() + " ..."
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return b.String() + " ..."
		}
		text := string(value)
		if len(text) > maxField {
			text = fmt.Sprintf("%s...(%d bytes)", strings.ToValidUTF8(text[:maxField], ""), len(value))
		}
		fmt.Fprintf(&b, " %v=%s", key, text)
	}
	return b.String()
}

// survivors is what is left of an eventlog.
func (v *view) survivors(ctx context.Context, o object) (entries []eventlog.Entry, lost int, err error) {
	lost, err = v.eachRun(ctx, o, func(run []byte) error {
		entries = append(entries, eventlog.Parse(bytes.Clone(run)).Entries...)
		return nil
	}, func(string) error { return nil })
	return entries, lost, err
}

// cmdDrained lists the nodes that are drained, as the resource module would find them at its next start.
func (v *view) cmdDrained(ctx context.Context, c store.BrowseCall) error {
	drains, notes := &eventlog.Drains{}, []string(nil)
	say := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	if v.root.ref.IsZero() {
		_, err := v.Lookup(ctx, nil, false)
		return err
	}
	if content, ok := v.k.value(keyResourceState); !ok {
		say("%s cannot be read: what was drained before the first surviving event is unknown", keyResourceState)
	} else if d, problems, err := eventlog.ParseDrains(content); err != nil {
		say("%s is malformed: %v", keyResourceState, err)
	} else {
		drains = d
		for _, p := range problems {
			say("%s: %s", keyResourceState, p.Detail)
		}
	}
	n, err := v.Lookup(ctx, treeobj.SplitKey(keyResourceLog), true)
	if err != nil {
		say("%s: %v", keyResourceLog, err)
	} else {
		entries, lost, err := v.survivors(ctx, n.Handle.(object))
		if err != nil {
			return err
		}
		if lost > 0 {
			say("%s: %d of %d blobs cannot be read, so nodes may be missing here or drained no more", keyResourceLog, lost, n.Parts)
		}
		for _, p := range drains.Apply(entries) {
			say("%s: event %d: %s", keyResourceLog, p.Index, p.Detail)
		}
	}
	nodes := drains.Nodes()
	for _, d := range nodes {
		when, _ := timeText(unixTime(d.Timestamp), unixTime(d.Timestamp))
		fmt.Fprintf(c.Out, "%-20s %-20s rank %-6d %s\n", treeobj.FormatPath([]string{d.Host}), when, d.Rank, d.Reason)
	}
	if len(nodes) == 0 {
		fmt.Fprintln(c.Out, "no drained nodes")
	}
	if len(notes) > 0 {
		return store.Partial("%s", firstTexts(notes, 5))
	}
	return nil
}
