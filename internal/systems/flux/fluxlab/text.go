package fluxlab

import (
	"math/rand/v2"
	"strconv"
)

// clock is the time of the made instance in units of 100 ns since 1970.
type clock int64

// firstSecond is when the made instance starts (2026-11-21). It is fixed so that the same seed gives the same bytes.
const firstSecond = 1795232630

// tick moves the clock by up to about n milliseconds.
func (c *clock) tick(r *rand.Rand, n int) { *c += clock(1 + r.IntN(n*10_000)) }

// append writes the time as Flux does: seconds with the fewest digits.
func (c clock) append(dst []byte) []byte {
	dst = strconv.AppendInt(dst, int64(c)/10_000_000, 10)
	frac := strconv.AppendInt(nil, 10_000_000+int64(c)%10_000_000, 10)[1:]
	for len(frac) > 1 && frac[len(frac)-1] == '0' {
		frac = frac[:len(frac)-1]
	}
	return append(append(dst, '.'), frac...)
}

// event is one line of an eventlog (RFC 18). context is a JSON object or "".
func (c clock) event(name, context string) []byte { return c.appendEvent(nil, name, context) }

func (c clock) appendEvent(dst []byte, name, context string) []byte {
	dst = c.append(append(dst, `{"timestamp":`...))
	dst = append(append(append(dst, `,"name":"`...), name...), '"')
	if context != "" {
		dst = append(append(dst, `,"context":`...), context...)
	}
	return append(dst, "}\n"...)
}

// noise fills n bytes that do not compress.
func noise(r *rand.Rand, n int) []byte {
	b := make([]byte, 0, n+8)
	for len(b) < n {
		v := r.Uint64()
		b = append(b, byte(v), byte(v>>8), byte(v>>16), byte(v>>24), byte(v>>32), byte(v>>40), byte(v>>48), byte(v>>56))
	}
	return b[:n]
}

// prose fills about n bytes of text that compresses like logs do.
func prose(r *rand.Rand, n int) []byte {
	words := []string{"step", "converged", "residual", "rank", "writing", "restart", "file", "mesh", "iteration", "time", "warning", "done"}
	b := make([]byte, 0, n+64)
	for len(b) < n {
		b = append(append(b, words[r.IntN(len(words))]...), ' ')
		if r.IntN(8) == 0 {
			b = append(strconv.AppendUint(b, uint64(r.Uint32()), 10), '\n')
		}
	}
	return b
}
