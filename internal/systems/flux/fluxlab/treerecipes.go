package fluxlab

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"fettle/internal/lab"
)

// blob reads a blob by its hash, as it is in the transaction that is under way.
func (s *surgeon) blob(hash string) (out []byte, err error) {
	stmt, _, err := s.conn.Prepare("SELECT size, object FROM objects WHERE hash=?1")
	if err != nil {
		return nil, err
	}
	defer stmt.Close()
	if err := stmt.BindText(1, hash); err != nil {
		return nil, err
	}
	if !stmt.Step() {
		return nil, fmt.Errorf("no row for %s: %w", blobref(hash), stmt.Err())
	}
	out, ok := decode(stmt, 0, 1)
	if !ok {
		return nil, fmt.Errorf("%s cannot be decoded", blobref(hash))
	}
	return out, nil
}

// rewrite changes the directory at path below dir and stores every directory from there up. It returns the new hash of dir.
func (s *surgeon) rewrite(alg, dir string, path []string, edit func(map[string]json.RawMessage)) (string, error) {
	content, err := s.blob(dir)
	if err != nil {
		return "", err
	}
	o := parse(content)
	m, ok := members(o.data)
	if !ok {
		return "", fmt.Errorf("%s is no directory", blobref(dir))
	}
	if len(path) == 0 {
		edit(m)
		return s.store(alg, dirText(m))
	}
	child := parse(m[path[0]])
	if child.kind != "dirref" || child.rule != "" {
		return "", fmt.Errorf("%q is not a directory", path[0])
	}
	hash, err := s.rewrite(alg, child.refs[0], path[1:], edit)
	if err != nil {
		return "", err
	}
	m[path[0]] = refText("dirref", hash)
	return s.store(alg, dirText(m))
}

func refText(kind string, hashes ...string) json.RawMessage {
	var refs []string
	for _, h := range hashes {
		refs = append(refs, `"`+blobref(h)+`"`)
	}
	return json.RawMessage(`{"data":[` + strings.Join(refs, ",") + `],"type":"` + kind + `","ver":1}`)
}

// checkpoint adds a row for a new root, one commit after the newest row.
func (p *patient) checkpoint(s *surgeon, root string) error {
	newest := p.whole.checkpt[0]
	var v struct {
		Sequence  int64
		Timestamp json.Number
	}
	if err := json.Unmarshal([]byte(newest.value), &v); err != nil {
		return fmt.Errorf("%s: %w", newest.name(), err)
	}
	value := fmt.Sprintf(`{"version":1,"rootref":"%s","sequence":%d,"timestamp":%s}`, blobref(root), v.Sequence+1, v.Timestamp)
	if newest.legacy {
		return s.exec("UPDATE checkpt SET value=?1 WHERE key='kvs-primary'", value)
	}
	return s.exec("INSERT INTO checkpt_v2 (value) VALUES (?1)", value)
}

// spots chooses directories to put something into, with repetition when there are few.
func (p *patient) spots(in lab.Injury) []place {
	dirs := slices.Clone(p.before.places)
	dirs = slices.DeleteFunc(dirs, func(d place) bool { return strings.Contains(strings.Join(d.path, ""), ".") })
	p.rnd.Shuffle(len(dirs), func(i, j int) { dirs[i], dirs[j] = dirs[j], dirs[i] })
	var out []place
	want := in.Of(max(len(dirs), in.Count))
	for len(out) < want {
		out = append(out, dirs[len(out)%len(dirs)])
	}
	return out
}

// badEntries are tree objects that break a rule of RFC 11 each. REF stands for a blobref of a value.
var badEntries = []string{
	`{"data":"eA==","type":"val","ver":2}`,
	`{"data":["REF"],"type":"valref","ver":"1"}`,
	`{"data":{},"type":"hdir","ver":1}`,
	`{"data":"eA==","ver":1}`,
	`{"type":"dir","ver":1}`,
	`{"data":"eA==","type":"val"}`,
	`{"data":"eA==","extra":0,"type":"val","ver":1}`,
	`{"data":[],"type":"valref","ver":1}`,
	`{"data":["sha1-xyz"],"type":"valref","ver":1}`,
	`{"data":["REF",7],"type":"valref","ver":1}`,
	`{"data":"REF","type":"valref","ver":1}`,
	`{"data":["UPPER"],"type":"valref","ver":1}`,
	`{"data":["REF","REF"],"type":"dirref","ver":1}`,
	`{"data":[],"type":"dirref","ver":1}`,
	`{"data":5,"type":"val","ver":1}`,
	`{"data":"*not base64*","type":"val","ver":1}`,
	`{"data":{},"type":"symlink","ver":1}`,
	`{"data":{"target":5},"type":"symlink","ver":1}`,
	`{"data":{"namespace":[],"target":"a"},"type":"symlink","ver":1}`,
	`{"data":{"colour":"red","target":"a"},"type":"symlink","ver":1}`,
	`{"data":["a"],"type":"dir","ver":1}`,
	`null`,
	`7`,
	`["val"]`,
	`{"data":{"inner":{"data":"eA==","type":"val","ver":3}},"type":"dir","ver":1}`,
	wholeDirectory,
}

// wholeDirectory stands for a directory object that breaks a rule itself.
const wholeDirectory = "(directory)"

func (p *patient) commitBadEntries(s *surgeon, d *lab.Done) error {
	ref := blobref(p.valueBlobs()[0])
	alg, digits, _ := strings.Cut(ref, "-")
	fill := strings.NewReplacer("REF", ref, "UPPER", alg+"-"+strings.ToUpper(digits[:len(digits)-1])+"A")
	root, first := p.root, p.rnd.IntN(len(badEntries))
	for i, at := range p.spots(d.Injury) {
		name, text := fmt.Sprintf("injured%d", i), fill.Replace(badEntries[(first+i)%len(badEntries)])
		if text == wholeDirectory {
			hash, err := s.store(p.whole.alg, []byte(`{"data":{"x":{"data":"eA==","type":"val","ver":1}},"type":"dir","ver":2}`))
			if err != nil {
				return err
			}
			text = string(refText("dirref", hash))
		}
		var err error
		if root, err = s.rewrite(p.whole.alg, root, at.path, func(m map[string]json.RawMessage) { m[name] = json.RawMessage(text) }); err != nil {
			return err
		}
		d.Add("%s = %s", strings.Join(append(slices.Clone(at.path), name), "."), text)
	}
	return p.checkpoint(s, root)
}

func (p *patient) commitNotDirs(s *surgeon, d *lab.Done) error {
	values := p.valueBlobs()
	root := p.root
	for i, at := range p.spots(d.Injury) {
		hash, what := values[p.rnd.IntN(len(values))], "a value"
		if i%2 == 1 {
			var err error
			if hash, err = s.store(p.whole.alg, refText("valref", hash)); err != nil {
				return err
			}
			what = "a valref object"
		}
		name := fmt.Sprintf("nodir%d", i)
		var err error
		if root, err = s.rewrite(p.whole.alg, root, at.path, func(m map[string]json.RawMessage) { m[name] = refText("dirref", hash) }); err != nil {
			return err
		}
		d.Add("%s is a dirref to %s", strings.Join(append(slices.Clone(at.path), name), "."), what)
	}
	return p.checkpoint(s, root)
}

func (p *patient) shuffleLogs(s *surgeon, d *lab.Done) error {
	jobs := slices.Clone(p.before.jobs)
	p.rnd.Shuffle(len(jobs), func(i, j int) { jobs[i], jobs[j] = jobs[j], jobs[i] })
	root := p.root
	for i, at := range jobs[:d.Injury.Of(len(jobs))] {
		what := ""
		var err error
		root, err = s.rewrite(p.whole.alg, root, at.path, func(m map[string]json.RawMessage) {
			log := parse(m["eventlog"]).refs
			switch n := len(log); i % 3 {
			case 0:
				log, what = log[1:], "lost its first event"
			case 1:
				log[0], log[1], what = log[1], log[0], "has its first two events exchanged"
			default:
				log, what = append([]string{log[n-1]}, log[:n-1]...), "begins with its last event"
			}
			m["eventlog"] = refText("valref", log...)
		})
		if err != nil {
			return err
		}
		d.Add("%s.eventlog %s", strings.Join(at.path, "."), what)
	}
	return p.checkpoint(s, root)
}

func (p *patient) rootIsValue(s *surgeon, d *lab.Done) error {
	values := p.valueBlobs()
	hash := values[p.rnd.IntN(len(values))]
	d.Add("the newest checkpoint names the value %s", blobref(hash))
	return p.checkpoint(s, hash)
}

// badValues are checkpoint rows that are none. REF stands for a good rootref; an empty text for NULL.
var badValues = []string{
	`garbage`, ``, `{"version":7,"rootref":"REF","sequence":1,"timestamp":1.5}`, `{"version":1,"sequence":1,"timestamp":1.5}`,
	`{"version":1,"rootref":"sha1-zz","sequence":1,"timestamp":1.5}`, `{"version":1,"rootref":5,"sequence":1,"timestamp":1.5}`,
	`["REF"]`, `{"version":1,"rootref":"REF"`, `{"rootref":"REF","sequence":1}`,
}

func (p *patient) badCheckpoints(s *surgeon, d *lab.Done) error {
	if !p.whole.tables["checkpt_v2"] {
		return fmt.Errorf("a store with the legacy schema has no checkpt_v2")
	}
	var old []int64 // rows that can be spoiled without touching the newest root
	for _, c := range p.whole.checkpt {
		if h, _ := c.root(); h != p.root {
			old = append(old, c.id)
		}
	}
	first := p.rnd.IntN(len(badValues))
	for i := range max(1, d.Injury.Count) {
		text := strings.ReplaceAll(badValues[(first+i)%len(badValues)], "REF", blobref(p.root))
		var value any = text
		if text == "" {
			value = nil
		}
		if i%2 == 1 && len(old) > 0 {
			id := old[0]
			old = old[1:]
			if err := s.exec("UPDATE checkpt_v2 SET value=?1 WHERE id=?2", value, id); err != nil {
				return err
			}
			d.Add("row %d is now %q", id, text)
			continue
		}
		if err := s.exec("INSERT INTO checkpt_v2 (value) VALUES (?1)", value); err != nil {
			return err
		}
		d.Add("new row %q", text)
	}
	return nil
}

func (p *patient) noCheckpoints(s *surgeon, d *lab.Done) error {
	table := "checkpt_v2"
	if p.whole.tables["checkpt"] {
		table = "checkpt"
	}
	if p.rnd.IntN(2) == 0 {
		d.Add("dropped the table %s", table)
		return s.exec("DROP TABLE " + table)
	}
	d.Add("deleted all rows of %s", table)
	return s.exec("DELETE FROM " + table)
}

func (p *patient) legacyValue(s *surgeon, d *lab.Done) error {
	for _, sql := range []string{"DROP TABLE IF EXISTS checkpt_v2", "DROP TABLE IF EXISTS checkpt", sqlLegacy} {
		if err := s.exec(sql); err != nil {
			return err
		}
	}
	d.Add("table checkpt with the bare blobref %s", blobref(p.root))
	return s.exec("INSERT INTO checkpt (key,value) VALUES ('kvs-primary',?1)", blobref(p.root))
}
