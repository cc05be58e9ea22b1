package lustre

import (
	"path/filepath"
	"testing"

	"fettle/internal/format/ext4"
)

// However many places are damaged, so many are told and remembered, each once.
func TestHarmIsBounded(t *testing.T) {
	file, err := openSpool(filepath.Join(t.TempDir(), damageFile), 0)
	if err != nil {
		t.Fatal(err)
	}
	s := &sweeper{unit: &unit{targets: []*target{{}}}, harmed: map[harm]int{}, damage: file}
	note := s.report(0)
	for range 2 {
		for ino := range uint32(maxHarm + 5000) {
			note(ext4.Problem{Kind: ext4.KindInode, Inode: ino + 1})
		}
	}
	if len(s.harmed) != maxHarm || s.state.Harms != maxHarm {
		t.Errorf("%d places are remembered and %d told, most are %d", len(s.harmed), s.state.Harms, maxHarm)
	}
	if err := file.close(); err != nil {
		t.Error(err)
	}
}
