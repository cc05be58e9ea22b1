package fluxlab

import (
	"encoding/base64"
	"fmt"
	"math"
	"strconv"

	"fettle/internal/format/fluid"
	"fettle/internal/format/treeobj"
)

// job is one job of the batch that is under way.
type job struct {
	id    uint64
	path  []string
	stop  int // the step after which it makes no progress; lastStep for a finished job
	fails bool
}

// lastStep is the last of the steps that a job goes through.
const lastStep = 6

// jobs runs batch i of n: its jobs go through the job manager together, one commit per step.
func (m *maker) jobs(i, n int) {
	count := m.scale.batch
	if i == n-1 {
		count = m.opt.Jobs - i*m.scale.batch
	}
	batch := make([]job, count)
	for k := range batch {
		j := &batch[k]
		j.id = m.newID(i, n, k)
		m.maxID = j.id
		j.path = append(keys("job"), keys(fluid.ID(j.id).DotHex())...)
		j.stop, j.fails = lastStep, m.rnd.IntN(12) == 0
		if i == n-1 && count > 2 {
			j.stop = []int{4, 2, lastStep, 3}[k%4] // some jobs are still running or waiting
		}
	}
	for step := 0; step <= lastStep; step++ {
		for k := range batch {
			if step <= batch[k].stop {
				m.step(&batch[k], step)
			}
		}
		m.commit()
	}
	// Nothing below this directory changes any more, and so it is with the one above it when its time is over.
	at := batch[0].path
	m.tree.freeze(at[:3])
	if i > 0 && i%fan(n) == fan(n)-1 {
		m.tree.freeze(at[:2])
	}
}

// fan is how many batches share one directory below "job", so that neither level grows large.
func fan(batches int) int { return max(1, int(math.Sqrt(float64(batches)))) }

// newID makes the id of job k of batch i (RFC 19): the top 16 bits of the time, the next 16, the last 8 with the
// generator, and the sequence number each become a level of directories.
func (m *maker) newID(i, n, k int) uint64 {
	high := uint64(i / fan(n))
	mid := uint64(5 + 7*(i%fan(n)))
	low := uint64(k/2) * 11 % 256
	return (high<<24|mid<<8|low)<<24 | uint64(k%2)
}

// key is a key of the job.
func (j *job) key(name ...string) []string { return append(j.path[:len(j.path):len(j.path)], name...) }

// event appends one event, as one blob, to the job's eventlog.
func (m *maker) event(j *job, name, context string) {
	m.now.tick(m.rnd, 3)
	m.tree.append(j.key("eventlog"), m.now.event(name, context))
}

// step does what the job manager and the execution system do together in one commit.
func (m *maker) step(j *job, step int) {
	switch step {
	case 0:
		spec := m.jobspec()
		m.tree.put(j.key("J"), m.signed(spec))
		m.tree.put(j.key("jobspec"), []byte(spec))
	case 1:
		m.event(j, "submit", fmt.Sprintf(`{"userid":%d,"urgency":16,"flags":0,"version":1}`, 1000+m.rnd.IntN(50)))
	case 2:
		m.event(j, "validate", "")
		m.event(j, "depend", "")
	case 3:
		m.event(j, "priority", fmt.Sprintf(`{"priority":%d}`, 16+m.rnd.IntN(3)))
	case 4:
		first := m.rnd.IntN(nodes)
		m.tree.put(j.key("R"), []byte(fmt.Sprintf(`{"version":1,"execution":{"R_lite":[{"rank":"%d","children":{"core":"0-3"}}],`+
			`"nodelist":["node%d"],"starttime":%s,"expiration":0.0}}`, first, first, m.now.append(nil))))
		m.event(j, "alloc", "")
		m.tree.set(j.key("guest"), symlink("job-"+strconv.FormatUint(j.id, 10), "."))
	case 5:
		m.event(j, "start", "")
		if j.fails {
			m.event(j, "exception", `{"type":"exec","severity":0,"note":"task exited with code 1","userid":0}`)
		}
		m.tree.set(j.key("guest"), reference("dirref", m.guest(j)))
		m.event(j, "finish", fmt.Sprintf(`{"status":%d}`, map[bool]int{true: 256}[j.fails]))
	case 6:
		m.event(j, "release", `{"ranks":"all","final":true}`)
		m.event(j, "free", "")
		m.event(j, "clean", "")
	}
}

// guest plays the private namespace of a job and returns its last root, which the job manager links into the primary
// namespace. The earlier versions stay in the store and nothing refers to them.
func (m *maker) guest(j *job) treeobj.Ref {
	ns := newTree(m.b)
	line := func(key, name, context string) {
		m.now.tick(m.rnd, 2)
		ns.append(keys(key), m.now.event(name, context))
	}
	line("exec.eventlog", "init", "")
	line("exec.eventlog", "starting", "")
	ns.commit()
	line("input", "header", `{"version":1,"encoding":{"stdin":"UTF-8"},"count":{"stdin":1},"options":{}}`)
	line("output", "header", `{"version":1,"encoding":{"stdout":"UTF-8","stderr":"UTF-8"},"count":{"stdout":1,"stderr":1},"options":{}}`)
	line("exec.eventlog", "shell.init", `{"service":"0-shell-`+fluid.ID(j.id).F58Plain()+`","leader-rank":0,"size":1}`)
	ns.commit()
	line("exec.eventlog", "shell.start", `{"taskmap":{"version":1,"map":[[0,1,1,1]]}}`)
	var out []byte
	for range 1 + m.rnd.IntN(12) {
		m.now.tick(m.rnd, 1)
		out = m.now.appendEvent(out, "data", fmt.Sprintf(`{"stream":"stdout","rank":"0","data":"%x\n"}`, m.rnd.Uint64()))
	}
	ns.append(keys("output"), out)
	ns.commit()
	line("exec.eventlog", "shell.task-exit", fmt.Sprintf(`{"localid":0,"rank":0,"state":"Exited","pid":%d,"wait_status":0,"signaled":0,"exitcode":0}`, 2000+m.rnd.IntN(30000)))
	ns.commit()
	m.now.tick(m.rnd, 2)
	end := m.now.event("shell-exit", `{"rank":0,"wait_status":0}`)
	end = m.now.appendEvent(end, "complete", `{"status":0}`)
	ns.append(keys("exec.eventlog"), m.now.appendEvent(end, "done", ""))
	return ns.commit()
}

// jobspec is a V1 jobspec; users submit the same one again and again, so a third of the jobs share theirs.
func (m *maker) jobspec() string {
	n := m.rnd.IntN(1 << 30)
	if m.rnd.IntN(3) == 0 {
		n = m.rnd.IntN(20)
	}
	return fmt.Sprintf(`{"resources":[{"type":"slot","count":1,"with":[{"type":"core","count":%d}],"label":"task"}],`+
		`"tasks":[{"command":["/usr/bin/solve","--input","case-%d.dat"],"slot":"task","count":{"per_slot":1}}],`+
		`"attributes":{"system":{"duration":3600,"cwd":"/home/alice","shell":{"options":{"rlimit":{"core":0}}},"job":{"name":"case-%d"}}},"version":1}`,
		1+n%4, n, n)
}

// signed is the jobspec as it was submitted, with the submitter's environment, in the form of flux-security's "none".
func (m *maker) signed(spec string) []byte {
	env := fmt.Sprintf(`{"environment":{"PATH":"/usr/bin:/bin","HOME":"/home/alice","SESSION":"%x"},`, m.rnd.Uint64())
	return []byte("dmVyc2lvbgBpMQB1c2VyaWQAaTAAbWVjaGFuaXNtAHNub25lAA==." +
		base64.StdEncoding.EncodeToString([]byte(env+spec[1:])) + ".none")
}
