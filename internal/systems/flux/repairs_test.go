package flux

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"fettle/internal/format/eventlog"
	"fettle/internal/format/fluid"
	"fettle/internal/format/treeobj"
	"fettle/internal/store"
	"fettle/internal/store/storetest"
)

// TestPolicies takes each action on the damaged key of smallTree.
func TestPolicies(t *testing.T) {
	for _, c := range []struct {
		action string
		values map[string]string // keys and their values after the repair; "-" is a key that is not there
		stays  int               // findings after the repair
	}{
		{"quarantine", map[string]string{"data.log": "-", "lost+found.data.log": "one\nthree\n", "data.x": "y"}, 0},
		{"restore", map[string]string{"data.log": "one\n", "lost+found": "-", "data.x": "y"}, 0},
		{"unlink", map[string]string{"data.log": "-", "lost+found": "-", "data.x": "y"}, 0},
		{"rollback", map[string]string{"data.log": "one\n", "lost+found": "-", "data.x": "-"}, 0},
		{"ignore", nil, 1},
	} {
		t.Run(c.action, func(t *testing.T) {
			b := newBench(t)
			smallTree(t).build(b.path)
			original := b.digest()
			b.makePlan(b.check(), "flux/dangling-valref="+c.action)
			if c.action == "ignore" {
				if b.plan.Steps() != 0 {
					t.Errorf("ignoring takes %d steps", b.plan.Steps())
				}
				return
			}
			b.apply()
			o := accept(t, b.path)
			o.accepted(c.action)
			o.holds(c.values)
			if fs := b.check(); len(fs) != c.stays {
				t.Errorf("found %q", briefs(fs))
			}
			b.undo()
			if b.digest().Content != original.Content {
				t.Error("undo gives other bytes")
			}
		})
	}
}

// holds compares keys of the tree with what they should be; "-" is a key that is not there.
func (o *oracle) holds(values map[string]string) {
	o.t.Helper()
	for _, key := range slices.Sorted(maps.Keys(values)) {
		want := values[key]
		if want == "-" {
			if o.has(key) {
				o.t.Errorf("%s is still there", key)
			}
			continue
		}
		if got, ok := o.value(key); !ok || string(got) != want {
			o.t.Errorf("%s is %q (%v), want %q", key, got, ok, want)
		}
	}
}

// site is a store with the keys that Flux goes on from and two jobs.
type site struct {
	*seedTree
	lost map[string]bool // what is lost: "drain1", "state", "manager", "eventlog", "jobspec", "output", "job.0000"
}

func event(at int, name, context string) string {
	return fmt.Sprintf(`{"timestamp":%d.5,"name":"%s","context":%s}`+"\n", at, name, context)
}

const (
	job1 = "job.0000.0016.0400.0000"
	job2 = "job.0000.0017.0000.0001"
)

func (s *site) blob(name, content string) treeobj.Ref {
	if s.lost[name] {
		return s.lose(content)
	}
	return s.put(content)
}

func (s *site) job(name string) string {
	return s.dir("J", s.valref(s.put("signed "+name)), "R", s.val("{}"+name),
		"jobspec", s.valref(s.blob(name+"jobspec", "{}, the spec of "+name)),
		"eventlog", s.valref(s.put(event(1, "submit", "{}")), s.blob(name+"eventlog", event(2, "validate", `{"job":"`+name+`"}`)), s.put(event(3, "clean", "{}"))),
		"guest", s.dir("output", s.valref(s.blob(name+"output", "what "+name+" printed"), s.put("and the end of it"))))
}

func newSite(t testing.TB, lost ...string) *site {
	s := &site{newSeed(t), map[string]bool{}}
	for _, l := range lost {
		s.lost[l] = true
	}
	log := s.valref(s.put(event(100, "resource-define", `{"method":"configuration"}`)),
		s.blob("drain1", event(300, "drain", `{"idset":"1","nodelist":"node1","reason":"bad fan","overwrite":0}`)),
		s.put(event(400, "drain", `{"idset":"2","nodelist":"node2","reason":"bad disk","overwrite":0}`)))
	state := fmt.Sprintf(`{"timestamp":200,"drain_state":{"3":{"timestamp":150,"reason":"%s","nodelist":"node3"}}}`, "bad memory"+strings.Repeat("!", 60))
	manager := `{"version":1,"max_jobid":` + fmt.Sprint(uint64(0x0000001704000000)) + `,"queue":[]}` + strings.Repeat(" ", 30)
	j1 := s.put(s.dirText("0000", s.job("one")))
	jobs := s.dirText("0016", s.dir("0400", s.dirref(j1)), "0017", s.dir("0000", s.dir("0001", s.job("two"))))
	root := s.put(s.dirText("admin", s.dir("eventlog", s.val(event(1, "start", "{}")[:20])),
		"resource", s.dir("eventlog", log, "R", s.val("{}")),
		"checkpoint", s.dir("resource", s.valref(s.blob("state", state)), "job-manager", s.valref(s.blob("manager", manager))),
		"job", s.dir("0000", s.dirref(s.blob("job.0000", jobs)))))
	s.checkpoint(root)
	return s
}

// drained lists host=reason of what Flux would find drained after replaying log over state.
func (o *oracle) drained() []string {
	o.t.Helper()
	state, ok := o.value("checkpoint.resource")
	d, _, err := eventlog.ParseDrains(state)
	if !ok || err != nil {
		o.t.Fatalf("checkpoint.resource is %q: %v", state, err)
	}
	log, ok := o.value("resource.eventlog")
	if !ok {
		o.t.Fatal("no resource.eventlog")
	}
	d.Apply(eventlog.Parse(log).Entries)
	var out []string
	for _, n := range d.Nodes() {
		out = append(out, n.Host+"="+strings.TrimRight(n.Reason, "!"))
	}
	return out
}

func (o *oracle) maxJob() fluid.ID {
	o.t.Helper()
	v, ok := o.value("checkpoint.job-manager")
	c, err := eventlog.ParseJobManagerCheckpoint(v)
	if !ok || err != nil {
		o.t.Fatalf("checkpoint.job-manager is %q: %v", v, err)
	}
	return c.MaxJobID
}

// TestSpecialKeys loses what Flux goes on from: it stays in its place, with everything that survives anywhere.
func TestSpecialKeys(t *testing.T) {
	all := []string{"node1=bad fan", "node2=bad disk", "node3=bad memory"}
	highest := fluid.ID(0x0000_0017_0000_0001)
	for _, c := range []struct {
		name    string
		lost    []string
		drained []string
		atLeast fluid.ID
		found   []string
	}{
		{"nothing", nil, all, 0x0000001704000000, nil},
		{"a drain event", []string{"drain1"}, all[1:], highest, []string{"dangling-valref /resource.eventlog 1"}},
		{"the drain state", []string{"state"}, all[:2], highest, []string{"dangling-valref /checkpoint.resource 0"}},
		{"the job manager's state", []string{"manager"}, all, highest, []string{"dangling-valref /checkpoint.job-manager 0"}},
		{"all of them", []string{"drain1", "state", "manager"}, all[1:2], highest,
			[]string{"dangling-valref /resource.eventlog 1", "dangling-valref /checkpoint.resource 0", "dangling-valref /checkpoint.job-manager 0"}},
		{"a directory of jobs and the state", []string{"job.0000", "manager"}, all, fluid.UpperBound(0),
			[]string{"dangling-valref /checkpoint.job-manager 0", "dangling-dirref /job.0000 0"}},
		{"a directory of jobs", []string{"job.0000"}, all, fluid.UpperBound(0), []string{"dangling-dirref /job.0000 0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			newSite(t, c.lost...).build(b.path)
			sameLines(t, "findings", briefs(b.repaired()), c.found)
			o := accept(t, b.path)
			o.accepted("after the repair")
			if o.has("lost+found.resource") || o.has("lost+found.checkpoint") {
				t.Error("a key that Flux needs was moved away")
			}
			sameLines(t, "drained", o.drained(), c.drained)
			if got := o.maxJob(); got < c.atLeast || got > fluid.UpperBound(0) {
				t.Errorf("max_jobid is %x, want at least %x", uint64(got), uint64(c.atLeast))
			}
			if len(c.lost) > 0 && c.lost[0] == "drain1" {
				log, _ := o.value("resource.eventlog")
				if n := len(eventlog.Parse(log).Entries); n != 2 {
					t.Errorf("%d events survive, want 2", n)
				}
			}
			if fs := b.check(); len(fs) > 0 {
				t.Errorf("second check: %q", briefs(fs))
			}
		})
	}
}

// TestWholeJobs says what goes to lost+found with a damaged key of a job.
func TestWholeJobs(t *testing.T) {
	for _, c := range []struct {
		lost, jobs string
		whole      bool
		key        string // of job one, relative
		left       string // its value in lost+found
	}{
		{"oneeventlog", "", true, "eventlog", event(1, "submit", "{}") + event(3, "clean", "{}")},
		{"onejobspec", "auto", true, "jobspec", ""},
		{"oneoutput", "", false, "guest.output", "and the end of it"},
		{"oneoutput", "whole", true, "guest.output", "and the end of it"},
		{"oneeventlog", "keys", false, "eventlog", event(1, "submit", "{}") + event(3, "clean", "{}")},
	} {
		t.Run(c.lost+" "+c.jobs, func(t *testing.T) {
			b := newBench(t)
			if c.jobs != "" {
				b.set = map[string]string{SetJobs: c.jobs}
			}
			newSite(t, c.lost).build(b.path)
			original := b.digest()
			fs := b.repaired()
			if len(fs) != 1 || fs[0].Group != "ƒ"+strings.TrimPrefix(fs[0].Group, "ƒ") || fs[0].Group == "ƒ" {
				t.Errorf("findings %q, group %q", briefs(fs), fs[0].Group)
			}
			o := accept(t, b.path)
			o.accepted("after the repair")
			away := "lost+found." + job1
			o.holds(map[string]string{away + "." + c.key: c.left, job2 + ".R": "{}two"})
			if o.has(job1) == c.whole {
				t.Errorf("%s in its place: %v", job1, o.has(job1))
			}
			if c.whole {
				o.holds(map[string]string{away + ".R": "{}one", away + ".J": "signed one"})
			} else {
				o.holds(map[string]string{job1 + ".R": "{}one", job1 + "." + c.key: "-", away + ".R": "-"})
			}
			if again := b.check(); len(again) > 0 {
				t.Errorf("second check: %q", briefs(again))
			}
			b.undo()
			if b.digest().Content != original.Content {
				t.Error("undo gives other bytes")
			}
		})
	}
}

// dag is a chain of directories that each refer twice to the next: 2^levels paths to leaf.
func (s *seedTree) dag(levels int, leaf string) treeobj.Ref {
	at := s.put(leaf)
	for range levels {
		at = s.put(s.dirText("a", s.dirref(at), "b", s.dirref(at)))
	}
	return at
}

// TestManyPaths repairs a bad leaf under 2^24 paths once.
func TestManyPaths(t *testing.T) {
	s := newSeed(t)
	leaf := s.dirText("bad", s.valref(s.put("kept"), s.lose("lost")), "good", s.val("x"))
	root := s.dag(24, leaf)
	b := newBench(t)
	s.checkpoint(root)
	s.build(b.path)
	u, done := b.open()
	defer done()
	if err := u.analyse(context.Background(), t.TempDir(), 1); err != nil {
		t.Fatal(err)
	}
	if d := u.reach.counts.Dirs; d != 25 {
		t.Errorf("%d directories were visited, there are 25", d)
	}
	w := newRewriter(u, treeobj.SHA1)
	k, raw, ok := w.locate(root, strings.Repeat("a.", 12)+strings.Repeat("b.", 12)+"bad")
	if !ok || raw == nil {
		t.Fatal("the key is not found")
	}
	w.set(k, edit{})
	if err := w.seal(context.Background(), root); err != nil {
		t.Fatal(err)
	}
	got, err := w.rewrite(context.Background(), root)
	if err != nil {
		t.Fatal(err)
	}
	want := newSeed(t)
	if wanted := want.dag(24, want.dirText("good", want.val("x"))); got != wanted {
		t.Errorf("new root %s, want %s", got, wanted)
	}
	if len(w.order) != 25 {
		t.Errorf("%d new blobs, want 25", len(w.order))
	}
}

// TestDeepChain rewrites above a damaged key under very many directories.
func TestDeepChain(t *testing.T) {
	const levels = 100000
	s := newSeed(t)
	chain := func(s *seedTree, leaf string) treeobj.Ref {
		at := s.put(leaf)
		for range levels {
			at = s.put(s.dirText("d", s.dirref(at)))
		}
		return at
	}
	root := chain(s, s.dirText("bad", s.valref(s.lose("lost")), "good", s.val("x")))
	b := newBench(t)
	s.checkpoint(root)
	s.build(b.path)
	u, done := b.open()
	defer done()
	if err := u.analyse(context.Background(), t.TempDir(), 2); err != nil {
		t.Fatal(err)
	}
	if c := u.reach.counts; c.Dirs != levels+1 || c.Damaged != 1 {
		t.Errorf("%d directories, %d damaged", c.Dirs, c.Damaged)
	}
	w := newRewriter(u, treeobj.SHA1)
	k, _, ok := w.locate(root, strings.Repeat("d.", levels)+"bad")
	if !ok {
		t.Fatal("the key is not found")
	}
	w.set(k, edit{})
	if err := w.seal(context.Background(), root); err != nil {
		t.Fatal(err)
	}
	got, err := w.rewrite(context.Background(), root)
	if err != nil {
		t.Fatal(err)
	}
	want := newSeed(t)
	if wanted := chain(want, want.dirText("good", want.val("x"))); got != wanted {
		t.Errorf("new root %s, want %s", got, wanted)
	}
}

// TestLoops repairs a directory that refers to itself, which only a wrong hash makes possible.
func TestLoops(t *testing.T) {
	s := newSeed(t)
	in := s.put(s.dirText("x", s.val("1")))
	s.checkpoint(s.put(s.dirText("in", s.dirref(in), "out", s.val("2"))))
	s.blobs[in] = []byte(s.dirText("self", s.dirref(in), "pad", s.val(strings.Repeat("p", 20))))
	b := newBench(t)
	s.build(b.path)
	sameLines(t, "findings", briefs(b.repaired()), []string{"hash-mismatch /in 0"})
	o := accept(t, b.path)
	o.accepted("after the repair")
	o.holds(map[string]string{"in": "-", "out": "2"})
}

// TestInterruptedChecks stops each pass early and again later: the findings are the same.
func TestInterruptedChecks(t *testing.T) {
	b := newBench(t)
	newSite(t, "oneeventlog", "twojobspec", "drain1").build(b.path)
	b.sql("UPDATE objects SET object = x'41', size = -1 WHERE rowid = 3; " + newRow10)
	want := b.check()
	if len(want) < 4 {
		t.Fatalf("only %q", briefs(want))
	}
	for _, stop := range []int{1, 2, 3, 5, 9} {
		got, n := storetest.CheckInterrupted(t, stop, func() (store.Unit, func()) {
			u, done := b.open()
			return u, done
		}, Classes...)
		sameLines(t, fmt.Sprintf("stopped at report %d", stop), briefs(got), briefs(want))
		if stop == 1 && n < 2 {
			t.Errorf("only %d interruptions", n)
		}
	}
}

// TestSkip leaves out the keys that the user does not want to hear of.
func TestSkip(t *testing.T) {
	b := newBench(t)
	newSite(t, "oneoutput", "oneeventlog").build(b.path)
	b.skip = []string{"job.*.guest.output"}
	sameLines(t, "findings", briefs(b.check()), []string{"dangling-valref /" + job1 + ".eventlog 1"})
}
