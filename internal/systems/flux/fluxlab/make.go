package fluxlab

import (
	"context"
	"fmt"
	"math/rand/v2"

	"fettle/internal/format/sqliteedit"
	"fettle/internal/format/treeobj"
)

// Made says what Make made.
type Made struct {
	Path        string `json:"path"`
	Jobs        int    `json:"jobs"`
	Objects     int64  `json:"objects"`
	Commits     int64  `json:"commits"`
	Checkpoints int64  `json:"checkpoints"` // id of the newest row; 0 with the legacy schema
	Root        string `json:"root"`        // of the newest checkpoint
}

// maker is one store in the making.
type maker struct {
	opt   Options
	scale scale
	rnd   *rand.Rand
	now   clock
	db    *sqliteedit.DB
	b     *blobs
	tree  *tree
	root  treeobj.Ref

	checkpoints int64 // id of the newest row
	maxID       uint64
}

// The tables as content-sqlite creates them; SQLite keeps the text.
const (
	sqlObjects        = "CREATE TABLE objects(  hash BLOB PRIMARY KEY,  size INT,  object BLOB,  epoch INT DEFAULT 0)"
	sqlObjectsNoEpoch = "CREATE TABLE objects(  hash BLOB PRIMARY KEY,  size INT,  object BLOB)"
	sqlCheckpoints    = "CREATE TABLE checkpt_v2(  id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,  value TEXT)"
	sqlLegacy         = "CREATE TABLE checkpt(  key TEXT UNIQUE,  value TEXT)"
)

// Make writes a healthy store to path, which must not exist. Memory stays bounded whatever the number of jobs.
func Make(ctx context.Context, path string, opt Options) (Made, error) {
	if err := opt.fill(); err != nil {
		return Made{}, err
	}
	alg, err := treeobj.ParseAlg(opt.Hash)
	if err != nil {
		return Made{}, err
	}
	m := &maker{opt: opt, scale: opt.scale(), rnd: rand.New(rand.NewPCG(opt.Seed, 0x666c7578)), now: firstSecond * 10_000_000}
	err = sqliteedit.Build(ctx, path, sqliteedit.BuildOptions{PageSize: opt.PageSize, WAL: true}, func(db *sqliteedit.DB) error {
		m.db, m.b = db, newBlobs(ctx, db, alg, !opt.NoEpoch && !opt.Legacy)
		m.tree = newTree(m.b)
		if err := m.schema(); err != nil {
			return err
		}
		m.instance()
		return m.b.err
	})
	if err != nil {
		return Made{}, fmt.Errorf("make store: %w", err)
	}
	return Made{Path: path, Jobs: opt.Jobs, Objects: m.b.rows, Commits: m.tree.seq, Checkpoints: m.checkpoints, Root: m.root.String()}, nil
}

func (m *maker) schema() error {
	tables := []string{sqlObjects, sqlCheckpoints}
	if m.b.epoch < 0 {
		tables[0] = sqlObjectsNoEpoch
	}
	if m.opt.Legacy {
		tables[1] = sqlLegacy
	}
	for _, sql := range tables {
		if err := m.db.Exec(sql); err != nil {
			return err
		}
	}
	return nil
}

// instance plays the life of a Flux instance: a first session, and a second one that a clean shutdown ends. Checkpoints
// are spread over it; the last two name the same root, because a shutdown writes two.
func (m *maker) instance() {
	m.start()
	m.checkpoint(m.root)
	m.users()
	marks := m.opt.Checkpoints + 1
	batches := (m.opt.Jobs + m.scale.batch - 1) / m.scale.batch
	part := 0
	for i := range batches {
		if i == batches/2 && i > 0 {
			m.finish()
			m.log("admin.eventlog", "start", coreVersion)
			m.commit()
		}
		m.jobs(i, batches)
		for part < marks && part < (i+1)*marks/batches {
			m.drains(part, marks)
			m.services()
			m.checkpoint(m.root)
			part++
		}
		if m.b.err != nil {
			return
		}
	}
	m.finish()
	m.checkpoint(m.root)
	if m.opt.Checkpoints > 1 {
		m.checkpoint(m.root)
	}
}

// commit is a commit of the primary namespace.
func (m *maker) commit() { m.root = m.tree.commit() }
