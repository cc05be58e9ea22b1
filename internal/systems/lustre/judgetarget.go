package lustre

import (
	"fmt"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
	"fettle/internal/systems/lustre/mdtrecord"
)

// remoteFlag compares the mark REMOTE_PARENT in the LMA with REMOTE_PARENT_DIR. An entry that is itself wrong was told before.
func (j *judge) remoteFlag(o *object) {
	for i := range j.found {
		if c := j.found[i].Class; c == RemoteMissing || c == RemoteStale {
			return
		}
	}
	marked, entered := o.incompat&lustre.LMAIRemoteParent != 0, false
	for _, r := range j.remote {
		entered = entered || r.mdt == o.mdt && r.ino == o.ino
	}
	if marked == entered || o.has(objNoLMA) || !j.s.complete() && !entered {
		return
	}
	have, want, listed := "no mark REMOTE_PARENT", "the mark REMOTE_PARENT", "has an entry for it"
	if marked {
		have, want, listed = want, have, "has no entry for it"
	}
	d := j.add(RemoteFlag, says(j.s.inodeText(o.mdt, o.ino)+", LMA", "has %s", have), says(fmt.Sprintf("REMOTE_PARENT_DIR of MDT%04x", j.s.indexes[o.mdt]), "%s", listed), j.nameSays(0))
	d.on(j, o).at(j, 0).values(have, want)
	d.Title = "the LMA has " + have + ", and REMOTE_PARENT_DIR " + listed
	d.causes(keyMissed(j.fid))
}

// markedAgent is what a wrong LMA has; the finding comes before all others of the object.
const markedAgent = "the mark AGENT"

// agentMark reports an object that its LMA calls an agent.
func (j *judge) agentMark(o *object) {
	if o.incompat&lustre.LMAIAgent == 0 || o.has(objNoLMA) {
		return
	}
	d := j.add(RemoteFlag, says(j.s.inodeText(o.mdt, o.ino)+", LMA", "has %s", markedAgent), j.objectSays(o), j.linkSays(o),
		says("FLD", "%v belongs to MDT%04x itself: nothing there can stand for it", j.fid, j.s.indexes[o.mdt]))
	d.Evidence = append(d.Evidence, j.indexSays()...)
	d.on(j, o).values(markedAgent, "no mark AGENT")
	if len(j.names) > 0 {
		d.Evidence = append(d.Evidence, j.nameSays(0))
		d.at(j, 0)
	}
	d.Title = "the LMA of the object says that it is an agent"
}

// agentTypes compares the agents behind the object's names with it.
func (j *judge) agentTypes(o *object) {
	for i := range j.names {
		n := &j.names[i]
		g := j.agentAt(n.mdt, n.ino)
		if n.mdt == o.mdt || g == nil || g.typ == uint8(o.mode>>12) {
			continue
		}
		have, want := ext4.TypeName(ext4.DirentTypeOf(uint16(g.typ)<<12)), ext4.TypeName(ext4.DirentTypeOf(o.mode))
		d := j.add(AgentType, says(j.s.inodeText(g.mdt, g.ino), "is an agent for %v, as a %s", j.fid, have), j.objectSays(o), j.nameSays(i))
		d.on(j, o).at(j, i).values(have, want)
		d.Rests = append(d.Rests, record{MDT: j.s.indexes[n.mdt], Inode: n.ino})
		d.Title = fmt.Sprintf("the agent of the %s is a %s", want, have)
	}
}

// astray reports an object on a target that does not own its FID.
func (j *judge) astray(o *object) {
	if !j.about.astray(o, j.s) {
		return
	}
	home, _ := j.s.home(j.fid)
	d := j.add(WrongMDT, j.objectSays(o), says("FLD", "%v belongs to MDT%04x", j.fid, j.s.indexes[home]), j.nameSays(0)).on(j, o).at(j, 0)
	d.values(fmt.Sprintf("on MDT%04x", j.s.indexes[o.mdt]), fmt.Sprintf("on MDT%04x", j.s.indexes[home]))
	d.Detail.Entries, d.Detail.Links = j.allEntries(), mdtrecord.Links(j.links(o))
	d.Title = fmt.Sprintf("the object is on MDT%04x, and its FID belongs to MDT%04x", j.s.indexes[o.mdt], j.s.indexes[home])
	d.provides(keyObject(j.fid))
}
