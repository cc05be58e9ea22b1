package dmlab

import (
	_ "github.com/BurntSushi/toml"
	_ "github.com/containerd/containerd/v2/core/containers"
	_ "github.com/containerd/containerd/v2/core/images"
	_ "github.com/containerd/containerd/v2/core/leases"
	_ "github.com/containerd/containerd/v2/core/metadata"
	_ "github.com/containerd/containerd/v2/core/snapshots/storage"
	_ "github.com/containerd/containerd/v2/pkg/namespaces"
	_ "github.com/containerd/containerd/v2/plugins/content/local"
	_ "github.com/containerd/containerd/v2/plugins/snapshots/devmapper"
	_ "go.etcd.io/bbolt"
)
