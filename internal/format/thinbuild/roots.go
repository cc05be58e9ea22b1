package thinbuild

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"fettle/internal/format/thinmeta"
)

// Sureness says how far a search can be trusted.
type Sureness string

// From best to worst.
const (
	Certain Sureness = "certain" // one pair of trees agrees on every device and its mapped blocks, or the damaged superblock names one that does
	Likely  Sureness = "likely"  // several pairs agree; the newest was taken
	Guess   Sureness = "guess"   // no pair agrees; the one that agrees on most devices was taken
)

// Roots is where the trees over devices were found without a superblock.
type Roots struct {
	Mapping, Details uint64 // blocks; Details is 0 when there is no tree of details
	Devices          int    // in the mapping tree
	Sure             Sureness
	Pairs            int    // pairs of trees with different content that agree in themselves
	Why              string // a sentence
}

// SuperblockError says that the superblock cannot be read and that facts are needed which only it holds. What the damaged block says is
// given for a person to judge: a wrong size of data blocks makes garbage of every device.
type SuperblockError struct {
	DataBlockSize uint32 // sectors
	DataBlocks    uint64
	Looks         bool // like a superblock: its magic number is right
}

func (e *SuperblockError) Error() string {
	text := "the superblock cannot be read; the data block size (in sectors) and the number of data blocks must be given, as the pool's table has them"
	if e.Looks {
		text += fmt.Sprintf("; the damaged superblock says %d sectors and %d blocks", e.DataBlockSize, e.DataBlocks)
	}
	return text
}

// rootCandidate is one tree over devices that a search has found.
type rootCandidate struct {
	block uint64
	tree  treeSum
}

// maxGuess is how many trees of each kind are compared with each other when no two agree.
const maxGuess = 32

// findRoots looks at every block for the mapping tree and the details tree: the newest two that agree with each other. super is what
// block 0 holds, right or wrong: it only decides between trees that were found. A pool without devices is not found; if there ever were
// any, the newest trees that have some are.
func findRoots(s *source, super thinmeta.Superblock) (*Roots, error) {
	sums, err := newSummer(s)
	if err != nil {
		return nil, err
	}
	mappings, details := sums.candidates(treeMapping), sums.candidates(treeDetails)
	if s.stop != nil {
		return nil, s.stop
	}
	if len(mappings) == 0 {
		return nil, errors.New("no tree that maps devices was found among the metadata blocks; this is no thin-pool metadata, or nothing of it is left")
	}
	c := &contest{distinct: map[uint64]bool{}}
	c.match(mappings, details, nil, super)
	if c.best != nil && c.best.named {
		return c.result(Certain, "its damaged block names trees that agree on every device and its mapped blocks"), nil
	}
	used, err := s.contestInUse(mappings, details, super)
	if err != nil {
		return nil, err
	}
	if used.best != nil {
		c = used
	}
	switch {
	case c.best == nil:
		return guessRoots(sums, super, mappings, details), s.stop
	case len(c.distinct) == 1:
		return c.result(Certain, "one mapping tree and one details tree were found that agree on every device and its mapped blocks"), nil
	}
	return c.result(Likely, fmt.Sprintf("%d pairs of trees were found that agree in themselves, left from different times; the newest was taken, as far as that can be told", len(c.distinct))), nil
}

// contestInUse compares the pairs that some space map has in use together.
func (s *source) contestInUse(mappings, details []rootCandidate, super thinmeta.Superblock) (*contest, error) {
	c := &contest{distinct: map[uint64]bool{}}
	states, err := findStates(s)
	if err != nil {
		return nil, err
	}
	tests := 0
	for i := range states {
		// Candidates are in the order of their blocks, so each bitmap is read once.
		m, d := s.inUse(&states[i], mappings), s.inUse(&states[i], details)
		c.match(m, d, &states[i], super)
		if tests += len(mappings) + len(details); tests > maxTests {
			break
		}
		if err := s.ctx.Err(); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// contest finds the best pair of trees.
type contest struct {
	best     *candidatePair
	distinct map[uint64]bool // contents of the pairs that agree
	pairs    int             // that were looked at
}

// Bounds of a contest, for metadata that was made to be slow. Real metadata has about one pair for each space map.
const (
	maxPairs = 1 << 22
	maxTests = 1 << 32
)

// match looks at the pairs that agree.
func (c *contest) match(mappings, details []rootCandidate, st *state, super thinmeta.Superblock) {
	bySum := map[[3]uint64][]rootCandidate{}
	for _, d := range details {
		bySum[d.tree.agreement()] = append(bySum[d.tree.agreement()], d)
	}
	for _, m := range mappings {
		for _, d := range bySum[m.tree.agreement()] {
			p := &candidatePair{m: m, d: d, state: st, named: m.block == super.MappingRoot && d.block == super.DetailsRoot}
			if len(c.distinct) < maxGuess*maxGuess {
				c.distinct[mix(m.tree.content, d.tree.content)] = true
			}
			if c.best == nil || p.compare(c.best) > 0 {
				c.best = p
			}
			if c.pairs++; c.pairs > maxPairs {
				return
			}
		}
	}
}

func (c *contest) result(sure Sureness, why string) *Roots {
	return &Roots{Mapping: c.best.m.block, Details: c.best.d.block, Devices: int(c.best.m.tree.devices), Sure: sure, Pairs: len(c.distinct), Why: why}
}

// candidatePair is two trees that agree.
type candidatePair struct {
	m, d  rootCandidate
	named bool   // by the damaged superblock
	state *state // a space map that has both in use; nil when none was asked
}

// compare says which pair is the better one: positive when p is.
func (p *candidatePair) compare(q *candidatePair) int {
	number := func(b bool) int {
		if b {
			return 1
		}
		return 0
	}
	return cmp.Or(
		cmp.Compare(number(p.named), number(q.named)),
		cmp.Compare(max(p.m.tree.newest, p.d.tree.newest), max(q.m.tree.newest, q.d.tree.newest)),
		p.state.compare(q.state),
		cmp.Compare(p.m.tree.devices, q.m.tree.devices),
		cmp.Compare(p.m.tree.mapped, q.m.tree.mapped),
		cmp.Compare(q.m.block, p.m.block),
	)
}

// guessRoots takes the two trees that agree on the most devices, and prefers those that the damaged superblock names.
func guessRoots(s *summer, super thinmeta.Superblock, mappings, details []rootCandidate) *Roots {
	at := func(block uint64) func(rootCandidate) bool {
		return func(c rootCandidate) bool { return c.block == block }
	}
	if i := slices.IndexFunc(mappings, at(super.MappingRoot)); i >= 0 && slices.ContainsFunc(details, at(super.DetailsRoot)) {
		return &Roots{Mapping: super.MappingRoot, Details: super.DetailsRoot, Devices: int(mappings[i].tree.devices), Sure: Likely,
			Why: "its damaged block names two trees that exist, though they do not agree on every device"}
	}
	newest := func(list []rootCandidate) []rootCandidate {
		slices.SortStableFunc(list, func(a, b rootCandidate) int {
			return cmp.Or(cmp.Compare(b.tree.newest, a.tree.newest), cmp.Compare(b.tree.devices, a.tree.devices))
		})
		return list[:min(len(list), maxGuess)]
	}
	mappings, details = newest(mappings), newest(details)
	of := make([]map[uint32]uint64, len(details))
	for i, d := range details {
		of[i] = s.devices(d.block, treeDetails)
	}
	best, most := &Roots{Mapping: mappings[0].block, Devices: int(mappings[0].tree.devices)}, 0
	for _, m := range mappings {
		have := s.devices(m.block, treeMapping)
		for j, d := range details {
			score := 0 // a device that both know counts 1, one that they agree on 2
			for id, mapped := range have {
				if claimed, ok := of[j][id]; ok && claimed == mapped {
					score += 2
				} else if ok {
					score++
				}
			}
			if score > most {
				most, best = score, &Roots{Mapping: m.block, Details: d.block, Devices: len(have)}
			}
		}
	}
	best.Sure = Guess
	best.Why = "no mapping tree and details tree were found that agree on every device; those that agree on most were taken"
	return best
}

// mix makes a well spread number of several, for sums that do not depend on the order of what is added.
func mix(values ...uint64) uint64 {
	var h uint64 = 0x9e3779b97f4a7c15
	for _, v := range values {
		h ^= v
		h *= 0xff51afd7ed558ccd
		h ^= h >> 32
		h *= 0xc4ceb9fe1a85ec53
		h ^= h >> 29
	}
	return h
}
