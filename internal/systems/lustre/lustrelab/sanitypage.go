package lustrelab

import (
	"fmt"
	"io"
	"strings"
)

// Behaviour is a test of LFSCK about how it runs, not about what is on disk.
type Behaviour struct {
	Test  string // "8"
	Title string // what is done to a running LFSCK
	LFSCK string // what must hold
	Ours  string // the same with fettle
	// Tried is the subtest of TestSanityRuns that tries it, "" when nothing here does.
	Tried string
}

// Behaviours lists the tests of how LFSCK runs that mean something for a check of images.
func Behaviours() []Behaviour {
	return []Behaviour{
		{"5", "objects of Lustre 1.8 (IGIF) without link EA, restored from a backup of files", "flags inconsistent,upgrade while it works; the link EA is made",
			"names and object index are put right as in test 4. A link EA that such an object never had is not missed: the server makes it when it first meets the object", ""},
		{"6a, 6b", "a read fails in the object table, or in a directory", "status failed; it goes on behind the last checkpoint",
			"what cannot be read is a finding (lustre/ldiskfs-damage), and the check goes on in the same run", ""},
		{"7a", "the MDT dies while it works", "status crashed or paused; it goes on by itself at the next mount", "status crashed; `fettle resume` goes on from the last checkpoint, with the same findings", "killed"},
		{"8", "start, stop, restart", "init, scanning-phase1, stopped, completed; flags empty at the end", "the same words in `report --lfsck`", "stopped"},
		{"9a, 9b", "speed limit, changed while it works", "measured speed within 0.7 to 1.3 of the limit", "`check --rate`, and `fettle rate` on a running check", "stopped"},
		{"32b", "stopped while it works", "can be stopped", "`fettle stop` ends it at a safe point; `fettle resume` goes on, with the same findings", "stopped"},
	}
}

// ScenarioPage writes the reference page about the scenarios in Markdown.
func ScenarioPage(w io.Writer) error {
	var b strings.Builder
	b.WriteString(pageHead)
	b.WriteString("| test | damage | what LFSCK does | what fettle does | outcome |\n|---|---|---|---|---|\n")
	for _, s := range Sanity() {
		ours := s.Ours
		if len(s.Counts) > 0 {
			ours += ". Counts: " + strings.Join(s.Counts, ", ")
		}
		row(&b, s.Name(), s.Title, s.LFSCK, ours, outcome(s.Better))
	}
	b.WriteString(pageRuns)
	b.WriteString("| test | what is done | what LFSCK does | what fettle does |\n|---|---|---|---|\n")
	for _, r := range Behaviours() {
		row(&b, r.Test, r.Title, r.LFSCK, r.Ours)
	}
	b.WriteString(pageTail)
	_, err := io.WriteString(w, b.String())
	return err
}

const pageHead = `# LFSCK's own tests, and what fettle does

Lustre tests LFSCK with the script sanity-lfsck.sh: each test leaves a certain damage on disk, and says what must hold after LFSCK. The tests
about the namespace are done to images here, and followed to the end: a check finds this damage and nothing else, or what follows from it; a repair
leads to the outcome below, seen by a program that shares nothing with the check but the decoders; a second check is clean, or tells again what was
kept; e2fsck of a copy without the FIDs in names has nothing to say that it did not say of the healthy images; undo gives back every byte.

Options are those of lfsck_start: -C means ` + "`--policy lustre/dangling-name=recreate`" + `. Counts are those of ` + "`fettle report RUN --lfsck`" + ` after the
repair; all others are 0. fettle counts what it repaired and LFSCK what it met, so a name that is kept counts for LFSCK only.

`

const pageRuns = `
## How it runs

LFSCK works on a server that is in use. A check of images can be stopped, killed, slowed down and resumed as well.

`

const pageTail = `
Tests 10 (clients work meanwhile), 12, 21 and 33 (targets and parameters of lfsck_start), 15d, 43 and 44 (errors of a running server) have nothing
to do with what is on disk. Tests 11, 13, 14, 16 to 20, 34, 36, 38, 40 to 42 and 45 are about OSTs, quota or ZFS.

Made from the table that the tests go through.
`

func outcome(better string) string {
	if better == "" {
		return "same"
	}
	return "better: " + better
}

// row writes a line of a table. What text needs to stand in one is escaped.
func row(b *strings.Builder, cells ...string) {
	for _, c := range cells {
		fmt.Fprintf(b, "| %s ", strings.ReplaceAll(c, "|", `\|`))
	}
	b.WriteString("|\n")
}
