package report

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"fettle/internal/finding"
	"fettle/internal/say"
)

// The parts of SARIF 2.1.0 (OASIS standard, sections 3.19 to 3.27 and 3.49) that a finding needs.
type (
	sarifText struct {
		Text string `json:"text"`
	}
	sarifRule struct {
		ID      string    `json:"id"`
		Short   sarifText `json:"shortDescription"`
		Full    sarifText `json:"fullDescription"`
		Default struct {
			Level string `json:"level"`
		} `json:"defaultConfiguration"`
	}
	sarifLocation struct {
		Physical *sarifPhysical `json:"physicalLocation,omitempty"`
		Logical  []sarifLogical `json:"logicalLocations,omitempty"`
	}
	sarifPhysical struct {
		Artifact struct {
			URI string `json:"uri"`
		} `json:"artifactLocation"`
	}
	sarifLogical struct {
		Name string `json:"fullyQualifiedName"`
		Kind string `json:"kind"`
	}
	sarifResult struct {
		RuleID       string            `json:"ruleId"`
		RuleIndex    *int              `json:"ruleIndex,omitempty"`
		Level        string            `json:"level"`
		Message      sarifText         `json:"message"`
		Locations    []sarifLocation   `json:"locations"`
		Fingerprints map[string]string `json:"partialFingerprints"`
		Properties   map[string]any    `json:"properties"`
		Suppressions []sarifSuppressed `json:"suppressions,omitempty"`
	}
	sarifSuppressed struct {
		Kind string `json:"kind"`
	}
)

// sarifLevel maps severities to SARIF's levels.
func sarifLevel(s finding.Severity) string {
	switch s {
	case finding.Error:
		return "error"
	case finding.Warning:
		return "warning"
	}
	return "note"
}

// SARIF writes the run as one SARIF 2.1.0 log with one run in it, streaming the results.
func SARIF(w io.Writer, src *Source) error {
	b := bufio.NewWriter(w)
	rules := make([]sarifRule, len(src.Classes))
	index := map[string]int{}
	for i, c := range src.Classes {
		r := sarifRule{ID: c.ID, Short: sarifText{c.Title + "."}, Full: sarifText{c.Explain}}
		r.Default.Level = sarifLevel(c.Severity)
		rules[i] = r
		index[c.ID] = i
	}
	driver, err := encode(map[string]any{
		"name": "fettle", "semanticVersion": semantic(src.Version), "version": src.Version, "rules": rules})
	if err != nil {
		return err
	}
	fmt.Fprintf(b, "{\"$schema\":\"https://json.schemastore.org/sarif-2.1.0.json\",\"version\":\"2.1.0\",\"runs\":[\n")
	fmt.Fprintf(b, "{\"tool\":{\"driver\":%s},\n\"columnKind\":\"unicodeCodePoints\",\n\"results\":[", driver)
	sep := "\n"
	for f, err := range src.Each() {
		if err != nil {
			return err
		}
		line, err := encode(sarifOf(src, &f, index))
		if err != nil {
			return fmt.Errorf("finding %d as SARIF: %w", f.Seq, err)
		}
		b.WriteString(sep)
		b.Write(line)
		sep = ",\n"
	}
	inv := map[string]any{"executionSuccessful": src.Verdict != finding.Incomplete}
	if !src.Started.IsZero() {
		inv["startTimeUtc"] = src.Started.UTC().Format(time.RFC3339)
	}
	tail, err := encode([]any{inv})
	if err != nil {
		return err
	}
	props, err := encode(map[string]any{"run": src.Run, "verdict": src.Verdict})
	if err != nil {
		return err
	}
	fmt.Fprintf(b, "\n],\n\"invocations\":%s,\n\"properties\":%s}\n]}\n", tail, props)
	return b.Flush()
}

func sarifOf(src *Source, f *finding.Finding, index map[string]int) sarifResult {
	r := sarifResult{RuleID: f.Class, Level: sarifLevel(f.Severity), Message: sarifText{message(f)}}
	if i, ok := index[f.Class]; ok {
		r.RuleIndex = &i
	}
	loc := sarifLocation{Physical: &sarifPhysical{}}
	loc.Physical.Artifact.URI = fileURI(src.System, src.Store)
	loc.Logical = []sarifLogical{{Name: name(f), Kind: "member"}}
	r.Locations = []sarifLocation{loc}
	// The same damage has the same fingerprint in every run, so that viewers can tell new results from known ones.
	sum := sha256.Sum256([]byte(strings.Join([]string{f.Class, f.Unit, f.Subject, f.PathOr("")}, "\x00")))
	r.Fingerprints = map[string]string{"fettle/v1": hex.EncodeToString(sum[:16])}
	r.Properties = map[string]any{"seq": f.Seq, "unit": f.Unit, "subject": f.Subject, "evidence": f.Evidence,
		"actions": f.Actions, "suggested": f.Suggested, "caused_by": f.CausedBy}
	if f.Accepted {
		r.Suppressions = []sarifSuppressed{{"external"}}
	}
	if f.Group != "" {
		r.Properties["group"] = f.Group
	}
	return r
}

// message is the finding in one sentence.
func message(f *finding.Finding) string {
	t := title(f)
	if t == "" {
		t = f.Class
	}
	return say.Clean(name(f)) + ": " + say.Clean(t)
}

// fileURI is the store as a URI: its first path without the system's prefix.
func fileURI(system, store string) string {
	p := store
	if system != "" {
		p = strings.TrimPrefix(p, system+":")
	}
	u := url.URL{Path: filepath.ToSlash(p)}
	if filepath.IsAbs(p) {
		u.Scheme = "file"
	}
	return u.String()
}

// semantic gives a version that SARIF's semanticVersion accepts.
func semantic(v string) string {
	v = strings.TrimPrefix(v, "v")
	if strings.Count(v, ".") < 2 || v[0] < '0' || v[0] > '9' {
		return "0.0.0-dev"
	}
	return v
}

// encode is json.Marshal without HTML escapes and without the newline.
func encode(v any) ([]byte, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return []byte(strings.TrimSuffix(b.String(), "\n")), nil
}
