package fluxlab

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"sort"
	"unicode/utf8"
)

// object is one tree object as the walker understands it (RFC 11).
type object struct {
	kind string   // val, valref, dir, dirref, symlink; "" when it cannot be told
	rule string   // what is wrong with it, "" if nothing
	refs []string // raw hashes of a valref or dirref
	data json.RawMessage
}

// parse reads one tree object. Directory entries are not judged: see entries.
func parse(raw []byte) object {
	var o object
	members, ok := members(raw)
	if !ok {
		o.rule = "not a JSON object"
		return o
	}
	json.Unmarshal(members["type"], &o.kind) // a kind that is no string stays ""
	o.data = members["data"]
	if _, typed := members["type"]; len(members) != 3 || o.data == nil || members["ver"] == nil || !typed {
		o.rule = "keys are not ver, type, data"
		return o
	}
	if string(members["ver"]) != "1" {
		o.rule = "ver is not 1"
		return o
	}
	o.rule = o.judge()
	return o
}

// judge looks at the data.
func (o *object) judge() string {
	switch o.kind {
	case "val":
		var text string
		if o.data[0] != '"' || json.Unmarshal(o.data, &text) != nil {
			return "data is not a string"
		}
		if _, err := base64.StdEncoding.Strict().DecodeString(text); err != nil {
			return "data is not base64"
		}
	case "valref", "dirref":
		var list []json.RawMessage
		if o.data[0] != '[' || json.Unmarshal(o.data, &list) != nil {
			return "data is not an array"
		}
		for _, item := range list {
			var ref string
			json.Unmarshal(item, &ref)
			h := rawHash(ref)
			if h == "" {
				return "an element is not a blobref"
			}
			o.refs = append(o.refs, h)
		}
		if len(list) == 0 || o.kind == "dirref" && len(list) != 1 {
			return "wrong number of blobrefs"
		}
	case "symlink":
		m, ok := members(o.data)
		if !ok || m["target"] == nil || m["target"][0] != '"' {
			return "symlink without target"
		}
		if ns := m["namespace"]; ns != nil && ns[0] != '"' {
			return "namespace is not a string"
		}
		delete(m, "target")
		delete(m, "namespace")
		if len(m) > 0 {
			return "symlink with other keys"
		}
	case "dir":
		if _, ok := members(o.data); !ok {
			return "data is not an object"
		}
	default:
		return "unknown type"
	}
	return ""
}

// named is one directory entry.
type named struct {
	name string
	raw  json.RawMessage
}

// entries lists the entries of a directory in byte order.
func (o *object) entries() []named {
	m, _ := members(o.data)
	out := make([]named, 0, len(m))
	for name, raw := range m {
		out = append(out, named{name, raw})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].name < out[j].name })
	return out
}

// members splits a JSON object.
func members(raw []byte) (map[string]json.RawMessage, bool) {
	raw = bytes.TrimSpace(raw)
	var m map[string]json.RawMessage
	if len(raw) == 0 || raw[0] != '{' || !utf8.Valid(raw) || json.Unmarshal(raw, &m) != nil {
		return nil, false
	}
	return m, true
}

// dirText serializes a directory as Flux does.
func dirText(m map[string]json.RawMessage) []byte {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	sort.Strings(names)
	out := []byte(`{"data":{`)
	for i, name := range names {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(append(append(out, quote(name)...), ':'), m[name]...)
	}
	return append(out, `},"type":"dir","ver":1}`...)
}

// quote writes a JSON string without escaping what JSON does not ask to be escaped.
func quote(s string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.Encode(s) // a string always encodes
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
