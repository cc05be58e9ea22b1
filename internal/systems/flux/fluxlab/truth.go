package fluxlab

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"fettle/internal/lab"
)

// maxSingleBlobKeys is up to how many rows with a key of storage class BLOB are told one by one; more are told in one
// finding about the root. It is part of what fettle check promises.
const maxSingleBlobKeys = 64

// rootOf is one distinct root that checkpoint rows name.
type rootOf struct {
	hash string
	rows []checkptRow // newest first
}

// roots judges the rows and lists the distinct roots, newest first. Rows that are no checkpoint are expected findings.
func (p *picture) roots(t *lab.Truth) (out []rootOf) {
	for _, c := range p.checkpt {
		hash, why := c.root()
		switch {
		case why != "" && c.legacy:
			t.Expected = append(t.Expected, lab.Expect{Class: legacyCheckpoint, Subject: c.name(), Note: why})
		case why != "":
			t.Expected = append(t.Expected, lab.Expect{Class: badCheckpoint, Subject: c.name(), Note: why})
		}
		if hash == "" {
			continue
		}
		if i := slices.IndexFunc(out, func(r rootOf) bool { return r.hash == hash }); i >= 0 {
			out[i].rows = append(out[i].rows, c)
		} else {
			out = append(out, rootOf{hash, []checkptRow{c}})
		}
	}
	return out
}

func (c checkptRow) name() string {
	if c.legacy {
		return "checkpt row kvs-primary"
	}
	return fmt.Sprintf("checkpt_v2 row %d", c.id)
}

// root reads the value: a JSON object with version 0 or 1 and a rootref. A bare blobref is what Flux wrote before 0.36;
// newer versions refuse it, but it does name the root.
func (c checkptRow) root() (hash, why string) {
	if !c.text {
		return "", "not text"
	}
	if c.legacy {
		if h := rawHash(strings.TrimRight(c.value, "\x00\n ")); h != "" {
			return h, "a bare blobref, which newer versions of Flux refuse"
		}
	}
	m, ok := members([]byte(c.value))
	if !ok {
		return "", "not a JSON object"
	}
	if v := string(m["version"]); v != "0" && v != "1" {
		return "", "version is " + v
	}
	var ref string
	if json.Unmarshal(m["rootref"], &ref) != nil || rawHash(ref) == "" {
		return "", "no rootref that is a blobref"
	}
	return rawHash(ref), ""
}

// judgeRoot says what is wrong with a root, "" if nothing that keeps it from being walked.
func (p *picture) judgeRoot(hash string) (string, error) {
	if c := p.fault(hash, danglingRoot); c != "" && c != hashStorageClass {
		return c, nil
	}
	row, _ := p.best(hash)
	content, err := p.content(row.id)
	if err != nil {
		return "", err
	}
	if notDir(content) != "" {
		return notADirectory, nil
	}
	return "", nil
}

// start finds the root that a walk begins at: that of the newest checkpoint that leads to a directory, else the newest
// directory among the blobs that looks like a root, if possible one whose tree is whole.
func (p *picture) start(t *lab.Truth) (string, error) {
	at := ""
	all := p.roots(t)
	for i, r := range all {
		fault, err := p.judgeRoot(r.hash)
		switch {
		case err != nil:
			return "", err
		case fault == "":
			if at == "" {
				at = r.hash
				t.Facts["root"] = blobref(at)
				t.Facts["checkpoint"] = r.rows[0].name()
			}
			continue
		case i == 0:
			t.Expected = append(t.Expected, lab.Expect{Class: fault, Path: new(string), Subject: blobref(r.hash), Note: "the root of " + r.rows[0].name()})
		default:
			t.Expected = append(t.Expected, lab.Expect{Class: lostCheckpoint, Subject: r.rows[0].name(), Note: "its root: " + strings.TrimPrefix(fault, "flux/")})
		}
		if row, ok := p.best(r.hash); ok && row.fault != "" {
			t.Allowed = append(t.Allowed, lab.Allowed{Class: damagedOrphan, Subject: blobref(r.hash), Why: "the row of a root that is reported as such"})
		}
	}
	if len(all) == 0 {
		t.Expected = append(t.Expected, lab.Expect{Class: noCheckpoint, Path: new(string), Note: "no row is a checkpoint"})
	}
	if at != "" {
		return at, nil
	}
	at, err := p.orphanRoot()
	if at != "" {
		t.Facts["root"] = blobref(at)
		t.Facts["checkpoint"] = "none: the newest root among the blobs"
	}
	return at, err
}

// orphanCandidates is how many of the newest roots among the blobs are looked at.
const orphanCandidates = 64

// orphanRoot finds the newest directory that holds two of the keys that every instance has.
func (p *picture) orphanRoot() (string, error) {
	first, seen := "", 0
	for _, hash := range slices.Backward(p.order) {
		row, _ := p.best(hash)
		if row.fault != "" {
			continue
		}
		content, err := p.content(row.id)
		if err != nil {
			return "", err
		}
		if notDir(content) != "" {
			continue
		}
		n := 0
		dir := parse(content)
		for _, e := range dir.entries() {
			if o := parse(e.raw); slices.Contains([]string{"admin", "resource", "job", "checkpoint", "job-manager"}, e.name) && (o.kind == "dir" || o.kind == "dirref") {
				n++
			}
		}
		if n < 2 {
			continue
		}
		if first == "" {
			first = hash
		}
		if s, err := p.walk(hash); err == nil && len(s.bad) == 0 {
			return hash, nil
		}
		if seen++; seen == orphanCandidates {
			break
		}
	}
	return first, nil
}

// expect works out everything that a check must find in the picture. before lists the keys of the store when it was whole.
func (p *picture) expect(t *lab.Truth, before []string) error {
	root, err := p.start(t)
	if err != nil {
		return err
	}
	s := &survey{}
	if root != "" {
		if s, err = p.walk(root); err != nil {
			return err
		}
	}
	var hiding []string
	for i := range s.bad {
		k := &s.bad[i]
		e := lab.Expect{Class: k.class(), Path: &k.path, Note: k.note()}
		for _, b := range k.bad {
			e.Index = append(e.Index, b.index)
			if e.Subject == "" && b.class == e.Class {
				e.Subject = blobref(b.hash)
			}
		}
		t.Expected = append(t.Expected, e)
		if k.hides() {
			hiding = append(hiding, k.path+".")
		}
	}
	p.hide(t, before, s.paths, hiding)
	p.unused(t, s)
	return nil
}

// hide lists the keys that were below what is lost now.
func (p *picture) hide(t *lab.Truth, before, after, hiding []string) {
	seen := make(map[string]struct{}, len(after))
	for _, k := range after {
		seen[k] = struct{}{}
	}
	lostRoot := slices.ContainsFunc(t.Expected, func(e lab.Expect) bool {
		return e.Path != nil && *e.Path == "" && e.Class != noCheckpoint && e.Class != hashStorageClass
	})
	slices.Sort(hiding)
	for _, k := range before {
		if _, visible := seen[k]; visible && !lostRoot {
			continue
		}
		if lostRoot || below(k, hiding) {
			t.Hide(k)
		}
	}
}

// below tells whether one of the sorted prefixes begins key.
func below(key string, prefixes []string) bool {
	for i := strings.IndexByte(key, '.'); i >= 0 && i < len(key); {
		if _, ok := slices.BinarySearch(prefixes, key[:i+1]); ok {
			return true
		}
		next := strings.IndexByte(key[i+1:], '.')
		if next < 0 {
			return false
		}
		i += 1 + next
	}
	return false
}

// unused expects the rows that are damaged and that the tree does not refer to, and the rows that stand twice.
func (p *picture) unused(t *lab.Truth, s *survey) {
	many := p.blobKeys()
	if many > maxSingleBlobKeys {
		t.Expected = append(t.Expected, lab.Expect{Class: hashStorageClass, Path: new(string), Note: fmt.Sprintf("%d rows", many)})
	}
	for _, hash := range p.order {
		rows := p.rows[hash]
		for range rows[1:] {
			t.Expected = append(t.Expected, lab.Expect{Class: duplicateBlob, Subject: blobref(hash), Note: "a row too many"})
		}
		_, value := s.values[hash]
		_, dir := s.dirs[hash]
		row, _ := p.best(hash)
		switch {
		case value || dir:
		case row.fault != "":
			e := lab.Expect{Class: damagedOrphan, Subject: blobref(hash), Note: strings.TrimPrefix(row.fault, "flux/")}
			if !slices.ContainsFunc(t.Allowed, func(a lab.Allowed) bool { return a.Class == e.Class && a.Subject == e.Subject }) {
				t.Expected = append(t.Expected, e)
			}
		case row.blobKey && many <= maxSingleBlobKeys:
			t.Expected = append(t.Expected, lab.Expect{Class: hashStorageClass, Subject: blobref(hash), Note: "nothing refers to it"})
		}
	}
}
