package lustre

import (
	"testing"

	"fettle/internal/format/lustre"
)

// What the fast look approves of costs nothing more. A file with names on several targets may be in REMOTE_PARENT_DIR, and often is.
func TestFineRemote(t *testing.T) {
	far := func(s *scene) { // the last name is on MDT1, through an agent
		n := &s.names[len(s.names)-1]
		n.mdt, n.dir, n.ino = 1, 20, 300
		s.agents = append(s.agents, agent{mdt: 1, ino: 300, links: 1, typ: 8})
		s.inodes[place{1, 300}] = &tenant{known: true, agent: true, fid: fileF, mode: 0o100644, links: 1}
	}
	entry := listed{mdt: 0, at: 5000, ino: 100}
	for name, c := range map[string]struct {
		names  []string
		far    int // of the names
		remote []listed
		want   bool
	}{
		"here":                    {names: []string{"a"}, want: true},
		"here, with an entry":     {names: []string{"a"}, remote: []listed{entry}},
		"there":                   {names: []string{"a"}, far: 1, remote: []listed{entry}, want: true},
		"there, without an entry": {names: []string{"a"}, far: 1},
		"here and there":          {names: []string{"a", "b"}, far: 1, remote: []listed{entry}, want: true},
		"both, without an entry":  {names: []string{"a", "b"}, far: 1, want: true},
		"both, another inode":     {names: []string{"a", "b"}, far: 1, remote: []listed{{mdt: 0, at: 5000, ino: 101}}},
		"both, another target":    {names: []string{"a", "b"}, far: 1, remote: []listed{{mdt: 1, at: 5000, ino: 100}}},
		"both, two entries":       {names: []string{"a", "b"}, far: 1, remote: []listed{entry, entry}},
	} {
		s := sceneOf(uint16(len(c.names)), c.names...)
		if s.remote = c.remote; c.far > 0 {
			far(s)
		}
		if len(c.remote) > 0 {
			s.objects[0].incompat |= lustre.LMAIRemoteParent
		}
		shape := testShape(0, 1)
		got := s.fine(shape)
		if got != c.want {
			t.Errorf("%s: fine is %v, want %v", name, got, c.want)
		}
		for _, d := range judgeGroup(&s.about, shape) {
			if got {
				t.Errorf("%s: fine, but the judges say %s: %v", name, d.Class, d.Evidence)
			}
		}
	}
	if !lustre.InOI(fileF, 0) {
		t.Error("the scene's object is none of the object index: the test has lost its object")
	}
}
