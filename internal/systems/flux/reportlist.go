package flux

import "context"

// listItem is one thing to do on the way through a directory: name a damaged key, or go down.
type listItem struct {
	claims *keyClaims // its paths are filled in when it is its turn
	child  int
	name   string // relative to the directory
}

// listFrame is a directory whose items are being gone through.
type listFrame struct {
	items []listItem
	path  int  // how much of the common path is this directory's
	under *int // the finding about a directory above that can only be read because it could be mended

	mended     *int // the finding about the entry mendedName, a directory that could be mended
	mendedName string
}

// list goes through the tainted directories below root in the order of their entries. There is one buffer for the path:
// a path of its own for every directory would take the square of the depth.
func (r *reporter) list(ctx context.Context, root chosenRoot, n int) error {
	var buf []byte
	stack := []listFrame{{items: []listItem{{child: n}}, under: r.rootMend}}
	for len(stack) > 0 {
		top := &stack[len(stack)-1]
		if len(top.items) == 0 {
			stack[len(stack)-1] = listFrame{}
			stack = stack[:len(stack)-1]
			continue
		}
		it := top.items[0]
		top.items = top.items[1:]
		dir := buf[:top.path]
		buf = appendKey(dir, it.name)
		if it.claims != nil {
			if !r.roomFor(len(buf)) {
				continue
			}
			it.claims.DirPath, it.claims.Path = string(dir), string(buf)
			var err error
			if top.mended, err = r.key(ctx, it.claims, top.under); err != nil {
				return err
			}
			top.mendedName = it.name
			continue
		}
		if r.listed.has(it.child) {
			cost := 1 + len(buf)/pathPrice
			if r.extra < cost {
				r.omitted++
				continue
			}
			r.extra -= cost
		}
		r.listed.set(it.child)
		if err := r.env.Did(ctx, 1, 0); err != nil {
			return err
		}
		items, err := r.directory(root, it.child, buf)
		if err != nil {
			return err
		}
		under := top.under
		if top.mended != nil && top.mendedName == it.name {
			under = top.mended
		}
		stack = append(stack, listFrame{items: items, path: len(buf), under: under})
	}
	return nil
}

const (
	// pathPrice is for how many bytes of path a directory that is listed again counts as one more.
	pathPrice = 256
	// longPath is the length in bytes from which on a path is charged to maxLongPaths, which is far more than any use of
	// a KVS needs: it bounds the findings about damage in every level of a very deep tree, whose paths together are as
	// long as the square of the depth.
	longPath     = 1024
	maxLongPaths = 64 << 20
)

// roomFor tells whether a finding with a path of n bytes may still be made, and counts it as left out if not.
func (r *reporter) roomFor(n int) bool {
	if n < longPath {
		return true
	}
	// The first finding is made however long its path is: damage is never passed over in silence.
	if r.longPaths > 0 && r.longPaths+int64(n) > maxLongPaths {
		r.omitted++
		return false
	}
	r.longPaths += int64(n)
	return true
}

func appendKey(dir []byte, name string) []byte {
	if len(dir) > 0 {
		dir = append(dir, '.')
	}
	return append(dir, name...)
}
