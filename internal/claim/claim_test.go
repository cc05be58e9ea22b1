package claim

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// drawClaim makes claims whose values cluster around the width boundaries.
func drawClaim(t *rapid.T) Claim {
	bits := func(max int, name string) uint64 {
		n := rapid.IntRange(0, max).Draw(t, name+" bits")
		if n == 0 {
			return 0
		}
		return rapid.Uint64().Draw(t, name) >> (64 - n)
	}
	c := Claim{
		Subject: rapid.SliceOfN(rapid.Byte(), 0, MaxSubject).Draw(t, "subject"),
		Kind:    Kind(rapid.Byte().Draw(t, "kind")),
		Witness: Witness{Target: uint32(bits(32, "target")), At: bits(64, "at"), Sub: bits(64, "sub")},
	}
	n := rapid.SampledFrom([]int{0, 1, 8, 255, 256, 300, 65535, MaxSays}).Draw(t, "length")
	c.Says = bytes.Repeat([]byte{rapid.Byte().Draw(t, "says")}, n)
	return c
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawClaim(t)
		enc, err := c.AppendTo([]byte("before"))
		if err != nil {
			t.Fatal(err)
		}
		enc = enc[len("before"):]
		if len(enc) != c.EncodedLen() || len(enc) > MaxEncoded {
			t.Fatalf("%d bytes, EncodedLen says %d, MaxEncoded %d", len(enc), c.EncodedLen(), MaxEncoded)
		}
		got, rest, err := Decode(append(bytes.Clone(enc), "after"...))
		if err != nil || string(rest) != "after" {
			t.Fatalf("rest %q, error %v", rest, err)
		}
		if Compare(&c, &got) != 0 {
			t.Fatalf("got %+v, want %+v", got, c)
		}
		cut := rapid.IntRange(0, len(enc)-1).Draw(t, "cut")
		if _, rest, err := Decode(enc[:cut]); !errors.Is(err, ErrMalformed) || len(rest) != cut {
			t.Fatalf("cut to %d of %d: rest %d, error %v", cut, len(enc), len(rest), err)
		}
	})
}

func TestBoundaries(t *testing.T) {
	for _, target := range []uint32{0, 1, 255, 256, 65535, 65536, math.MaxUint32} {
		for _, at := range []uint64{0, 1, 1<<32 - 1, 1 << 32, 1<<48 - 1, 1 << 48, math.MaxUint64} {
			for _, sub := range []uint64{0, 1, 65535, 65536, 1<<32 - 1, 1 << 32, math.MaxUint64} {
				c := Claim{Subject: Subject("s"), Kind: 7, Witness: Witness{target, at, sub}, Says: []byte("x")}
				enc, err := c.AppendTo(nil)
				if err != nil {
					t.Fatal(err)
				}
				got, _, err := Decode(enc)
				if err != nil || Compare(&c, &got) != 0 {
					t.Errorf("%v: got %+v, error %v", c.Witness, got, err)
				}
			}
		}
	}
}

func TestTypicalSize(t *testing.T) {
	c := Claim{Subject: bytes.Repeat([]byte{9}, 20), Kind: 1, Witness: Witness{Target: 3, At: 1 << 30}}
	if n := c.EncodedLen(); n != 28 {
		t.Errorf("without payload %d bytes, want 28", n)
	}
	c.Says = make([]byte, 8)
	if n := c.EncodedLen(); n != 37 {
		t.Errorf("with 8 bytes of payload %d bytes, want 37", n)
	}
}

func TestTooLong(t *testing.T) {
	for name, c := range map[string]Claim{
		"subject": {Subject: make([]byte, MaxSubject+1)},
		"payload": {Says: make([]byte, MaxSays+1)},
	} {
		dst, err := c.AppendTo([]byte("keep"))
		if err == nil || !strings.Contains(err.Error(), name) || string(dst) != "keep" {
			t.Errorf("%s: got %q, error %v", name, dst, err)
		}
	}
}

func TestMalformed(t *testing.T) {
	tooLong := append([]byte{0, 0, 3 << 6, 1, 0, 1}, make([]byte, MaxSays+1)...)
	for name, b := range map[string][]byte{
		"empty":             {},
		"two bytes":         {0, 0},
		"subject cut":       {5, 0, 0, 1, 2},
		"target zero wide":  {0, 0, 1, 0},
		"target too wide":   {0, 0, 2, 255, 0},
		"at too wide":       {0, 0, 2 << 2, 1, 0, 0, 0, 0, 0},
		"sub too wide":      {0, 0, 2 << 4, 255, 255, 0, 0},
		"length too wide":   {0, 0, 2 << 6, 1, 0, 'x'},
		"payload cut":       {0, 0, 1 << 6, 2, 'x'},
		"payload too long":  tooLong,
		"payload 16 MiB":    {0, 0, 3 << 6, 255, 255, 255, 0},
		"fixed part is cut": {0, 0, 255, 1, 2, 3},
	} {
		if c, rest, err := Decode(b); !errors.Is(err, ErrMalformed) || len(rest) != len(b) {
			t.Errorf("%s: got %+v, rest %d, error %v", name, c, len(rest), err)
		}
	}
}

func TestCompareAndClone(t *testing.T) {
	base := Claim{Subject: Subject("b"), Kind: 2, Witness: Witness{2, 2, 2}, Says: []byte("b")}
	less := map[string]func(*Claim){
		"subject": func(c *Claim) { c.Subject = Subject("a") },
		"kind":    func(c *Claim) { c.Kind = 1 },
		"target":  func(c *Claim) { c.Witness.Target = 1 },
		"at":      func(c *Claim) { c.Witness.At = 1 },
		"sub":     func(c *Claim) { c.Witness.Sub = 1 },
		"says":    func(c *Claim) { c.Says = []byte("a") },
	}
	for name, change := range less {
		c := base.Clone()
		if Compare(&c, &base) != 0 {
			t.Fatal("a clone differs")
		}
		change(&c)
		if Compare(&c, &base) != -1 || Compare(&base, &c) != 1 {
			t.Errorf("smaller %s: %d and %d", name, Compare(&c, &base), Compare(&base, &c))
		}
	}
	c := base.Clone()
	c.Subject[0], c.Says[0] = 'x', 'x'
	if string(base.Subject) != "b" || string(base.Says) != "b" {
		t.Error("a clone shares memory")
	}
}

func TestNoAllocation(t *testing.T) {
	c := Claim{Subject: make([]byte, 20), Witness: Witness{1, 2, 3}, Says: make([]byte, 8)}
	buf := make([]byte, 0, 64)
	n := testing.AllocsPerRun(100, func() {
		b, err := c.AppendTo(buf)
		if err == nil {
			_, _, err = Decode(b)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzDecode: whatever decodes encodes to the same bytes, and Peek agrees.
func FuzzDecode(f *testing.F) {
	c := Claim{Subject: Subject("0123456789abcdef0123"), Kind: 3, Witness: Witness{1, 1 << 33, 70000}, Says: []byte("payload.")}
	enc, err := c.AppendTo(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(enc)
	f.Add([]byte{0, 0, 0})
	f.Add([]byte{0, 0, 3 << 6, 0, 0, 1})
	f.Add([]byte{255, 1, 255, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, rest, err := Decode(b)
		s, n, perr := Peek(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("error %v does not wrap ErrMalformed", err)
			}
			return
		}
		if perr != nil || n != len(b)-len(rest) || !bytes.Equal(s, c.Subject) {
			t.Fatalf("Peek: %v, %d, %v; Decode used %d", s, n, perr, len(b)-len(rest))
		}
		again, err := c.AppendTo(nil)
		if err != nil || !bytes.Equal(again, b[:n]) {
			t.Fatalf("%x encodes to %x, error %v", b[:n], again, err)
		}
	})
}

func BenchmarkAppendDecode(b *testing.B) {
	c := Claim{Subject: make([]byte, 20), Kind: 1, Witness: Witness{1, 1 << 30, 0}, Says: make([]byte, 8)}
	buf := make([]byte, 0, 64)
	b.ReportAllocs()
	for b.Loop() {
		e, _ := c.AppendTo(buf)
		if _, _, err := Decode(e); err != nil {
			b.Fatal(err)
		}
	}
}
