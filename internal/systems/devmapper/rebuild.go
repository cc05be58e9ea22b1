package devmapper

import (
	"context"
	"fmt"

	"fettle/internal/store"
	"fettle/internal/store/wholefile"
)

// wholeAddr is how the address of a whole bolt file begins; what follows says what is done to it.
const (
	wholeAddr   = "file:"
	wholeAnew   = wholeAddr + "anew"   // written anew from what can be read and proven
	wholeMended = wholeAddr + "mended" // its damaged meta page written again
	wholeText   = `{"how":"%s"}`       // the record afterwards
)

// fileChanges are the changes of whole bolt files.
func (p *planner) fileChanges(ctx context.Context) ([]store.Change, error) {
	var out []store.Change
	for _, path := range []string{p.u.meta, p.u.store, p.u.pool} {
		t := p.target(path)
		addr, note := "", ""
		switch {
		case path == "":
			continue
		case p.rebuild[t]:
			addr, note = wholeAnew, "write "+t+" anew"
		case p.mend[t]:
			addr, note = wholeMended, "write the damaged meta page of "+t+" again"
		default:
			continue
		}
		rec, err := wholefile.Describe(path)
		if err != nil {
			return nil, err
		}
		out = append(out, store.Change{Target: t, Addr: addr, Before: rec.Bytes(), After: store.Bytes(fmt.Sprintf(wholeText, addr[len(wholeAddr):])), Note: note})
	}
	return out, nil
}

// lowerRebuild makes a new file beside the old one.
func (w *writer) lowerRebuild(ctx context.Context, target string, c store.Change) ([]store.Change, error) {
	return nil, fmt.Errorf("%s: not yet", target)
}
