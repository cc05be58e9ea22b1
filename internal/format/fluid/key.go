package fluid

// JobKey is what a KVS path says about a job.
type JobKey struct {
	Groups []uint16 // groups of the id that the path holds: 1 to 4
	ID     ID       // the id if Complete, else the greatest id below this path
	// Complete: the path holds all of the id.
	Complete bool
	// Prefix is how many names come before the id: "job" is 1,
	// "lost+found", "job" is 2.
	Prefix int
	// Rest are the names behind the id, like "eventlog" or "guest", "output".
	Rest []string
}

// FromPath finds a job id in the names of a KVS path:
//
//	job.AAAA.BBBB.CCCC.DDDD...              job directory
//	lost+found.job.AAAA.BBBB.CCCC.DDDD...   moved there by flux fsck
//	job-lost+found.job.F58...               moved there by the job manager
//
// A path that stops inside the groups gives an incomplete JobKey with an upper
// bound. ok is false if the path holds no job id at all.
func FromPath(path []string) (k JobKey, ok bool) {
	switch {
	case len(path) > 1 && path[0] == "job":
		k.Prefix = 1
	case len(path) > 2 && path[0] == "lost+found" && path[1] == "job":
		k.Prefix = 2
	case len(path) > 2 && path[0] == "job-lost+found" && path[1] == "job":
		return fromF58(path)
	default:
		return JobKey{}, false
	}
	names := path[k.Prefix:]
	for len(k.Groups) < 4 && len(names) > 0 {
		g, good := Group(names[0])
		if !good {
			return JobKey{}, false
		}
		k.Groups = append(k.Groups, g)
		names = names[1:]
	}
	k.Complete = len(k.Groups) == 4
	k.ID = UpperBound(k.Groups...)
	k.Rest = names
	return k, true
}

func fromF58(path []string) (JobKey, bool) {
	id, err := ParseF58(path[2])
	if err != nil {
		return JobKey{}, false
	}
	return JobKey{
		Groups: []uint16{uint16(id >> 48), uint16(id >> 32), uint16(id >> 16), uint16(id)},
		ID:     id, Complete: true, Prefix: 2, Rest: path[3:],
	}, true
}

// Path is the KVS path of the job's directory: "job" and the four groups.
func (id ID) Path() []string {
	d := id.DotHex()
	return []string{"job", d[:4], d[5:9], d[10:14], d[15:]}
}
