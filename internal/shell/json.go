package shell

import (
	"encoding/json"
	"fmt"

	"fettle/internal/store"
)

// nodeSchema is the version of the JSON form of a node. It changes only when a field is removed or changes its meaning.
const nodeSchema = 1

// nodeLine is a node as ls, find and stat write it with JSON output.
type nodeLine struct {
	Type    string      `json:"type"` // always "node"
	Schema  int         `json:"schema"`
	Path    string      `json:"path"` // as the shell reads it back; "/" is the root
	Names   []string    `json:"names"`
	Kind    string      `json:"kind"`
	Dir     bool        `json:"dir"`
	Size    *int64      `json:"size"` // null: not known, or the node has none
	Parts   int         `json:"parts,omitempty"`
	Link    string      `json:"link,omitempty"`
	Trouble string      `json:"trouble,omitempty"`
	Fields  []fieldLine `json:"fields,omitempty"` // of stat
}

type fieldLine struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// json writes a node as one line. An error of the stream is told when the output is flushed.
func (s *Shell) json(n store.Node, fields []store.Field) {
	l := nodeLine{Type: "node", Schema: nodeSchema, Path: s.show(n.Path), Names: append([]string{}, n.Path...), Kind: n.Kind, Dir: n.Dir,
		Parts: n.Parts, Link: n.Link, Trouble: n.Trouble}
	if n.Size >= 0 {
		l.Size = &n.Size
	}
	for _, f := range fields {
		l.Fields = append(l.Fields, fieldLine(f))
	}
	enc := json.NewEncoder(s.text)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(l) // strings and numbers always encode; s.out keeps its error until it is flushed
}

// inJSON refuses commands whose output has no JSON form.
func (s *Shell) inJSON(c *command) error {
	if s.asJSON && !c.json {
		return usage("ls, stat and find have it; leave out --json for the others", fmt.Errorf("%s has no JSON output", c.name))
	}
	return nil
}
