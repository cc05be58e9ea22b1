package report

import (
	"bufio"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strconv"
	"time"

	"fettle/internal/finding"
	"fettle/internal/say"
)

//go:embed page.html
var pageSource string

// The page's parts are rendered one after the other, so that the whole page is never in memory.
var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"clean": func(v any) string { return say.Clean(fmt.Sprint(v)) },
	"when": func(t time.Time) string {
		if t.IsZero() {
			return "-"
		}
		return t.UTC().Format("2006-01-02 15:04:05 UTC")
	},
	"path":  func(f *finding.Finding) string { return say.Clean(name(f)) },
	"title": func(f *finding.Finding) string { return say.Clean(title(f)) },
	"num":   strconv.Itoa,
}).Parse(pageSource))

// HTML writes the run as one self-contained page: styles inside, no scripts, nothing loaded from anywhere.
// At most src.Max findings per class are shown in full, the rest is counted.
func HTML(w io.Writer, src *Source) error {
	d, err := gather(src)
	if err != nil {
		return err
	}
	b := bufio.NewWriter(w)
	t := d.Tally()
	head := struct {
		*Source
		Tally
		Took   string
		Total  int
		Digest *digest
	}{src, t, src.took(), d.Total, d}
	if err := page.ExecuteTemplate(b, "head", head); err != nil {
		return err
	}
	for _, s := range d.Sections {
		v := struct {
			*section
			Run   string
			Count string
			Open  bool
		}{s, src.Run, sectionCount(s), s.Severity != finding.Info}
		if err := page.ExecuteTemplate(b, "section", v); err != nil {
			return err
		}
		for _, f := range s.Shown {
			if err := page.ExecuteTemplate(b, "finding", f); err != nil {
				return err
			}
		}
		if err := page.ExecuteTemplate(b, "section-end", v); err != nil {
			return err
		}
	}
	if err := page.ExecuteTemplate(b, "foot", head); err != nil {
		return err
	}
	return b.Flush()
}
