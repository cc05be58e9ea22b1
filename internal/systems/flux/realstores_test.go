package flux

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"

	"fettle/internal/finding"
)

// inRealStores is what a check of each variant of the real stores must find, and nothing else, in the form of brief. The
// variants with random loss are compared with their truth alone.
var inRealStores = map[string][]string{
	"healthy":                    {},
	"m00-medium-healthy":         {},
	"c01-live-cp-torn":           {"bad-index sqlite_autoindex_objects_1", "bad-page page 13804", "bad-page page 14226", "live-copy content.sqlite"},
	"v01-valref-single":          {"dangling-valref /longval 0"},
	"v02-valref-1of5":            {"dangling-valref /multi.five 2"},
	"v03-valref-7of40":           {"dangling-valref /multi.forty 0,5,6,7,20,38,39"},
	"v05-dirref-only":            {"dangling-dirref /text 0"},
	"v06-dirref-and-valref":      {"dangling-dirref /deep.a.b.c 0", "dangling-valref /longval 0"},
	"v08-job-jobspec":            {"dangling-valref /job.0000.000b.9c00.0000.jobspec 0"},
	"v09-job-eventlog-mid":       {"dangling-valref /job.0000.000b.9c00.0000.eventlog 3,4"},
	"v11-resource-eventlog":      {"dangling-valref /resource.eventlog 2"},
	"v13-checkpoint-jobmanager":  {"dangling-valref /checkpoint.job-manager 0"},
	"v14-root-newest":            {"dangling-root / 0"},
	"v16-flip-uncompressed":      {"hash-mismatch /multi.forty 10"},
	"v17-flip-compressed":        {"hash-mismatch /text.seq20000 0"},
	"v18-dir-invalid-json":       {"hash-mismatch /deep.a.b 0"},
	"v21-trunc-compressed":       {"undecodable-blob /text.seq20000 0"},
	"v22-trunc-uncompressed":     {"hash-mismatch /multi.forty 11"},
	"v23-zero-length":            {"hash-mismatch /bin.random60k 0"},
	"v25-size-wrong":             {"undecodable-blob /text.seq20000 0"},
	"v27-dir-selfloop":           {"hash-mismatch /deep.a.b.c 0"},
	"v28-ver2":                   {"invalid-treeobj /text.bad"},
	"v29-hdir":                   {"invalid-treeobj /text.bad"},
	"v30-valref-empty":           {"invalid-treeobj /text.bad"},
	"v32-val-badbase64":          {"invalid-treeobj /text.bad"},
	"v33-symlink-notarget":       {"invalid-treeobj /text.bad"},
	"v34-dirref-two":             {"invalid-treeobj /text.bad"},
	"v35-dirref-to-value":        {"not-a-directory /text.bad 0"},
	"v37-extra-key":              {"invalid-treeobj /text.bad"},
	"v39-dag-2pow24":             {},
	"v40-no-checkpoints":         {"no-checkpoint /"},
	"v41-no-checkpt-table":       {"no-checkpoint /"},
	"v42-ckpt-malformed-rootref": {"bad-checkpoint checkpt_v2 row 10"},
	"v43-ckpt-not-json":          {"bad-checkpoint checkpt_v2 row 10"},
	"v45-ckpt-no-rootref":        {"bad-checkpoint checkpt_v2 row 10"},
	"v46-ckpt-root-is-value":     {"not-a-directory / 0"},
	"v49-ckpt-null":              {"bad-checkpoint checkpt_v2 row 10"},
	"v50-legacy-schema":          {},
	"v51-legacy-v0":              {"legacy-checkpoint checkpt row kvs-primary"},
	"v52-hash-as-blob":           {"hash-storage-class /"},
	"v60-file-truncated-half": {"bad-index sqlite_autoindex_objects_1", "dangling-root / 0", "truncated-file content.sqlite",
		"unusable-checkpoint checkpt_v2 row 5", "unusable-checkpoint checkpt_v2 row 6", "unusable-checkpoint checkpt_v2 row 7"},
	"v62-zero-length":         {"bad-schema content.sqlite", "no-checkpoint /"},
	"v63-header-clobbered":    {"bad-header content.sqlite"},
	"v64-table-leaf-zeroed":   {"bad-page page 109", "dangling-dirref /job.0000.000c 0"},
	"v67-overflow-zeroed":     {"undecodable-blob /text.seq20000 0"},
	"v70-crash-with-wal":      {},
	"v72-crash-wal-truncated": {"wal-truncated content.sqlite-wal"},
}

// TestRealStores checks, repairs and undoes every damaged real store.
func TestRealStores(t *testing.T) {
	root := os.Getenv("FETTLE_FIXTURES")
	if root == "" {
		t.Skip("FETTLE_FIXTURES is not set: real stores are not at hand")
	}
	dirs, err := filepath.Glob(filepath.Join(root, "flux", "variants", "*"))
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no variants below %s: %v", root, err)
	}
	g := &realStores{root: filepath.Join(root, "flux"), made: map[string]func() []byte{}}
	two := make(chan struct{}, 2)
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			t.Parallel()
			two <- struct{}{}
			defer func() { <-two }()
			g.variant(t, dir)
		})
	}
}

// realStores keeps the unpacked bases, each unpacked once.
type realStores struct {
	root string
	mu   sync.Mutex
	made map[string]func() []byte
}

// unpack returns a file's content, or that of its compressed form; nil when there is neither.
func unpack(t testing.TB, name string) []byte {
	t.Helper()
	if b, err := os.ReadFile(name); err == nil {
		return b
	}
	f, err := os.Open(name + ".zst")
	if err != nil {
		return nil
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (g *realStores) base(t testing.TB, name string) []byte {
	g.mu.Lock()
	get := g.made[name]
	if get == nil {
		get = sync.OnceValue(func() []byte { return unpack(t, filepath.Join(g.root, "bases", name)) })
		g.made[name] = get
	}
	g.mu.Unlock()
	return get()
}

// realTruth is the part of truth.json that is compared.
type realTruth struct {
	Base   string `json:"base"`
	Direct []struct {
		Path  string `json:"path"`
		Kind  string `json:"kind"`
		Index *int   `json:"index"`
	} `json:"newest_direct"`
	Dirrefs []string         `json:"newest_visible_damaged_dirrefs"`
	Valrefs map[string][]int `json:"newest_visible_damaged_valrefs"`
	Errors  *int             `json:"expected_total_errors_flux_fsck"`
	Good    []any            `json:"fully_good_checkpoints"`
}

func (g *realStores) variant(t *testing.T, dir string) {
	name := filepath.Base(dir)
	var truth realTruth
	if err := json.Unmarshal(unpack(t, filepath.Join(dir, "truth.json")), &truth); err != nil {
		t.Fatal(err)
	}
	b := newBench(t)
	g.build(t, b, dir, truth.Base)
	before := b.digest()
	fs := b.check()
	if b.digest() != before {
		t.Fatal("the check changed something")
	}
	if want, ok := inRealStores[name]; ok {
		sameLines(t, "findings", briefs(fs), want)
	} else if truth.Errors == nil {
		t.Errorf("the table does not say what is to be found; found %q", briefs(fs))
	}
	truth.compare(t, fs)
	if len(fs) == 0 {
		accept(t, b.path).accepted("a healthy store")
		return
	}
	b.makePlan(fs)
	if b.digest() != before {
		t.Fatal("the plan changed something")
	}
	if b.plan.Steps() == 0 {
		t.Fatal("nothing is planned")
	}
	b.apply()
	if again := b.check(); len(again) > 0 {
		t.Errorf("found after the repair: %q", briefs(again)[:min(10, len(again))])
	}
	accept(t, b.path).accepted("after the repair")
	b.undo()
	if b.digest().Content != before.Content {
		t.Error("undo did not bring the same bytes back")
	}
}

// build makes the variant's store: the base, then the SQL, then the shell commands.
func (g *realStores) build(t *testing.T, b *bench, dir, base string) {
	if whole := unpack(t, filepath.Join(dir, "content.sqlite")); whole != nil {
		writeFile(t, b.path, whole)
		return
	}
	writeFile(t, b.path, g.base(t, base+".content.sqlite"))
	if base == "small-crash" {
		writeFile(t, b.path+"-wal", g.base(t, base+".content.sqlite-wal"))
	}
	if sql := unpack(t, filepath.Join(dir, "damage.sql")); sql != nil {
		b.sql(string(sql))
	}
	script, err := filepath.Abs(filepath.Join(dir, "damage.sh"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(script); err != nil {
		return
	}
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("the variant is made by a shell script, and there is no sh")
	}
	cmd := exec.Command(sh, script)
	cmd.Dir = b.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("damage.sh: %v: %s", err, out)
	}
}

func writeFile(t testing.TB, path string, content []byte) {
	t.Helper()
	if len(content) == 0 {
		t.Fatalf("%s: no content", path)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// keyFindings are the damaged keys with their bad indexes, as findings name them.
func keyFindings(t testing.TB, fs []finding.Finding) map[string][]int {
	out := map[string][]int{}
	for i := range fs {
		f := &fs[i]
		var d keyDetail
		if f.Path == nil || f.Class == NoCheckpoint || f.Class == HashStorageClass {
			continue
		}
		if _, twice := out[*f.Path]; twice {
			t.Errorf("two findings about %q", *f.Path)
		}
		if err := json.Unmarshal(f.Detail, &d); err != nil {
			t.Fatal(err)
		}
		out[*f.Path] = nil
		for _, b := range d.Bad {
			out[*f.Path] = append(out[*f.Path], b.Index)
		}
	}
	return out
}

// compare holds the findings against the truth that came with the variant.
func (g *realTruth) compare(t *testing.T, fs []finding.Finding) {
	if g.Direct == nil && g.Errors == nil {
		return // damage that is no damage of keys
	}
	want := map[string][]int{}
	byIndex := map[string]bool{}
	for _, d := range g.Direct {
		want[d.Path] = append(want[d.Path], 0)
		if d.Index != nil && d.Kind != "root" {
			byIndex[d.Path] = true
			want[d.Path][len(want[d.Path])-1] = *d.Index
		}
	}
	for k, v := range g.Valrefs {
		want[k], byIndex[k] = v, true
	}
	for _, k := range g.Dirrefs {
		want[k] = []int{0}
	}
	have := keyFindings(t, fs)
	if g.Errors != nil && len(have) != *g.Errors {
		t.Errorf("%d keys found, the truth counts %d", len(have), *g.Errors)
	}
	for key, ix := range want {
		got, ok := have[key]
		slices.Sort(ix)
		if !ok {
			t.Errorf("%q is not found", key)
		} else if byIndex[key] && !slices.Equal(got, ix) {
			t.Errorf("%q: indexes %v, want %v", key, got, ix)
		}
	}
	for key := range have {
		if _, ok := want[key]; !ok {
			t.Errorf("%q is not damaged", key)
		}
	}
}
