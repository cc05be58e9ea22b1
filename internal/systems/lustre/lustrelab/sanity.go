package lustrelab

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"fettle/internal/fault"
	"fettle/internal/lab"
)

// Scenario is one of the namespace tests of LFSCK (lustre/tests/sanity-lfsck.sh): the damage that its stubs leave on disk, made on
// images.
type Scenario struct {
	Test  string // "23b"
	Title string // the damage
	LFSCK string // what LFSCK must do about it, by its counters
	Ours  string // what fettle does: the same, or how it differs
	// Finds are the classes that a check must report, without subjects; other findings are of objects that were in a destroyed
	// directory. None means that a check must be clean.
	Finds []lab.Expect
	// Make does the damage to a healthy file system in a directory with all its mdt*.img, and gives the truth with subjects. It
	// fails if the file system has nothing to do it to.
	Make func(ctx context.Context, dir string, seed uint64) (*lab.Truth, error)
}

// errNothing says that a file system has nothing that fits a scenario.
var errNothing = errors.New("the file system has nothing that fits")

// step is a part of a scenario: something done to one object.
type step struct {
	fits func(*patient, *seen) bool
	do   func(*patient, *seen) error
}

// one does a step to one object that can be injured.
func (p *patient) one(s step) error {
	list := slices.Clone(p.users)
	p.rnd.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	for _, o := range list {
		if !p.free(o) || !s.fits(p, o) {
			continue
		}
		err := s.do(p, o)
		if errors.Is(err, errNoRoom) {
			continue
		}
		p.touch(o)
		return err
	}
	return errNothing
}

// scenario makes the Make of a scenario from steps.
func scenario(steps ...step) func(context.Context, string, uint64) (*lab.Truth, error) {
	return func(ctx context.Context, dir string, seed uint64) (*lab.Truth, error) {
		return operate(ctx, dir, seed, func(p *patient) error {
			for i, s := range steps {
				if err := p.one(s); err != nil {
					return &fault.Error{Op: fmt.Sprintf("step %d of the scenario", i+1), Where: dir, Err: err}
				}
			}
			return nil
		})
	}
}

// then does one thing after another to the same object.
func then(parts ...func(*patient, *seen) error) func(*patient, *seen) error {
	return func(p *patient, s *seen) error {
		for _, do := range parts {
			if err := do(p, s); err != nil {
				return err
			}
		}
		return nil
	}
}

func finds(classes ...string) []lab.Expect {
	out := []lab.Expect{}
	for _, c := range classes {
		out = append(out, lab.Expect{Class: c})
	}
	return out
}

const same = "the same"

// Sanity lists the scenarios, in the order of their tests.
func Sanity() []Scenario {
	return slices.Concat(sanityEntries(), sanityPairs(), sanityNames(), sanityStripes())
}

// sanityEntries are tests 0 to 3: FIDs in names, LMA and link EA.
func sanityEntries() []Scenario {
	file := func(p *patient, s *seen) bool { return p.plainFile(s) && p.once(s) }
	far := func(p *patient, s *seen) bool { return p.farDir(s) && p.once(s) }
	return []Scenario{
		{"0", "none", "updated_phase1 = 0, completed", same, finds(), scenario()},
		{"1a", "FID in the name with f_ver = ~0", "dirent_repaired = 1", same, finds(direntFIDInsane), scenario(step{file, (*patient).insaneVersion})},
		{"1b", "LMA missing", "dirent_repaired = 1", same, finds(missingLMA), scenario(step{file, (*patient).dropLMA})},
		{"1c", "name without FID, and no link EA", "dirent_repaired = 1", "both are found, each by itself", finds(noFID, linkMissing), scenario(step{file, then((*patient).noFID, (*patient).dropLink)})},
		{"2a", "the only record of the link EA has a parent with f_ver = ~0", "linkea_repaired = 1", same, finds(linkInvalidParent), scenario(step{file, (*patient).insaneParent})},
		{"2b", "one more record, of the same name, with such a parent", "updated_phase2 = 1", same, finds(linkRedundant), scenario(step{file, (*patient).insaneRecord})},
		{"2c", "the record twice", "updated_phase2 = 1", same, finds(linkRepeated), scenario(step{file, (*patient).repeatRecord})},
		{"2d", "no link EA", "linkea_repaired = 1", same, finds(linkMissing), scenario(step{file, (*patient).dropLink})},
		{"2e", "as 2a, of a directory whose parent is on another MDT", "linkea_repaired = 1 on the MDT of the directory", same, finds(linkInvalidParent), scenario(step{far, (*patient).insaneParent})},
		{"3", "as 2a and 2b, of files with two names", "checked_phase2 >= 4, multiple_linked_repaired >= 2", same, finds(linkInvalidParent, linkRedundant),
			scenario(step{file, then((*patient).secondName, (*patient).insaneParent)}, step{file, then((*patient).secondName, (*patient).insaneRecord)})},
	}
}

// sanityPairs are tests 22 to 25: names and objects that do not go together.
func sanityPairs() []Scenario {
	file := func(p *patient, s *seen) bool { return p.plainFile(s) && p.once(s) }
	dir := func(p *patient, s *seen) bool { return s.isDir() && s.lmv == nil && p.once(s) }
	return []Scenario{
		{"22a", "'..' and link EA of a directory say a parent that does not exist", "unmatched_pairs_repaired = 1", same, finds(unmatchedPair), scenario(step{dir, (*patient).parentNobody})},
		{"22b", "they say another directory, which has no such name", "unmatched_pairs_repaired = 1", same, finds(unmatchedPair), scenario(step{dir, (*patient).parentOther})},
		{"23a", "object of a remote directory gone, name kept", "dangling_repaired = 1; with -C a directory is made", same, finds(danglingName), scenario(step{(*patient).farDir, (*patient).dangle})},
		{"23b", "one of two names of a file has the FID of nobody", "with -C: dangling_repaired = 1, multiple_linked_repaired = 1, content back",
			"better: the inode behind the name knows the name, so its FID is put right and nothing is made", finds(direntFIDMismatch), scenario(step{file, then((*patient).secondName, (*patient).secondNobody)})},
		{"23c", "as 23b, and an object with that FID was made and written to", "dangling_repaired = 1, the new object is not replaced",
			"the new object keeps the name; link EA and count of the old one are put right", finds(linkRedundant, badNlink), scenario(step{file, then((*patient).secondName, (*patient).secondOther)})},
		{"23d", "object of a remote file gone with its entry of REMOTE_PARENT_DIR", "with -C it is made anew", same, finds(danglingName), scenario(step{file, then((*patient).moveFar, (*patient).dangle)})},
		{"24", "a directory without a name says that it has that of another one, on another MDT", "multiple_referenced_repaired = 1, to lost+found as -D-0", same, finds(multipleReferenced),
			scenario(step{dir, (*patient).claimFar})},
		{"25", "wrong type in a name", "bad_file_type_repaired = 1", same, finds(badType), scenario(step{file, (*patient).mistype})},
	}
}

// sanityNames are tests 26 to 30, 35, 37 and 39: lost names, link counts, what belongs to the MDT itself.
func sanityNames() []Scenario {
	file := func(p *patient, s *seen) bool { return p.plainFile(s) && p.once(s) }
	far := func(p *patient, s *seen) bool { return p.farDir(s) && p.once(s) }
	plain := func(p *patient, s *seen) bool { return p.plainDir(s) && p.once(s) && !s.alien }
	parent := func(p *patient, s *seen) bool { return plain(p, s) && len(s.names) > 0 }
	return []Scenario{
		{"26a", "one of two names lost, link EA and count kept", "lost_dirent_repaired = 1", same, finds(lostName), scenario(step{file, then((*patient).secondName, (*patient).loseSecond)})},
		{"26b", "name of a remote directory lost", "lost_dirent_repaired = 1", same, finds(orphan), scenario(step{far, (*patient).lose})},
		{"27a", "directory gone with its name; its files on the same MDT", "lost_dirent_repaired = 1, -P- in lost+found", same, finds(orphan), scenario(step{parent, (*patient).vanish})},
		{"27b", "directory gone with its name; a file of it is on another MDT", "lost_dirent_repaired = 1, -P- in lost+found of the parent's MDT", same, finds(orphan),
			scenario(step{file, (*patient).vanishFar})},
		{"28", "names of remote directories lost; one MDT cannot be reached", "partial on one, the second run repairs the rest",
			"without all MDTs the verdict is incomplete and nothing is said of what depends on them; with all, as 26b", finds(orphan), scenario(step{far, (*patient).lose})},
		{"29a", "3 links, 2 names", "nothing (the test is switched off)", "better: found and lowered", finds(badNlink), scenario(step{file, then((*patient).secondName, (*patient).countOneMore)})},
		{"29b", "1 link, 2 names", "nlinks_repaired = 1", same, finds(badNlink), scenario(step{file, then((*patient).secondName, (*patient).countLess)})},
		{"29c", "the link EA says that names did not fit, and now all do", "linkea_overflow_cleared = 1, nlinks_repaired = 0", "the same; it is worth knowing and does not make the verdict damaged", finds(linkOverflow),
			scenario(step{file, then((*patient).secondName, (*patient).staleOverflow)})},
		{"30", "objects without names, put into /lost+found of the MDT by e2fsck", "local_lost_found_moved, a file with a link EA gets its name back", same, finds(orphan, orphan),
			scenario(step{file, (*patient).toBackend}, step{(*patient).fillable, then((*patient).empty, (*patient).forget, (*patient).toBackend)})},
		{"35", "no entry in REMOTE_PARENT_DIR", "agent_entries_repaired = 1", same, finds(remoteMissing), scenario(step{(*patient).farDir, (*patient).loseRemote})},
		{"37", "directory that was removed while it was open", "not resurrected", same, finds(), scenario(step{(*patient).fillable, then((*patient).empty, (*patient).toPending)})},
		{"39", "directory of another system", "namespace_repaired = 0, LMV as it was", same, finds(), scenario(step{(*patient).fillable, then((*patient).empty, (*patient).alienate)})},
	}
}

// sanityStripes are tests 31 and 32: striped directories, and stopping.
func sanityStripes() []Scenario {
	beside := func(p *patient, s *seen) bool { return s.isShard() && p.near(s) }
	away := func(p *patient, s *seen) bool { return s.isShard() && !p.near(s) }
	first := func(p *patient, s *seen) bool { return s.isShard() && s.lmv.Index == 0 }
	in := func(shard uint32) func(*patient, *seen) bool {
		return func(p *patient, s *seen) bool { return p.inShard(s) && p.ref(s).dir.lmv.Index == shard }
	}
	return []Scenario{
		{"31a", "names in shard 0 whatever their hash", "name_hash_repaired >= 1, the directory is marked badtype", "better: the names are moved", finds(badNameHash), scenario(step{in(0), (*patient).misplace})},
		{"31b", "names in shard 1 whatever their hash", "name_hash_repaired >= 1, the directory is marked badtype", "better: the names are moved", finds(badNameHash), scenario(step{in(1), (*patient).misplace})},
		{"31c", "LMV of the master lost", "striped_dirs_repaired = 1, marked lostlmv", same, finds(masterLMVMissing), scenario(step{(*patient).master, (*patient).dropLMV})},
		{"31d", "LMV of the master lost, and a file was made in the master", "striped_dirs_repaired = 0, the directory becomes read-only",
			"found; what is to be done is left to a person", finds(masterLMVMissing), scenario(step{(*patient).master, (*patient).lostAndUsed})},
		{"31e", "LMV of a shard beside the master lost", "striped_shards_repaired = 1", same, finds(shardLMVMissing), scenario(step{beside, (*patient).dropLMV})},
		{"31f", "LMV of a shard on another MDT lost", "striped_shards_repaired = 1", same, finds(shardLMVMissing), scenario(step{away, (*patient).dropLMV})},
		{"31g", "LMV of shard 0 says 1", "striped_shards_repaired = 1", same, finds(shardLMVWrong), scenario(step{first, (*patient).wrongIndex})},
		{"31h", "name of shard 0 says 1", "dirent_repaired = 1", same, finds(shardName), scenario(step{first, (*patient).renumber})},
		{"32b", "none; LFSCK is stopped while it works", "can be stopped", same, finds(), scenario()},
	}
}
