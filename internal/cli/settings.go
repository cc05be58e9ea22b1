package cli

import (
	"strings"

	"github.com/spf13/pflag"
)

// settings are the flags that become settings of the system (store.Options.Settings).
type settings struct {
	set        []string
	checkpoint string
	scan       bool
}

func (s *settings) add(p *pflag.FlagSet) {
	p.StringArrayVar(&s.set, "set", nil, "a setting of the system, `KEY=VALUE` (repeatable)")
	p.StringVar(&s.checkpoint, "checkpoint", "", "flux: start from the checkpoint `ID`, sequence number or rootref instead of the newest")
	p.BoolVar(&s.scan, "scan-checkpoints", false, "flux: check the trees of all checkpoints")
}

// values gives the settings by name.
func (s *settings) values() (map[string]string, error) {
	out := map[string]string{}
	for _, kv := range s.set {
		k, v, ok := strings.Cut(kv, "=")
		if !ok || k == "" {
			return nil, usagef("for example --set checkpoint=7", "--set %q is not KEY=VALUE", kv)
		}
		out[k] = v
	}
	if s.checkpoint != "" {
		out["checkpoint"] = s.checkpoint
	}
	if s.scan {
		out["scan-checkpoints"] = "true"
	}
	return out, nil
}
