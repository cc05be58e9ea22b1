package realctr

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"fettle/internal/systems/devmapper/fakedm"
)

// Layer is the key of the committed snapshot of layer n of the image that every scenario begins with: 1, 2 and 3.
func Layer(n int) string { return fmt.Sprintf("sha256:%064d", n*1111) }

// Scenario is a way in which the four files come to disagree.
type Scenario struct {
	Name  string
	Title string
	// Facts are what is wrong afterwards, in the words of a checker that knows no classes: "state_stuck snap-6 Creating".
	Facts []string
	// Restart is what containerd is asked to do after the crash, and Answers what it says: "" for success, else a part of the error.
	Restart []string
	Answers []string
	// StartFails is a part of the error with which the first start after the crash ends.
	StartFails string
	// Async is the setting async_remove.
	Async bool
	// NoReboot keeps devices active over the crash.
	NoReboot bool

	play func(context.Context, *Machine) error
}

// Run plays a scenario up to and including the crash. The four files are then in dir; work is for everything else. The machine
// can be asked to go on: see Scenario.Restart.
func (s *Scenario) Run(ctx context.Context, dir, work string) (*Machine, error) {
	m, err := NewMachine(dir, work)
	if err != nil {
		return nil, err
	}
	if err := m.healthy(ctx); err != nil {
		return nil, fmt.Errorf("scenario %s: %w", s.Name, err)
	}
	m.Async = s.Async
	if err := s.play(ctx, m); err != nil {
		return nil, fmt.Errorf("scenario %s: %w", s.Name, err)
	}
	if !s.NoReboot {
		if err := m.Reboot(); err != nil {
			return nil, err
		}
	}
	return m, errors.Join(m.Inject(), m.SaveThin())
}

// healthy makes an image of three layers and two containers, and reboots.
func (m *Machine) healthy(ctx context.Context) error {
	ops := []string{"lease,l1"}
	for n, kib := range []int{2048, 1024, 512} {
		parent := ""
		if n > 0 {
			parent = Layer(n)
		}
		key := fmt.Sprintf("extract-%d", n+1)
		ops = append(ops, "prepare,"+key+","+parent, fmt.Sprintf("write,%s,%d", key, kib), "commit,"+Layer(n+1)+","+key)
	}
	for _, c := range []string{"c1", "c2"} {
		ops = append(ops, "prepare,"+c+","+Layer(3), "write,"+c+",256", "container,"+c+","+c)
	}
	r, err := m.Run(ctx, append(ops, "unlease,l1")...)
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		return fmt.Errorf("make an image and two containers: %w", err)
	}
	return m.Reboot()
}

// crash runs operations with a fault that kills containerd.
func (m *Machine) crash(ctx context.Context, f fakedm.Fault, ops ...string) error {
	if err := m.Inject(&f); err != nil {
		return err
	}
	r, err := m.Run(ctx, ops...)
	if err == nil && !r.Killed {
		err = fmt.Errorf("containerd was not killed: %v", r.Ops)
	}
	return err
}

// lose runs operations in which the commits of some databases that come after a call do not reach the disk.
func (m *Machine) lose(ctx context.Context, call string, nth int, dbs []string, ops ...string) error {
	var files []string
	for _, db := range dbs {
		files = append(files, m.DB(db))
	}
	if err := m.Inject(&fakedm.Fault{Pattern: call, Nth: nth, When: fakedm.After, How: fakedm.Keep, Files: files}); err != nil {
		return err
	}
	r, err := m.Run(ctx, ops...)
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		return err
	}
	return fakedm.PutBack(files...)
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// kill makes the play of a scenario that is one fault that kills containerd.
func kill(pattern string, when fakedm.When, nth int, ops ...string) func(context.Context, *Machine) error {
	return func(ctx context.Context, m *Machine) error {
		return m.crash(ctx, fakedm.Fault{Pattern: pattern, Nth: nth, When: when, How: fakedm.Kill}, ops...)
	}
}

// exists is what Prepare says when a device record without a snapshot is in its way.
const exists = "is already there"

// Scenarios lists all scenarios: a healthy machine and the crashes.
func Scenarios() []Scenario {
	child := "prepare,c3," + Layer(3)
	again := []string{child, child, "prepare,c4," + Layer(3), "prepare,newbase,", "gc"}
	fine := []string{"", `snapshot "c3": already exists`, "", "", ""}
	return append([]Scenario{
		{Name: "healthy", Title: "an image of three layers and two containers", Restart: again, Answers: fine,
			play: func(context.Context, *Machine) error { return nil }},
		{Name: "c01-before-create_snap", Title: "killed before the thin device of a child is made", Restart: again, Answers: fine,
			Facts: []string{"device_in_db_not_in_pool snap-6 dev 6", "device_without_snapshot_blocks_next_id snap-6 state 1 (metastore seq 5)", "state_stuck snap-6 Creating"},
			play:  kill("dmsetup message * create_snap *", fakedm.Before, 1, child)},
		{Name: "c02-after-create_snap", Title: "killed after the thin device of a child is made", Restart: again, Answers: fine,
			Facts: []string{"device_without_snapshot_blocks_next_id snap-6 state 1 (metastore seq 5)", "state_stuck snap-6 Creating"},
			play:  kill("dmsetup message * create_snap *", fakedm.After, 1, child)},
		// The first two calls that create a node are those of containers 1 and 2, at the start.
		{Name: "c03-after-activate", Title: "killed after the device of a child is activated", Restart: again, Answers: fine,
			Facts: []string{"device_without_snapshot_blocks_next_id snap-6 state 3 (metastore seq 5)", "state_stuck snap-6 Activating"},
			play:  kill("dmsetup create * thin *", fakedm.After, 3, child)},
		{Name: "c04-in-mkfs", Title: "killed while the file system of a new base is made",
			Restart: []string{"prepare,newbase,", "prepare,newbase,", child, "prepare,c4," + Layer(3), "gc"}, Answers: []string{exists, exists, exists, exists, ""},
			Facts: []string{"device_without_snapshot_blocks_next_id snap-6 state 4 (metastore seq 5)"},
			play:  kill("mkfs.ext4 *", fakedm.Before, 1, "prepare,newbase,")},
		{Name: "c05-prepare-commit-lost", Title: "Prepare is done, but the commit of metadata.db never reaches the disk",
			Restart: []string{child, "prepare,newbase,"}, Answers: []string{exists, exists},
			Facts: []string{"device_without_snapshot_blocks_next_id snap-6 state 4 (metastore seq 5)"},
			play: func(ctx context.Context, m *Machine) error {
				return m.lose(ctx, "dmsetup create * thin *", 3, []string{"metadata", "meta"}, child)
			}},
		{Name: "c06-commit-before-deactivate", Title: "killed in Commit before the device is deactivated",
			Restart: []string{"mounts,extract-4", "commit," + Layer(4) + ",extract-4", child, "remove,extract-4", "gc"},
			Answers: []string{"no such file or directory", "can't get status for device", "", "", ""},
			Facts:   []string{"state_stuck snap-6 Deactivating"}, play: commitCrash},
	}, removals(child)...)
}

func commitCrash(ctx context.Context, m *Machine) error {
	r, err := m.Run(ctx, "prepare,extract-4,"+Layer(3), "write,extract-4,128")
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		return err
	}
	return m.crash(ctx, fakedm.Fault{Pattern: "dmsetup remove *", When: fakedm.Before, How: fakedm.Kill}, "commit,"+Layer(4)+",extract-4")
}

// removals are the scenarios about Remove, and those that are no crash.
func removals(child string) []Scenario {
	away := []string{"rmcontainer,c2", "remove,c2", "gc"}
	return []Scenario{
		{Name: "c07-remove-after-delete", Title: "killed in Remove after the thin device is deleted", Restart: []string{"gc", child, "remove,c3", "gc"}, Answers: []string{"", "", "", ""},
			Facts: []string{"device_in_db_not_in_pool snap-5 dev 5", "state_stuck snap-5 Removing", "unreferenced_backend_snapshot 5"},
			play:  kill("dmsetup message * delete *", fakedm.After, 1, away...)},
		{Name: "c08-remove-commit-lost", Title: "Remove is done, but the commit of metadata.db never reaches the disk",
			Restart: []string{"prepare,w," + Layer(3), "remove,w", "gc", "gone,c2"}, Answers: []string{"", "", "", "is still there"},
			Facts: []string{"snapshot_without_device 5", "unreferenced_backend_snapshot 5"},
			play: func(ctx context.Context, m *Machine) error {
				return m.lose(ctx, "dmsetup message * delete *", 1, []string{"metadata"}, away...)
			}},
		{Name: "c09-async-remove", Title: "async_remove: the record says Removed, the commit of metadata.db never reaches the disk", Async: true,
			Restart: []string{"rmcontainer,c1", "remove,c1", "gc", "gone,c2", "prepare,c9," + Layer(3)}, Answers: []string{"", "", "", "", ""},
			Facts: []string{"removed_state_live_snapshot snap-5", "unreferenced_backend_snapshot 5"}, play: asyncRemove},
		{Name: "c13-kill-after-activate", Title: "killed after the device of a child is activated, and started again without a reboot", NoReboot: true,
			Restart: []string{child, child, "prepare,c4," + Layer(3)}, Answers: []string{"device or resource busy", "", ""},
			Facts: []string{"device_without_snapshot_blocks_next_id snap-6 state 3 (metastore seq 5)", "state_stuck snap-6 Activating"},
			play:  kill("dmsetup create * thin *", fakedm.After, 3, child)},
		{Name: "c14-rolled-back", Title: "the snapshotter's databases are put back from older copies",
			Restart: []string{"prepare,x1," + Layer(3), "prepare,x2," + Layer(3), "prepare,x3," + Layer(3)}, Answers: []string{"file exists", "file exists", ""},
			Facts: []string{"metadb_dangling_backend c3", "metadb_dangling_backend c4", "pool_device_unknown 6", "pool_device_unknown 7"}, play: rolledBack},
		{Name: "c17-deleted-by-hand", Title: "the thin device of a container is deleted by hand", StartFails: "no data available",
			Restart: []string{child, "mounts,c2"}, Answers: []string{"", "no such file or directory"},
			Facts: []string{"device_in_db_not_in_pool snap-5 dev 5"},
			play: func(_ context.Context, m *Machine) error {
				_, err := m.DMSetup("message", m.Pool, "0", "delete 5")
				return err
			}},
	}
}

// asyncRemove loses the commit of metadata.db in a garbage collection, before the collection cleans up. Cleanup's first call is
// where it is killed; what it has committed to metadata.db by then is undone from a copy.
func asyncRemove(ctx context.Context, m *Machine) error {
	// A first snapshot goes all the way.
	r, err := m.Run(ctx, "prepare,w1,"+Layer(3), "remove,w1", "gc")
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		return err
	}
	copied := m.DB("metadata") + ".copy"
	if err := copyFile(m.DB("metadata"), copied); err != nil {
		return err
	}
	// The start asks for snap-5 once. The second call belongs to Cleanup.
	f := fakedm.Fault{Pattern: "dmsetup info *-snap-5", Nth: 2, When: fakedm.Before, How: fakedm.Kill}
	if err := m.crash(ctx, f, "rmcontainer,c2", "remove,c2", "gc"); err != nil {
		return err
	}
	return os.Rename(copied, m.DB("metadata"))
}

func rolledBack(ctx context.Context, m *Machine) error {
	for _, db := range []string{"metadata", "pool"} {
		if err := copyFile(m.DB(db), m.DB(db)+".copy"); err != nil {
			return err
		}
	}
	r, err := m.Run(ctx, "prepare,c3,"+Layer(3), "prepare,c4,"+Layer(3))
	if err == nil {
		err = r.Err()
	}
	for _, db := range []string{"metadata", "pool"} {
		err = errors.Join(err, os.Rename(m.DB(db)+".copy", m.DB(db)))
	}
	return err
}

// ByName finds a scenario by its name or the first part of it, "c05".
func ByName(name string) (Scenario, bool) {
	for _, s := range Scenarios() {
		if first, _, _ := strings.Cut(s.Name, "-"); s.Name == name || first == name {
			return s, true
		}
	}
	return Scenario{}, false
}
