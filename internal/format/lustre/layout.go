package lustre

// Layout says which hash spreads names over how many shards, and the number of the first of them.
type Layout struct {
	Hash   uint32 // hash type without flags
	Count  uint32
	Offset uint32 // shards are numbered from here; only the old layout of a migrating directory does not begin at 0
}

// Migrating reports whether the directory is being moved to other MDTs: its old shards come after its new ones.
func (v LMV) Migrating() bool { return v.HashType&hashFlagChange == HashFlagMigration }

// Splitting reports whether shards are being added.
func (v LMV) Splitting() bool { return v.HashType&hashFlagChange == HashFlagMigration|HashFlagSplit }

// Merging reports whether shards are being taken away.
func (v LMV) Merging() bool { return v.HashType&hashFlagChange == HashFlagMigration|HashFlagMerge }

// Changing reports whether names may be in the shard of the old layout or in that of the new.
func (v LMV) Changing() bool { return v.Migrating() || v.Splitting() || v.Merging() }

// New is the layout that names are put into.
func (v LMV) New() Layout {
	switch {
	case v.Merging():
		return Layout{Hash: v.MigrateHash & hashMask, Count: v.MigrateOffset}
	case v.Migrating():
		return Layout{Hash: v.HashType & hashMask, Count: v.MigrateOffset}
	}
	return Layout{Hash: v.HashType & hashMask, Count: v.Count}
}

// Old is the layout that names come from while the directory is changing; otherwise the same as New.
func (v LMV) Old() Layout {
	switch {
	case v.Splitting():
		return Layout{Hash: v.MigrateHash & hashMask, Count: v.MigrateOffset}
	case v.Migrating():
		l := Layout{Hash: v.MigrateHash & hashMask, Offset: v.MigrateOffset}
		if v.Count > v.MigrateOffset {
			l.Count = v.Count - v.MigrateOffset
		}
		return l
	}
	return Layout{Hash: v.HashType & hashMask, Count: v.Count}
}

// Index is the number of the shard that the name belongs in. ok is false when the layout has no shards or, having several,
// no hash that is known; a name may then be anywhere.
func (l Layout) Index(name string) (index int, ok bool) {
	if l.Count < 1 || l.Count > LMVMaxCount {
		return 0, false
	}
	n := uint32(0)
	if l.Count > 1 {
		if n, ok = NameHash(l.Hash, name, l.Count); !ok {
			return 0, false
		}
	}
	return int(n + l.Offset), true
}

// Allowed gives the numbers of the shards that may hold the name: one, or two while the directory is changing. nil means that
// any shard may: the hash is unknown or marked as bad.
func (v LMV) Allowed(name string) []int {
	if v.HashType&HashFlagBadType != 0 {
		return nil
	}
	now, ok := v.New().Index(name)
	if !ok {
		return nil
	}
	if !v.Changing() {
		return []int{now}
	}
	before, ok := v.Old().Index(name)
	switch {
	case !ok:
		return nil
	case before == now:
		return []int{now}
	}
	return []int{now, before}
}
