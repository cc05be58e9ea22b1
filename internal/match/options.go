package match

import (
	"fmt"
	"math/bits"
	"runtime"
)

const (
	// DefaultMemory is the budget when Options.Memory is 0.
	DefaultMemory = 256 << 20
	// MinMemory is the smallest budget; smaller ones are raised to it.
	MinMemory = 1 << 20
	// MaxPartitions bounds Options.Partitions: each may hold a file open.
	MaxPartitions = 4096

	defaultPartitions = 256
	minBlock          = 1 << 10
	// entryCost is the sorting space per claim of a partition: two references
	// and a counter (see leaf).
	entryCost = 2*entrySize + 4
	// decodedSize is the memory one decoded claim of a group takes besides the
	// bytes it points to.
	decodedSize = 80
	// maxArena keeps offsets into a loaded partition within 32 bits.
	maxArena = 1 << 31
)

// Options of a Matcher.
type Options struct {
	// Dir is where spill files go. It is made when the first one is needed, and
	// removed by Close if it was made. "" means a new directory under os.TempDir;
	// then an interrupted run cannot be resumed.
	Dir string
	// Memory is the budget in bytes for everything the Matcher holds; 0 means
	// DefaultMemory.
	Memory int64
	// Partitions is a power of two, at most MaxPartitions; 0 chooses one that
	// suits the budget (256, fewer when it is small).
	Partitions int
	// Seed of the hash. It decides the order of groups. Runs that are to number
	// their findings alike use the same seed; 0 is as good as any.
	Seed uint64
	// Writers is how many writers may be open at the same time; 0 means twice
	// GOMAXPROCS. More writers mean smaller blocks.
	Writers int
}

// plan is how a budget is divided.
type plan struct {
	addLimit   int64 // bytes of blocks
	groupLimit int64 // bytes for all workers of Groups
	huge       int64 // a group whose claims take more than this when decoded is Huge
	partitions int
	writers    int // open at the same time
	block      int // bytes of a pooled block, header included
}

// divide checks o and divides its budget.
func (o Options) divide() (plan, error) {
	memory := o.Memory
	if memory == 0 {
		memory = DefaultMemory
	}
	if memory < 0 {
		return plan{}, fmt.Errorf("match: memory of %d bytes is negative", memory)
	}
	memory = max(memory, MinMemory)
	writers := int64(o.Writers)
	if writers <= 0 {
		writers = int64(2 * runtime.GOMAXPROCS(0))
	}
	p := plan{addLimit: memory / 8 * 3, partitions: o.Partitions, writers: int(writers)}
	p.groupLimit = memory - p.addLimit
	p.huge = max(memory/128, 128<<10)
	open := p.addLimit / 2 / writers // room for the open blocks of one writer
	if p.partitions == 0 {
		p.partitions = min(defaultPartitions, max(8, floorPower(open/(4<<10))))
	}
	if err := checkPartitions(p.partitions); err != nil {
		return plan{}, err
	}
	if need := writers * int64(p.partitions) * minBlock; need > p.addLimit {
		return plan{}, fmt.Errorf("match: %d writers with %d partitions need at least %d bytes of memory, not %d (hint: raise the budget, or lower either number)", writers, p.partitions, need/3*8+8, memory)
	}
	p.block = min(maxPooled, max(minBlock, floorPower(open/int64(p.partitions))))
	return p, nil
}

func checkPartitions(n int) error {
	if n < 1 || n > MaxPartitions || n&(n-1) != 0 {
		return fmt.Errorf("match: %d partitions: must be a power of two from 1 to %d", n, MaxPartitions)
	}
	return nil
}

// floorPower is the largest power of two that is at most n, and 1 for n < 1.
func floorPower(n int64) int {
	if n < 1 {
		return 1
	}
	return 1 << (bits.Len64(uint64(n)) - 1)
}

// share is what one worker of Groups may use.
type share struct {
	workers int
	arena   int64 // bytes of a loaded spill file
	claims  int64 // claims of a partition
}

// shareOut divides the group budget among at most the wanted number of workers,
// fewer when each would get too little to be of use.
func (p plan) shareOut(workers int) share {
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	most := int(p.groupLimit / (4 * p.huge))
	workers = min(workers, max(most, 1), p.partitions)
	each := p.groupLimit/int64(workers) - p.huge - windowSize
	return share{workers: workers, arena: min(each/2, maxArena), claims: each / 2 / entryCost}
}

// decodedWeight is what a group of n claims of so many encoded bytes takes when
// it is handed over as a slice.
func decodedWeight(n, bytes int64) int64 { return n*decodedSize + bytes }
