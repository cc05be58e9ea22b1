package snapshotdb

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"fettle/internal/format/boltfile"
)

// Snapshotter is the name under which containerd knows the devmapper snapshotter.
const Snapshotter = "devmapper"

// Entry is containerd's entry for a snapshot: v1/NAMESPACE/snapshots/SNAPSHOTTER/KEY in meta.db.
type Entry struct {
	Namespace string
	Key       string   // the user's key
	Name      string   // backend key: the key in metadata.db
	Parent    string   // user's key of the parent, "" for a base
	Children  []string // keys of the bucket children
	Created   time.Time
	Labels    map[string]string // nil when there are none
	Err       error             // something that must be there is not, or cannot be decoded
}

// Container is an entry of v1/NAMESPACE/containers that runs on a devmapper snapshot.
type Container struct {
	Namespace, ID, Image, SnapshotKey string
	// Snapshotter is the one that the container names. It can be another one than was asked for when meta.db has nothing of that one,
	// but a snapshot of the container's key of the one that was asked for.
	Snapshotter string
	Err         error // a value cannot be decoded
}

// Lease is an entry of v1/NAMESPACE/leases, with the devmapper snapshots that it holds.
type Lease struct {
	Namespace, ID string
	Snapshots     []string
	Err           error // a value cannot be decoded
}

// Image is an entry of v1/NAMESPACE/images.
type Image struct {
	Namespace, Name, Digest string
	Err                     error // a value cannot be decoded
}

// Content is a blob whose labels refer to devmapper snapshots or to other blobs.
type Content struct {
	Namespace, Digest string
	Snapshots         []string // keys
	Blobs             []string // digests
}

// Meta is what meta.db says about devmapper snapshots and their users.
type Meta struct {
	Snapshotter string // whose snapshots these are
	Entries     []Entry
	Containers  []Container
	Leases      []Lease
	Images      []Image
	Contents    []Content
	Missing     []string
	Damage      error
}

// ReadMeta reads what concerns the named snapshotter. Memory grows with the number of snapshots, containers, images and labelled blobs,
// not with the size of container specs.
func ReadMeta(f *boltfile.File, snapshotter string) *Meta {
	m := &Meta{Snapshotter: snapshotter}
	var damage []error
	root := f.Root()
	each(root, []string{"v1"}, &m.Missing, &damage, func(key, value []byte, ns *boltfile.Bucket) {
		if ns == nil {
			return // the version
		}
		r := namespaceReader{m: m, bucket: ns, name: string(key), snapshotter: snapshotter, damage: &damage}
		r.snapshots()
		r.containers()
		r.leases()
		r.images()
		r.contents()
	})
	m.Damage = errors.Join(damage...)
	return m
}

type namespaceReader struct {
	m           *Meta
	bucket      *boltfile.Bucket
	name        string
	snapshotter string
	damage      *[]error
}

// buckets visits the buckets in the bucket at path.
func (r *namespaceReader) buckets(path []string, fn func(key string, b *boltfile.Bucket)) {
	before := len(*r.damage)
	each(r.bucket, path, nil, r.damage, func(key, _ []byte, sub *boltfile.Bucket) {
		if sub != nil {
			fn(string(key), sub)
		}
	})
	for i := before; i < len(*r.damage); i++ {
		(*r.damage)[i] = fmt.Errorf("namespace %s: %w", r.name, (*r.damage)[i])
	}
}

// text reads a value of b, "" if it is not there.
func (r *namespaceReader) text(b *boltfile.Bucket, key string) string {
	v, _, err := b.Get([]byte(key))
	if err != nil {
		*r.damage = append(*r.damage, fmt.Errorf("namespace %s: %s: %w", r.name, key, err))
	}
	return string(v)
}

func (r *namespaceReader) snapshots() {
	path := []string{"snapshots", r.snapshotter}
	each(r.bucket, path, nil, r.damage, func(key, _ []byte, sub *boltfile.Bucket) {
		r.m.Entries = append(r.m.Entries, DecodeEntry(r.name, key, sub))
	})
}

// DecodeEntry decodes containerd's bucket for a snapshot; sub is nil if there is none.
func DecodeEntry(namespace string, key []byte, sub *boltfile.Bucket) Entry {
	e := Entry{Namespace: namespace, Key: string(key)}
	if sub == nil {
		e.Err = errors.New("a value stands where a snapshot's bucket should be")
	} else {
		decodeEntry(&e, sub)
	}
	return e
}

func decodeEntry(e *Entry, b *boltfile.Bucket) {
	var bad []error
	err := b.Each(func(key, value []byte, sub *boltfile.Bucket) error {
		switch string(key) {
		case "name":
			e.Name = string(value)
		case "parent":
			e.Parent = string(value)
		case "createdat", "updatedat":
			if err := stamp(string(key), value, &e.Created); err != nil {
				bad = append(bad, err)
			}
		case "children":
			if sub == nil {
				bad = append(bad, errors.New("a value stands where the bucket children should be"))
			} else {
				err := sub.Each(func(k, _ []byte, _ *boltfile.Bucket) error {
					e.Children = append(e.Children, string(k))
					return nil
				})
				if err != nil {
					bad = append(bad, err)
				}
			}
		case "labels":
			if sub != nil {
				err := sub.Each(func(k, v []byte, _ *boltfile.Bucket) error {
					if e.Labels == nil {
						e.Labels = map[string]string{}
					}
					e.Labels[string(k)] = string(v)
					return nil
				})
				if err != nil {
					bad = append(bad, err)
				}
			}
		}
		return nil
	})
	if err != nil {
		bad = append(bad, err)
	}
	if e.Name == "" {
		bad = append(bad, fmt.Errorf("name %w", errAbsent))
	}
	e.Err = errors.Join(bad...)
}

// stamp decodes createdat into created, and makes sure that updatedat can be decoded: containerd refuses a record if not.
func stamp(field string, value []byte, created *time.Time) error {
	var t time.Time
	if err := t.UnmarshalBinary(value); err != nil {
		return fmt.Errorf("%s %w", field, err)
	}
	if field == "createdat" {
		*created = t
	}
	return nil
}

// stamps says which times of a record cannot be decoded. Those that are not there do not matter to containerd.
func (r *namespaceReader) stamps(b *boltfile.Bucket) error {
	var bad []error
	for _, field := range []string{"createdat", "updatedat"} {
		v, ok, err := b.Get([]byte(field))
		if err == nil && ok {
			err = stamp(field, v, new(time.Time))
		}
		bad = append(bad, err)
	}
	return errors.Join(bad...)
}

func (r *namespaceReader) containers() {
	r.buckets([]string{"containers"}, func(id string, b *boltfile.Bucket) {
		c := Container{Namespace: r.name, ID: id, Snapshotter: r.text(b, "snapshotter"), SnapshotKey: r.text(b, "snapshotKey")}
		if c.Snapshotter != r.snapshotter && !r.misnamed(&c) {
			return
		}
		c.Image, c.Err = r.text(b, "image"), r.stamps(b)
		r.m.Containers = append(r.m.Containers, c)
	})
}

// misnamed tells whether a container names a snapshotter that there is none of, while ours has a snapshot of its key.
func (r *namespaceReader) misnamed(c *Container) bool {
	all, ok, err := r.bucket.Bucket([]byte("snapshots"))
	if err != nil || !ok || c.SnapshotKey == "" {
		return false
	}
	if _, there, err := all.Bucket([]byte(c.Snapshotter)); c.Snapshotter != "" && (there || err != nil) {
		return false
	}
	ours, ok, err := all.Bucket([]byte(r.snapshotter))
	if err != nil || !ok {
		return false
	}
	_, ok, err = ours.Bucket([]byte(c.SnapshotKey))
	return ok && err == nil
}

func (r *namespaceReader) leases() {
	r.buckets([]string{"leases"}, func(id string, b *boltfile.Bucket) {
		l := Lease{Namespace: r.name, ID: id, Err: r.stamps(b)}
		each(b, []string{"snapshots", r.snapshotter}, nil, r.damage, func(key, _ []byte, _ *boltfile.Bucket) {
			l.Snapshots = append(l.Snapshots, string(key))
		})
		r.m.Leases = append(r.m.Leases, l)
	})
}

func (r *namespaceReader) images() {
	r.buckets([]string{"images"}, func(name string, b *boltfile.Bucket) {
		img := Image{Namespace: r.name, Name: name, Err: r.stamps(b)}
		target, ok, err := b.Bucket([]byte("target"))
		if err != nil {
			*r.damage = append(*r.damage, fmt.Errorf("image %s: %w", name, err))
		}
		if ok {
			img.Digest = r.text(target, "digest")
		}
		r.m.Images = append(r.m.Images, img)
	})
}

// Labels of content that the garbage collector follows (core/metadata/gc.go).
const (
	labelSnapshotRef = "containerd.io/gc.ref.snapshot."
	labelContentRef  = "containerd.io/gc.ref.content"
)

func (r *namespaceReader) contents() {
	r.buckets([]string{"content", "blob"}, func(digest string, b *boltfile.Bucket) {
		c := Content{Namespace: r.name, Digest: digest}
		each(b, []string{"labels"}, nil, r.damage, func(key, value []byte, _ *boltfile.Bucket) {
			name := string(key)
			if rest, ok := strings.CutPrefix(name, labelSnapshotRef); ok {
				if s, _, _ := strings.Cut(rest, "/"); s == r.snapshotter {
					c.Snapshots = append(c.Snapshots, string(value))
				}
			} else if strings.HasPrefix(name, labelContentRef) {
				c.Blobs = append(c.Blobs, string(value))
			}
		})
		if len(c.Snapshots) > 0 || len(c.Blobs) > 0 {
			r.m.Contents = append(r.m.Contents, c)
		}
	})
}
