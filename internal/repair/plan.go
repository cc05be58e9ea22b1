package repair

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"
	"unicode/utf8"

	"fettle/internal/fault"
	"fettle/internal/finding"
	"fettle/internal/store"
)

// PlanSchema is the version of the plan file. It changes only when a field is removed or changes its meaning.
const PlanSchema = 1

// PlanFile is the name of the plan in a run's directory.
const PlanFile = "plan.json"

// Plan is what a repair would do: the exact changes, the findings they repair and what is lost by them.
type Plan struct {
	Type    string    `json:"type"` // always "plan"
	Schema  int       `json:"schema"`
	Run     string    `json:"run"`
	Created time.Time `json:"created"`
	Store   string    `json:"store"`  // the location, as the user wrote it
	Policy  []string  `json:"policy"` // the rules it was made by, in the form that finding.ParsePolicy reads
	Units   []Unit    `json:"units"`
	// Checksum is "sha256:" and the hash of this plan's compact JSON with an empty checksum. It is there to notice a
	// plan that was edited by hand, not to withstand an attacker.
	Checksum string `json:"checksum"`
}

// Unit is the part of a plan about one unit of the store.
type Unit struct {
	Unit        string    `json:"unit"`
	Fingerprint string    `json:"fingerprint"` // of the unit when the plan was made
	Findings    []Planned `json:"findings"`    // that the steps are about
	Pending     []Planned `json:"pending,omitempty"`
	// Parked are the numbers of pending findings that a person has to decide (interact). As long as there is one, the unit
	// has no steps, and its decided findings are pending too.
	Parked   []int           `json:"parked,omitempty"`
	Gone     []Planned       `json:"gone,omitempty"` // no longer so when they were read again
	Steps    []store.Step    `json:"steps"`
	Outcomes []store.Outcome `json:"outcomes"`
	Loss     store.Loss      `json:"loss"`
	Notes    []string        `json:"notes,omitempty"`
}

// Planned is one finding in a plan.
type Planned struct {
	Seq    int            `json:"seq"`
	Class  string         `json:"class"`
	What   string         `json:"what"` // the path if it has one, else the subject
	Action finding.Action `json:"action"`
	// Offers are the actions that a person can choose from, the suggested one first; only for a finding that parks its unit.
	Offers []finding.Action `json:"offers,omitempty"`
}

// Steps counts the steps of all units.
func (p *Plan) Steps() int {
	n := 0
	for i := range p.Units {
		n += len(p.Units[i].Steps)
	}
	return n
}

// ParkedFindings lists the findings of all units that a person has to decide first.
func (p *Plan) ParkedFindings() []Planned {
	var out []Planned
	for i := range p.Units {
		for _, f := range p.Units[i].Pending {
			if p.Units[i].parks(f.Seq) {
				out = append(out, f)
			}
		}
	}
	return out
}

// parks tells whether the finding is one that a person has to decide first.
func (u *Unit) parks(seq int) bool {
	_, found := slices.BinarySearch(u.Parked, seq)
	return found
}

// sum is the checksum of the plan as it is now.
func (p *Plan) sum() (string, error) {
	body := *p
	body.Checksum = ""
	raw, err := json.Marshal(&body)
	if err != nil {
		return "", fmt.Errorf("encode plan: %w", err)
	}
	h := sha256.Sum256(raw)
	return "sha256:" + hex.EncodeToString(h[:]), nil
}

// Seal sets the checksum. The plan is put through its file form first, so that what is summed is what a reader gets.
func (p *Plan) Seal() error {
	raw, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("encode plan: %w", err)
	}
	var again Plan
	if err := json.Unmarshal(raw, &again); err != nil {
		return fmt.Errorf("read plan back: %w", err)
	}
	if again.Checksum, err = again.sum(); err != nil {
		return err
	}
	*p = again
	return nil
}

// Write writes the plan file: indented JSON, one line per fact.
func (p *Plan) Write(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(p); err != nil {
		return fmt.Errorf("write plan: %w", err)
	}
	return nil
}

// Save writes the plan durably to path, replacing what is there only when the new file is complete.
func (p *Plan) Save(path string) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".plan-*")
	if err != nil {
		return fmt.Errorf("save plan: %w", err)
	}
	defer func() {
		if err != nil {
			tmp.Close()
			os.Remove(tmp.Name())
		}
	}()
	if err := p.Write(tmp); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return fmt.Errorf("save plan: %w", err)
	}
	if err := tmp.Close(); err != nil {
		return fmt.Errorf("save plan: %w", err)
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return fmt.Errorf("save plan: %w", err)
	}
	return osFiles{}.SyncDir(filepath.Dir(path))
}

// LoadOptions say what a plan may be like.
type LoadOptions struct {
	// AllowEdited accepts a plan whose checksum is wrong, because somebody changed it on purpose. The plan that is
	// returned carries the checksum of what it now says.
	AllowEdited bool
}

// ErrEdited is the cause of Load's error for a plan that is not as it was made.
var ErrEdited = errors.New("the plan was changed after it was made")

// Load reads a plan file and refuses one that is damaged, newer than this program, or edited.
func Load(r io.Reader, opts LoadOptions) (*Plan, error) {
	dec := json.NewDecoder(r)
	dec.DisallowUnknownFields()
	p := new(Plan)
	if err := dec.Decode(p); err != nil {
		return nil, &fault.Error{Op: "read plan", Where: fmt.Sprintf("near byte %d", dec.InputOffset()), Err: err,
			Hint: "make the plan again with fettle plan"}
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, &fault.Error{Op: "read plan", Where: fmt.Sprintf("at byte %d", dec.InputOffset()),
			Err: errors.New("there is something after the plan"), Hint: "make the plan again with fettle plan"}
	}
	if p.Type != "plan" || p.Schema != PlanSchema {
		return nil, &fault.Error{Op: "read plan", Err: fmt.Errorf("type %q schema %d, want \"plan\" schema %d", p.Type, p.Schema, PlanSchema),
			Hint: "use the version of fettle that made it, or make it again"}
	}
	sum, err := p.sum()
	if err != nil {
		return nil, err
	}
	if sum != p.Checksum {
		if !opts.AllowEdited {
			return nil, &fault.Error{Op: "read plan", Err: fmt.Errorf("%w: it says %q, its content gives %q", ErrEdited, p.Checksum, sum),
				Hint: "if the change is meant, apply it with --allow-edited; otherwise make the plan again", Kind: fault.Unrepaired}
		}
		p.Checksum = sum
	}
	if err := p.valid(); err != nil {
		return nil, &fault.Error{Op: "read plan", Err: err, Hint: "make the plan again with fettle plan"}
	}
	return p, nil
}

// LoadFile is Load for a path.
func LoadFile(path string, opts LoadOptions) (*Plan, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, &fault.Error{Op: "read plan", Err: err, Hint: "fettle plan RUN makes one"}
	}
	defer f.Close()
	p, err := Load(f, opts)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// valid checks what the engine relies on: units and steps are numbered, and addresses survive JSON.
func (p *Plan) valid() error {
	seen := map[string]bool{}
	for i := range p.Units {
		u := &p.Units[i]
		if u.Unit == "" || seen[u.Unit] {
			return fmt.Errorf("unit %d: name %q is empty or used twice", i+1, u.Unit)
		}
		seen[u.Unit] = true
		if err := validSteps(u.Steps); err != nil {
			return fmt.Errorf("unit %s: %w", u.Unit, err)
		}
		if !slices.IsSorted(u.Parked) {
			return fmt.Errorf("unit %s: the numbers of its parked findings are not in order", u.Unit)
		}
		if len(u.Parked) > 0 && len(u.Steps) > 0 {
			return fmt.Errorf("unit %s waits for a person and has steps all the same", u.Unit)
		}
		if u.Loss.Dropped < 0 || u.Loss.Total < 0 {
			return fmt.Errorf("unit %s: loss of %d of %d", u.Unit, u.Loss.Dropped, u.Loss.Total)
		}
	}
	return nil
}

func validSteps(steps []store.Step) error {
	for i := range steps {
		s := &steps[i]
		if s.ID != i+1 {
			return fmt.Errorf("step %d is numbered %d", i+1, s.ID)
		}
		for _, c := range s.Changes {
			if !utf8.ValidString(c.Target) || !utf8.ValidString(c.Addr) {
				return fmt.Errorf("step %d: address %q %q is not UTF-8 and would not survive the plan file", s.ID, c.Target, c.Addr)
			}
		}
	}
	return nil
}

// what names a finding for the reader of a plan.
func what(f *finding.Finding) string { return f.PathOr(f.Subject) }
