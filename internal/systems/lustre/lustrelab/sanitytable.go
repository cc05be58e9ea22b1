package lustrelab

import "slices"

// Sanity lists the scenarios, in the order of their tests.
func Sanity() []Scenario {
	return slices.Concat(sanityEntries(), sanityRestored(), sanityPairs(), sanityNames(), sanityCounts(), sanityLocal(), sanityStripes())
}

const recreateDangling = "lustre/dangling-name=recreate"

func onceFile(p *patient, s *seen) bool { return p.plainFile(s) && p.once(s) }
func onceFar(p *patient, s *seen) bool  { return p.farDir(s) && p.once(s) && !s.alien }
func onceDir(p *patient, s *seen) bool  { return p.plainDir(s) && p.once(s) && !s.alien }

// sanityEntries are tests 0 to 3: FIDs in names, LMA and link EA.
func sanityEntries() []Scenario {
	type steps = func(*patient, *seen) error
	file := func(do steps) step { return step{fits: onceFile, do: do} }
	return []Scenario{
		{Test: "0", Title: "none", LFSCK: "updated_phase1 = 0, completed", Ours: "nothing is found, and nothing is written", Make: scenario()},
		{Test: "1a", Title: "FID in the name with f_ver = ~0", LFSCK: "dirent_repaired = 1, readable", Ours: "FID in the name set to that of the inode",
			Counts: []string{"dirent_repaired = 1"}, Finds: finds(direntFIDInsane), Make: scenario(file((*patient).insaneVersion))},
		{Test: "1b", Title: "LMA missing", LFSCK: "dirent_repaired = 1", Ours: "LMA written again, with the FID that the name and the object index say",
			Counts: []string{"dirent_repaired = 1"}, Finds: finds(missingLMA), Make: scenario(file((*patient).dropLMA))},
		{Test: "1c", Title: "name without FID, and no link EA", LFSCK: "dirent_repaired = 1", Ours: "both are found, each by itself, and both are put right",
			Better: "the link EA is made in the same run", Counts: []string{"dirent_repaired = 1", "linkea_repaired = 1"}, Finds: finds(noFID, linkMissing),
			Make: scenario(file(then((*patient).noFID, (*patient).dropLink)))},
		{Test: "2a", Title: "the only record of the link EA has a parent with f_ver = ~0", LFSCK: "linkea_repaired = 1; one link, fid2path right", Ours: "link EA written anew from the name",
			Counts: []string{"linkea_repaired = 1"}, Finds: finds(linkInvalidParent), Make: scenario(file((*patient).insaneParent))},
		{Test: "2b", Title: "one more record, of the same name, with such a parent", LFSCK: "updated_phase2 = 1; one link, fid2path right", Ours: "record removed; it counts as link EA",
			Counts: []string{"linkea_repaired = 1"}, Finds: finds(linkRedundant), Make: scenario(file((*patient).insaneRecord))},
		{Test: "2c", Title: "the record twice", LFSCK: "updated_phase2 = 1", Ours: "record removed; it counts as link EA",
			Counts: []string{"linkea_repaired = 1"}, Finds: finds(linkRepeated), Make: scenario(file((*patient).repeatRecord))},
		{Test: "2d", Title: "no link EA", LFSCK: "linkea_repaired = 1", Ours: "link EA written anew from the name",
			Counts: []string{"linkea_repaired = 1"}, Finds: finds(linkMissing), Make: scenario(file((*patient).dropLink))},
		{Test: "2e", Title: "as 2a, of a directory whose parent is on another MDT", LFSCK: "linkea_repaired = 1 on the MDT of the directory", Ours: "as 2a, counted for that MDT",
			Counts: []string{"linkea_repaired = 1"}, Finds: finds(linkInvalidParent), Make: scenario(step{fits: onceFar, do: (*patient).insaneParent})},
		{Test: "3", Title: "as 2a and 2b, of files with two names", LFSCK: "checked_phase2 >= 4, multiple_linked_repaired >= 2", Ours: "as 2a and 2b; they count as link EA",
			Counts: []string{"linkea_repaired = 2"}, Finds: finds(linkInvalidParent, linkRedundant),
			Make: scenario(file(then((*patient).secondName, (*patient).insaneParent)), file(then((*patient).secondName, (*patient).insaneRecord)))},
	}
}

// sanityRestored is test 4: an MDT that was restored from a backup of its files.
func sanityRestored() []Scenario {
	var all []step
	var classes []string
	for range restored {
		all = append(all, step{fits: onceFile, do: then((*patient).noFID, (*patient).staleIndex)})
		classes = append(classes, noFID, indexStale)
	}
	return []Scenario{
		{Test: "4", Title: "the MDT was restored from a backup of its files: names have no FIDs, the object index leads to other inodes",
			LFSCK: "flag inconsistent while it works, none afterwards; dirent_repaired >= 9", Ours: "FIDs written into the names, object index corrected; that of the index is OI scrub's work for LFSCK, and counts as unknown here",
			Counts: []string{"dirent_repaired = 9", "unknown_inconsistency = 9"}, Finds: finds(classes...), Make: scenario(all...)},
	}
}

// restored is how many names and objects test 4 looks at.
const restored = 9

// sanityPairs are tests 22 to 25: names and objects that do not go together.
func sanityPairs() []Scenario {
	dir := func(p *patient, s *seen) bool { return s.isDir() && s.lmv == nil && p.once(s) && !s.alien }
	return []Scenario{
		{Test: "22a", Title: "'..' and link EA of a directory say a parent that does not exist", LFSCK: "unmatched_pairs_repaired = 1", Ours: "both are set to the directory that has the name",
			Counts: []string{"unmatched_pairs_repaired = 1"}, Finds: finds(unmatchedPair), Make: scenario(step{fits: dir, do: (*patient).parentNobody})},
		{Test: "22b", Title: "they say another directory, which has no such name", LFSCK: "unmatched_pairs_repaired = 1; fid2path right", Ours: "both are set to the directory that has the name",
			Counts: []string{"unmatched_pairs_repaired = 1"}, Finds: finds(unmatchedPair), Make: scenario(step{fits: dir, do: (*patient).parentOther})},
		{Test: "23a", Title: "object of a remote directory gone, name kept", LFSCK: "dangling_repaired = 1 although nothing is done; the name stays", Ours: "the name stays, and each check tells it; what is kept is not counted as repaired",
			Better: "a count says what was done", Keeps: []string{danglingName}, Finds: finds(danglingName), Make: scenario(step{(*patient).fillableFar, then((*patient).empty, (*patient).dangle), gone})},
		{Test: "23a", Options: "-C", Title: "the same", LFSCK: "dangling_repaired = 1; stat works", Ours: "an empty directory with the old FID, mode 0700", Policy: []string{recreateDangling},
			Counts: []string{"dangling_repaired = 1"}, Finds: finds(danglingName), Make: scenario(step{(*patient).fillableFar, then((*patient).empty, (*patient).dangle), anew})},
		{Test: "23b", Options: "-C", Title: "one of two names of a file has the FID of nobody", LFSCK: "dangling_repaired = 1, multiple_linked_repaired = 1; content back",
			Ours: "FID in the name set to that of the file; it counts as dirent", Better: "the inode behind the name knows the name, so nothing is made that has to be thrown away again, and it needs no -C",
			Counts: []string{"dirent_repaired = 1"}, Finds: finds(direntFIDMismatch), Make: scenario(step{fits: onceFile, do: then((*patient).secondName, (*patient).secondNobody)})},
		{Test: "23c", Options: "-C", Title: "as 23b, and an object with that FID was made and written to", LFSCK: "dangling_repaired = 1; the new object is not replaced",
			Ours: "the new object keeps the name; link EA and link count of the old one are set to the name that it has", Better: "the count of the old one is not left too high",
			Counts: []string{"linkea_repaired = 1", "nlinks_repaired = 1"}, Finds: finds(linkRedundant, badNlink), Make: scenario(step{fits: onceFile, do: then((*patient).secondName, (*patient).secondOther)})},
		{Test: "23d", Options: "-C", Title: "object of a remote file gone with its entry of REMOTE_PARENT_DIR", LFSCK: "it is made anew; lfsck -t layout -o brings the data back",
			Ours: "an empty file with the old FID, mode 0600; the plan names lfsck -t layout -o", Policy: []string{recreateDangling},
			Counts: []string{"dangling_repaired = 1"}, Finds: finds(danglingName), Make: scenario(step{onceFile, then((*patient).moveFar, (*patient).dangle), anew})},
		{Test: "24", Title: "a directory without a name says that it has that of another one, on another MDT", LFSCK: "multiple_referenced_repaired = 1; lost+found/MDTxxxx/[FID]-[PARENT]-D-0", Ours: "that name in lost+found",
			Counts: []string{"multiple_referenced_repaired = 1"}, Finds: finds(multipleReferenced), Make: scenario(step{dir, (*patient).claimFar, lostDirectory})},
		{Test: "25", Title: "wrong type in a name", LFSCK: "bad_file_type_repaired = 1", Ours: "type set to that of the object",
			Counts: []string{"bad_file_type_repaired = 1"}, Finds: finds(badType), Make: scenario(step{fits: onceFile, do: (*patient).mistype})},
	}
}

// sanityNames are tests 26 to 28: lost names.
func sanityNames() []Scenario {
	parent := func(p *patient, s *seen) bool { return onceDir(p, s) && len(s.names) > 0 && p.remembered(s) }
	lost := []string{"lost_dirent_repaired = 1"}
	return []Scenario{
		{Test: "26a", Title: "one of two names lost, link EA and count kept", LFSCK: "lost_dirent_repaired = 1; same FID", Ours: "the name is put back",
			Counts: lost, Finds: finds(lostName), Make: scenario(step{fits: onceFile, do: then((*patient).secondName, (*patient).loseSecond)})},
		{Test: "26b", Title: "name of a remote directory lost", LFSCK: "lost_dirent_repaired = 1", Ours: "the name is put back, with its agent",
			Counts: lost, Finds: finds(orphan), Make: scenario(step{fits: onceFar, do: (*patient).lose})},
		{Test: "27a", Title: "directory gone with its name; its files on the same MDT", LFSCK: "lost_dirent_repaired = 1; [FID]-P-0 in lost+found", Ours: "the directory is made anew under that name, and what was in it has its names there",
			Counts: []string{"lost_dirent_repaired >= 1"}, Finds: finds(orphan), Make: scenario(step{parent, (*patient).vanish, lostParent})},
		{Test: "27b", Title: "directory gone with its name; a file of it is on another MDT", LFSCK: "lost_dirent_repaired = 1; [FID]-P-0 in lost+found of the parent's MDT", Ours: "the same, of the parent's MDT",
			Counts: []string{"lost_dirent_repaired >= 1"}, Finds: finds(orphan), Make: scenario(step{onceFile, (*patient).vanishFar, func(p *patient, s *seen, want Picture) { lostParent(p, p.ref(s).dir, want) }})},
		{Test: "28", Title: "names of remote directories lost; MDTs cannot reach each other", LFSCK: "one MDT partial, 0 repaired, the other 1; the second run repairs the rest",
			Ours: "the run is partial as long as an MDT is missing: what can be proved without it is repaired, and nothing is said or done about what depends on it; with all, as 26b", Counts: []string{"lost_dirent_repaired = 1"}, Alone: true,
			Finds: finds(orphan), Make: scenario(step{fits: onceFar, do: (*patient).lose})},
	}
}

// sanityCounts are test 29: link counts, and link EAs that were too small.
func sanityCounts() []Scenario {
	return []Scenario{
		{Test: "29a", Title: "3 links, 2 names", LFSCK: "nothing: the test is switched off (2 links are wanted)", Ours: "link count set to 2", Better: "LFSCK never lowers a count, and the file would never be destroyed",
			Counts: []string{"nlinks_repaired = 1"}, Finds: finds(badNlink), Make: scenario(step{fits: onceFile, do: then((*patient).secondName, (*patient).countOneMore)})},
		{Test: "29b", Title: "1 link, 2 names", LFSCK: "nlinks_repaired = 1: 2 links", Ours: "link count set to 2",
			Counts: []string{"nlinks_repaired = 1"}, Finds: finds(badNlink), Make: scenario(step{fits: onceFile, do: then((*patient).secondName, (*patient).countLess)})},
		{Test: "29c", Title: "the link EA had no room for all names, says so, lacks one, and now all would fit", LFSCK: "linkea_overflow_cleared = 1, nlinks_repaired = 0", Ours: "link EA written with all names and without the mark; it is worth knowing and no damage",
			Counts: []string{"linkea_overflow_cleared = 1"}, Finds: finds(linkOverflow), Make: scenario(step{fits: onceFile, do: then((*patient).secondName, (*patient).outgrown)})},
	}
}

// sanityLocal are tests 30, 35, 37 and 39: what belongs to the MDT itself, and what is to be left alone.
func sanityLocal() []Scenario {
	return []Scenario{
		{Test: "30", Title: "objects without names, put into /lost+found of the MDT by e2fsck", LFSCK: "local_lost_found_moved >= 4; a file with a link EA gets its name back, a directory without goes to lost+found as [FID]-[PARENT]-D-0",
			Ours: "the same; it counts as lost_dirent", Counts: []string{"lost_dirent_repaired = 2"}, Finds: finds(orphan, orphan),
			Make: scenario(step{fits: onceFile, do: (*patient).toBackend}, step{(*patient).fillable, then((*patient).empty, (*patient).forget, (*patient).toBackend), lostDirectory})},
		{Test: "35", Title: "no entry in REMOTE_PARENT_DIR", LFSCK: "agent_entries_repaired = 1, second run 0", Ours: "the entry is made",
			Counts: []string{"agent_entries_repaired = 1"}, Finds: finds(remoteMissing), Make: scenario(step{fits: (*patient).farDir, do: (*patient).loseRemote})},
		{Test: "37", Title: "directory that was removed while it was open", LFSCK: "not resurrected", Ours: "nothing is found, and nothing is written",
			Make: scenario(step{(*patient).fillable, then((*patient).empty, (*patient).toPending), pendingOnly})},
		{Test: "39", Title: "directory of another system", LFSCK: "namespace_repaired = 0, LMV as it was", Ours: "nothing is found, and nothing is written",
			Make: scenario(step{(*patient).fillable, then((*patient).empty, (*patient).alienate), foreign})},
	}
}

// sanityStripes are tests 31: striped directories.
func sanityStripes() []Scenario {
	beside := func(p *patient, s *seen) bool { return s.isShard() && p.near(s) }
	away := func(p *patient, s *seen) bool { return s.isShard() && !p.near(s) }
	first := func(p *patient, s *seen) bool { return s.isShard() && s.lmv.Index == 0 }
	in := func(shard uint32) func(*patient, *seen) bool {
		return func(p *patient, s *seen) bool { return p.inShard(s) && p.ref(s).dir.lmv.Index == shard }
	}
	const moves = "clients find the names by their hash again; LFSCK leaves a directory in which every lookup asks all shards"
	misplaced := func(test, title string, shard uint32) Scenario {
		return Scenario{Test: test, Title: title, LFSCK: "name_hash_repaired >= 1, the directory is marked badtype; all names stat and unlink", Ours: "the names are moved to the shard that their hash leads to", Better: moves,
			Counts: []string{"name_hash_repaired = 1"}, Finds: finds(badNameHash), Make: scenario(step{fits: in(shard), do: (*patient).misplaceForGood})}
	}
	dirs, shards := []string{"striped_dirs_repaired = 1"}, []string{"striped_shards_repaired = 1"}
	return []Scenario{
		misplaced("31a", "names in shard 0 whatever their hash", 0),
		misplaced("31b", "names in shard 1 whatever their hash", 1),
		{Test: "31c", Title: "LMV of the master lost", LFSCK: "striped_dirs_repaired = 1, marked lostlmv", Ours: "LMV as the shards tell it, byte for byte what it was; no mark, because all shards agree",
			Counts: dirs, Finds: finds(masterLMVMissing), Make: scenario(step{fits: (*patient).master, do: (*patient).dropLMV})},
		{Test: "31d", Title: "LMV of the master lost, and a file was made in the master", LFSCK: "striped_dirs_repaired = 0, the directory becomes read-only", Ours: "LMV as the shards tell it; the file is moved to the shard that its hash leads to. If that has such a name already nothing is done and the finding says so",
			Better: "the directory can be used again, with what was made in it", Counts: dirs, Finds: finds(masterLMVMissing), Make: scenario(step{fits: (*patient).master, do: (*patient).lostAndUsed})},
		{Test: "31e", Title: "LMV of a shard beside the master lost", LFSCK: "striped_shards_repaired = 1", Ours: "LMV as master and name tell it",
			Counts: shards, Finds: finds(shardLMVMissing), Make: scenario(step{fits: beside, do: (*patient).dropLMV})},
		{Test: "31f", Title: "LMV of a shard on another MDT lost", LFSCK: "striped_shards_repaired = 1", Ours: "LMV as master and name tell it",
			Counts: shards, Finds: finds(shardLMVMissing), Make: scenario(step{fits: away, do: (*patient).dropLMV})},
		{Test: "31g", Title: "LMV of shard 0 says 1", LFSCK: "striped_shards_repaired = 1", Ours: "number set to 0, which the name and the link EA say",
			Counts: shards, Finds: finds(shardLMVWrong), Make: scenario(step{fits: first, do: (*patient).wrongIndex})},
		{Test: "31h", Title: "name of shard 0 says 1", LFSCK: "dirent_repaired = 1", Ours: "number in the name set to 0, which LMV and link EA say",
			Counts: []string{"dirent_repaired = 1"}, Finds: finds(shardName), Make: scenario(step{fits: first, do: (*patient).renumber})},
	}
}
