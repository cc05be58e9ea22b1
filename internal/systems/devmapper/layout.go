package devmapper

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"fettle/internal/fault"
	"fettle/internal/format/boltfile"
	"fettle/internal/format/quietfile"
	"fettle/internal/format/snapshotdb"
	"fettle/internal/format/thinmeta"
)

// layout says where the four layers are. An empty path is a layer that is not there.
type layout struct {
	dir      string // what the user named, for the unit's id
	meta     string // meta.db
	store    string // metadata.db
	pool     string // <pool>.db
	thin     string // thin metadata, raw or XML
	thinXML  bool
	poolName string   // as configured, else as the file is called
	fsType   string   // of new file systems, as configured
	extra    []string // other pool databases, by path
	here     bool     // the place is that of this machine's own containerd, or was named together with its configuration
	live     bool     // the thin metadata is that of a pool that is active on this machine
}

// Usual places (containerd's defaults).
const (
	defaultRoot   = "/var/lib/containerd"
	defaultConfig = "/etc/containerd/config.toml"
	metaInRoot    = "io.containerd.metadata.v1.bolt/meta.db"
	pluginDir     = "io.containerd.snapshotter.v1.devmapper"
	metaName      = "meta.db"
	storeName     = "metadata.db"
)

// placesHint says what can be given.
const placesHint = "give containerd's root (/var/lib/containerd), a directory with copies of meta.db, metadata.db, POOL.db and thin.meta (or thin.xml), or these files with commas"

// errNoLayer says that there is nothing of the snapshotter at a place.
var errNoLayer = errors.New("no database of the devmapper snapshotter and no thin metadata here")

// findLayers works out where the layers are from what the user named: nothing, a containerd root, a directory with copies, or files.
func findLayers(paths []string, o options) (layout, error) {
	var l layout
	var err error
	switch {
	case len(paths) == 0:
		l, err = fromRoot("", o)
	case len(paths) == 1 && isDir(paths[0]):
		if isFile(filepath.Join(paths[0], metaInRoot)) {
			l, err = fromRoot(paths[0], o)
		} else {
			l, err = fromDir(paths[0], o)
		}
	default:
		l, err = fromFiles(paths)
	}
	if err != nil {
		return l, err
	}
	o.override(&l)
	if l.poolName == "" && l.pool != "" {
		l.poolName = strings.TrimSuffix(filepath.Base(l.pool), ".db")
	}
	if l.meta == "" && l.store == "" && l.pool == "" && l.thin == "" {
		return l, &fault.Error{Op: "open", Where: l.dir, Err: errNoLayer,
			Hint: placesHint}
	}
	return l, l.exchanged(o)
}

// exchanged refuses files that hold what another one ought to hold: judged as what they are called, every record would seem to be lost. What
// the user said a file is, it is. A meta.db is only known by what it lacks, and a damaged file may lack that, too.
func (l *layout) exchanged(o options) error {
	for _, f := range []struct {
		path, said string
		want       kind
	}{{l.meta, o.meta, kindMeta}, {l.store, o.store, kindStore}, {l.pool, o.poolDB, kindPool}} {
		if f.path == "" || f.said != "" {
			continue
		}
		if k := kindOfBolt(f.path); k != kindNone && k != kindMeta && k != f.want {
			return &fault.Error{Op: "open", Where: f.path, Err: fmt.Errorf("a %s is expected, but this holds a %s", f.want, k),
				Hint: "the files may have been exchanged when they were copied; --set meta=, store= or pool-db=FILE says which is which"}
		}
	}
	return nil
}

func isDir(p string) bool  { fi, err := os.Stat(p); return err == nil && fi.IsDir() }
func isFile(p string) bool { fi, err := os.Stat(p); return err == nil && !fi.IsDir() }

// ifThere is p if there is such a file, else "".
func ifThere(p string) string {
	if isFile(p) {
		return p
	}
	return ""
}

// fromRoot reads containerd's configuration for the pool's name and the snapshotter's directory.
func fromRoot(root string, o options) (layout, error) {
	c, err := readConfig(o.config, root)
	if err != nil {
		return layout{}, err
	}
	if root == "" {
		root = c.root
	}
	l := layout{dir: root, meta: ifThere(filepath.Join(root, metaInRoot)), poolName: c.poolName, fsType: c.fsType, here: c.here || o.pool != ""}
	if o.pool != "" {
		l.poolName = o.pool
	}
	dirs := []string{c.rootPath, filepath.Join(root, pluginDir), filepath.Join(root, "devmapper")}
	for _, dir := range dirs {
		if dir == "" || !isFile(filepath.Join(dir, storeName)) {
			continue
		}
		l.store = filepath.Join(dir, storeName)
		return l, l.findPool(dir)
	}
	for _, dir := range dirs { // metadata.db is gone; the pool's database may still be there
		if dir == "" {
			continue
		}
		if err := l.findPool(dir); err != nil || l.pool != "" {
			return l, err
		}
	}
	return l, nil
}

// fromDir looks for the files in one directory, as copies and fixtures have them.
func fromDir(dir string, o options) (layout, error) {
	l := layout{dir: dir, meta: ifThere(filepath.Join(dir, metaName)), store: ifThere(filepath.Join(dir, storeName)), poolName: o.pool}
	for _, name := range []string{"thin.meta", "thin.xml"} {
		if l.thin == "" {
			l.thin = ifThere(filepath.Join(dir, name))
			l.thinXML = l.thin != "" && name == "thin.xml"
		}
	}
	return l, l.findPool(dir)
}

// findPool looks for the pool databases in a directory: every *.db that is none of the two others.
func (l *layout) findPool(dir string) error {
	names, err := filepath.Glob(filepath.Join(escapeGlob(dir), "*.db"))
	if err != nil {
		return &fault.Error{Op: "look for the pool database", Where: dir, Err: err}
	}
	sort.Strings(names)
	var pools []string
	for _, p := range names {
		if b := filepath.Base(p); b != metaName && b != storeName && isFile(p) {
			pools = append(pools, p)
		}
	}
	if len(pools) == 0 {
		return nil
	}
	best := 0
	for i, p := range pools {
		if strings.TrimSuffix(filepath.Base(p), ".db") == l.poolName {
			best = i
			break
		}
		if l.poolName == "" && records(p) > records(pools[best]) {
			best = i
		}
	}
	l.pool = pools[best]
	l.extra = append(append([]string{}, pools[:best]...), pools[best+1:]...)
	return nil
}

// records counts the device records of a pool database, as far as they can be read.
func records(path string) int {
	f, err := boltfile.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	return len(snapshotdb.ReadPool(f).Devices)
}

// escapeGlob makes a path that Glob takes literally.
func escapeGlob(p string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(p)
}

// fromFiles sorts files by what they hold, or, when that cannot be told any more, by name.
func fromFiles(paths []string) (layout, error) {
	l := layout{dir: filepath.Dir(paths[0])}
	for _, p := range paths {
		fi, err := os.Stat(p)
		if err != nil {
			return l, fault.Opening(p, err, placesHint)
		}
		if fi.IsDir() {
			return l, fault.NewUsage(fmt.Errorf("%s is a directory, but several places were named", p), "name one directory, or only files")
		}
		k, err := kindOf(p)
		if err != nil {
			return l, err
		}
		at := map[kind]*string{kindMeta: &l.meta, kindStore: &l.store, kindPool: &l.pool, kindThin: &l.thin, kindXML: &l.thin}[k]
		if at == nil {
			return l, fault.NewUsage(fmt.Errorf("%s is no file of the devmapper snapshotter", p), "say what it is: --set meta=, store=, pool-db= or thin=FILE")
		}
		if *at != "" {
			return l, fault.NewUsage(fmt.Errorf("%s and %s are both a %s", *at, p, k), "say which is which: --set meta=, store=, pool-db= or thin=FILE")
		}
		*at = p
		l.thinXML = l.thinXML || k == kindXML
	}
	return l, nil
}

// kind is what a file is.
type kind string

const (
	kindNone  kind = ""
	kindMeta  kind = "meta.db"
	kindStore kind = "metadata.db"
	kindPool  kind = "pool database"
	kindThin  kind = "thin metadata"
	kindXML   kind = "thin metadata in XML"
)

// kindOf tells what a file is by its content, or by its name when the content is past telling.
func kindOf(path string) (kind, error) {
	head := make([]byte, thinmeta.BlockSize)
	f, _, err := quietfile.Open(path, 0)
	if err != nil {
		return kindNone, fault.Opening(path, err, placesHint)
	}
	n, err := io.ReadFull(f, head)
	f.Close()
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return kindNone, &fault.Error{Op: "read", Where: path, Err: err}
	}
	head = head[:n]
	switch {
	case n == thinmeta.BlockSize && thinmeta.DecodeSuperblock(head).Magic == thinmeta.Magic:
		return kindThin, nil
	case bytes.HasPrefix(bytes.TrimLeft(head, " \t\r\n"), []byte("<superblock")):
		return kindXML, nil
	}
	if k := kindOfBolt(path); k != kindNone {
		return k, nil
	}
	switch base := filepath.Base(path); {
	case base == metaName:
		return kindMeta, nil
	case base == storeName:
		return kindStore, nil
	case strings.HasSuffix(base, ".xml"):
		return kindXML, nil
	case strings.HasSuffix(base, ".db"):
		return kindPool, nil
	case strings.HasPrefix(base, "thin"):
		return kindThin, nil
	}
	return kindNone, nil
}

// kindOfBolt looks at the top buckets of a bolt file.
func kindOfBolt(path string) kind {
	f, err := boltfile.Open(path)
	if err != nil {
		return kindNone
	}
	defer f.Close()
	if _, ok := f.Current(); !ok {
		return kindNone
	}
	has := func(b *boltfile.Bucket, name string) (*boltfile.Bucket, bool) {
		sub, ok, err := b.Bucket([]byte(name))
		return sub, ok && err == nil
	}
	if _, ok := has(f.Root(), snapshotdb.BucketDevices); ok {
		return kindPool
	}
	if _, ok := has(f.Root(), snapshotdb.BucketDeviceIDs); ok {
		return kindPool
	}
	v1, ok := has(f.Root(), "v1")
	if !ok {
		return kindNone
	}
	if _, ok := has(v1, "snapshots"); ok {
		return kindStore
	}
	return kindMeta
}
