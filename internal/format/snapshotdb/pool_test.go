package snapshotdb

import "testing"

func TestChangeDevice(t *testing.T) {
	d := &Device{ID: 7, Size: 512, Name: "p-snap-1", State: Faulty}
	const plain = `{"device_id":7,"size":512,"name":"p-snap-1","parent_name":"","state":13,"error":""}`
	for _, c := range []struct{ old, want string }{
		{`{"device_id":6,"size":512,"name":"p-snap-1","parent_name":"","state":4,"error":""}`, plain},
		{`{"device_id":6,"state":4,"z":[1, 2],"a":{"b":null}}`, plain[:len(plain)-1] + `,"a":{"b":null},"z":[1, 2]}`},
		{`not JSON`, plain},
		{`null`, plain},
	} {
		if got := string(ChangeDevice([]byte(c.old), d)); got != c.want {
			t.Errorf("%s became %s, not %s", c.old, got, c.want)
		}
	}
}
