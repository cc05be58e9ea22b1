package fluxlab

import (
	"errors"
	"fmt"

	"fettle/internal/format/treeobj"
)

// Options say what store Make makes. The zero value is a store of 100 jobs with today's schema.
type Options struct {
	Seed uint64 `json:"seed"`
	// Jobs is how many jobs were run. Objects is about how many rows the objects table is to have; it decides the number
	// of jobs when Jobs is 0.
	Jobs    int `json:"jobs,omitempty"`
	Objects int `json:"objects,omitempty"`
	// Hash is the content hash: "sha1" (default) or "sha256".
	Hash string `json:"hash,omitempty"`
	// Checkpoints is how many rows checkpt_v2 keeps: default 5, as in Flux.
	Checkpoints int `json:"checkpoints,omitempty"`
	// Legacy makes the schema of before Flux 0.77: table checkpt with one row, no epoch column.
	Legacy bool `json:"legacy,omitempty"`
	// NoEpoch leaves out the epoch column, which Flux 0.87 added.
	NoEpoch bool `json:"no_epoch,omitempty"`
	// PageSize of the database in bytes: default 4096, as in Flux.
	PageSize int `json:"page_size,omitempty"`
}

// Limits of Options.
const (
	maxJobs        = 4_000_000
	maxCheckpoints = 1000
)

// perJob is about how many objects one job leaves, superseded directories included; siteObjects is the rest of a large store.
const (
	perJob      = 46
	siteObjects = 4000
)

// fill puts in the defaults and refuses what makes no sense.
func (o *Options) fill() error {
	if o.Hash == "" {
		o.Hash = "sha1"
	}
	if _, err := treeobj.ParseAlg(o.Hash); err != nil {
		return fmt.Errorf("make store: %w", err)
	}
	if o.Jobs == 0 {
		o.Jobs = 100
		if o.Objects > 0 {
			o.Jobs = max(1, (o.Objects-min(siteObjects, o.Objects/10))/perJob)
		}
	}
	if o.Jobs < 1 || o.Jobs > maxJobs {
		return fmt.Errorf("make store: %d jobs; from 1 to %d can be made", o.Jobs, maxJobs)
	}
	if o.Checkpoints == 0 {
		o.Checkpoints = 5
	}
	if o.Checkpoints < 1 || o.Checkpoints > maxCheckpoints {
		return fmt.Errorf("make store: %d checkpoints; from 1 to %d can be made", o.Checkpoints, maxCheckpoints)
	}
	if o.Legacy && o.Checkpoints != 5 && o.Checkpoints != 1 {
		return errors.New("make store: the legacy schema holds one checkpoint")
	}
	if o.PageSize == 0 {
		o.PageSize = 4096
	}
	return nil
}

// scale is how large the parts of a store are that do not belong to jobs.
type scale struct {
	batch int // jobs that go through the job manager together
	deep  int // levels of the deepest directory
	wide  int // entries of the widest directory
	big   int // bytes of the largest value
	log   int // blobs of the long log
	drain int // drain and undrain events
}

func (o *Options) scale() scale {
	switch {
	case o.Jobs < 40:
		return scale{batch: 4, deep: 16, wide: 40, big: 60_000, log: 12, drain: 4}
	case o.Jobs < 400:
		return scale{batch: 8, deep: 40, wide: 300, big: 300_000, log: 60, drain: 12}
	case o.Jobs < 40_000:
		return scale{batch: 8, deep: 300, wide: 3000, big: 2_000_000, log: 300, drain: 60}
	}
	return scale{batch: 32, deep: 300, wide: 20_000, big: 2_000_000, log: 600, drain: 200}
}
