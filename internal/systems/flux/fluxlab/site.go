package fluxlab

import (
	"fmt"
	"strconv"
	"strings"

	"fettle/internal/format/treeobj"
)

// keys splits a key at its dots.
func keys(key string) []string { return strings.Split(key, ".") }

const coreVersion = `{"version":1,"core_version":"0.88.0"}`

// start writes what rc1 writes into a new instance, one commit at a time.
func (m *maker) start() {
	m.tree.commit() // the empty root
	m.log("admin.eventlog", "start", coreVersion)
	m.commit()
	m.tree.put(keys("resource.R"), []byte(fmt.Sprintf(`{"version":1,"execution":{"R_lite":[{"rank":"0-%d","children":{"core":"0-63"}}],`+
		`"starttime":0.0,"expiration":0.0,"nodelist":["node[0-%d]"]}}`, nodes-1, nodes-1)))
	m.commit()
	m.log("resource.eventlog", "resource-define", `{"method":"configuration"}`)
	m.commit()
	m.tree.mkdir([]string{"job"})
	m.commit()
}

// nodes is the size of the made instance.
const nodes = 64

// log appends one event to a key of the primary namespace.
func (m *maker) log(key, name, context string) {
	m.now.tick(m.rnd, 40)
	m.tree.append(keys(key), m.now.event(name, context))
}

// users writes what users and services keep in the KVS beside jobs.
func (m *maker) users() {
	t, r := m.tree, m.rnd
	t.put(keys("greeting"), []byte("hello"))
	t.put(keys("longval"), prose(r, 400))
	t.put(keys("empty.value"), nil)
	t.mkdir(keys("empty.dir"))
	t.mkdir(keys("empty.nested.dir.deep"))
	t.put(keys("bin.small"), noise(r, 200))
	t.put(keys("bin.random"), noise(r, m.scale.big/4))
	t.put(keys("bin.zeros"), make([]byte, m.scale.big))
	m.commit()
	t.set(keys("links.rel"), symlink("", "greeting"))
	t.set(keys("links.todir"), symlink("", "deep.d"))
	t.set(keys("links.tons"), symlink("other", "a.b"))
	t.set(keys("links.dangling"), symlink("", "no.such.key"))
	shared := prose(r, 900)
	for _, k := range []string{"shared.one", "shared.two", "shared.sub.three"} {
		t.put(keys(k), shared)
	}
	t.put([]string{"odd", "key with spaces"}, prose(r, 100))
	t.put([]string{"odd", `a/b:c"d`}, []byte("slash, colon, quote"))
	t.put([]string{"odd", "é-ünïcode"}, prose(r, 120))
	m.commit()
	for i := range 40 {
		if i < 5 {
			t.append(keys("multi.five"), prose(r, 60+40*i))
		}
		t.append(keys("multi.forty"), prose(r, 30+20*i))
	}
	m.commit()
	m.deepAndWide()
}

func (m *maker) deepAndWide() {
	t, r := m.tree, m.rnd
	deep := []string{"deep"}
	for i := range m.scale.deep {
		deep = append(deep, "d")
		if i%10 == 9 {
			t.put(append(deep, "v"+strconv.Itoa(i)), prose(r, 70))
		}
	}
	t.put(append(deep, "bottom"), prose(r, 80))
	m.commit()
	for i := range m.scale.wide {
		name := fmt.Sprintf("k%05d", i)
		switch i % 8 {
		case 0:
			t.put([]string{"wide", name}, prose(r, 60+r.IntN(300)))
		case 1:
			t.set([]string{"wide", name}, symlink("", fmt.Sprintf("wide.k%05d", i-1)))
		default:
			t.put([]string{"wide", name}, prose(r, r.IntN(40)))
		}
	}
	m.commit()
	for range 2 { // these never change again and need not be held
		for _, k := range []string{"deep", "wide", "bin", "multi", "shared", "odd"} {
			t.freeze([]string{k})
		}
	}
}

// drains writes part i of n of the node events, and appends to the long log meanwhile.
func (m *maker) drains(i, n int) {
	for k := m.scale.drain * i / n; k < m.scale.drain*(i+1)/n; k++ {
		node := m.rnd.IntN(nodes)
		if k%3 == 2 {
			m.log("resource.eventlog", "undrain", fmt.Sprintf(`{"idset":"%d","nodelist":"node%d"}`, node, node))
		} else {
			m.log("resource.eventlog", "drain", fmt.Sprintf(`{"idset":"%d","nodelist":"node%d","reason":"check %d failed","overwrite":0}`, node, node, k))
		}
		m.commit()
	}
	for k := m.scale.log * i / n; k < m.scale.log*(i+1)/n; k++ {
		m.log("app.log", "line", fmt.Sprintf(`{"n":%d,"text":"%x"}`, k, m.rnd.Uint64()))
		m.commit()
	}
}

// services writes the checkpoints that the resource module and the job manager keep as keys.
func (m *maker) services() {
	m.now.tick(m.rnd, 20)
	drained := m.rnd.IntN(nodes)
	state := append([]byte(`{"timestamp":`), m.now.append(nil)...)
	state = append(state, `,"drain_state":{"`...)
	state = append(strconv.AppendInt(state, int64(drained), 10), `":{"timestamp":`...)
	state = m.now.append(state)
	state = append(state, fmt.Sprintf(`,"reason":"broken fan","nodelist":"node%d"}}}`, drained)...)
	m.tree.put(keys("checkpoint.resource"), state)
	m.tree.put(keys("checkpoint.job-manager"), []byte(fmt.Sprintf(
		`{"version":1,"max_jobid":%d,"queue":[{"enable":true,"start":true,"name":""}]}`, m.maxID)))
	m.commit()
}

// finish is the end of a clean session.
func (m *maker) finish() {
	m.services()
	m.log("admin.eventlog", "finish", coreVersion)
	m.commit()
}

// checkpoint makes root the newest checkpoint and drops the oldest ones.
func (m *maker) checkpoint(root treeobj.Ref) {
	if m.b.err != nil {
		return
	}
	m.now.tick(m.rnd, 20)
	value := fmt.Sprintf(`{"version":1,"rootref":"%s","sequence":%d,"timestamp":%s}`, root, m.tree.seq, m.now.append(nil))
	if m.opt.Legacy {
		m.b.err = m.db.Exec("INSERT OR REPLACE INTO checkpt (key,value) VALUES ('kvs-primary',?1)", value)
		return
	}
	if m.b.err = m.db.Exec("INSERT INTO checkpt_v2 (value) VALUES (?1)", value); m.b.err != nil {
		return
	}
	m.checkpoints++
	if m.b.epoch >= 0 {
		m.b.epoch = m.checkpoints
	}
	m.b.err = m.db.Exec("DELETE FROM checkpt_v2 WHERE id <= ?1", m.checkpoints-int64(m.opt.Checkpoints))
}
