package cli

import (
	"fmt"
	"strconv"
	"strings"
)

// size is a flag value in bytes: "256MiB", "1.5G", "4096". Decimal and binary prefixes both mean powers of 1024, as
// everywhere where memory and block sizes are meant.
type size int64

var sizeUnits = []string{"", "K", "M", "G", "T", "P"}

// Set implements pflag.Value.
func (s *size) Set(text string) error {
	n, err := parseSize(text)
	if err != nil {
		return err
	}
	*s = size(n)
	return nil
}

// Type implements pflag.Value.
func (s *size) Type() string { return "SIZE" }

// String implements fmt.Stringer: the shortest exact form.
func (s *size) String() string {
	n, unit := int64(*s), 0
	for n != 0 && n%1024 == 0 && unit < len(sizeUnits)-1 {
		n /= 1024
		unit++
	}
	if unit == 0 {
		return strconv.FormatInt(n, 10)
	}
	return fmt.Sprintf("%d%siB", n, sizeUnits[unit])
}

func parseSize(text string) (int64, error) {
	t := strings.ToUpper(strings.TrimSpace(text))
	t = strings.TrimSuffix(t, "/S")
	t = strings.TrimSuffix(strings.TrimSuffix(t, "B"), "I")
	scale := int64(1)
	for i, u := range sizeUnits {
		if u != "" && strings.HasSuffix(t, u) {
			t = strings.TrimSuffix(t, u)
			scale = 1 << (10 * i)
			break
		}
	}
	f, err := strconv.ParseFloat(strings.TrimSpace(t), 64)
	if err != nil || f < 0 || f*float64(scale) >= 1<<62 || f != f {
		return 0, fmt.Errorf("%q is not a size (for example 256MiB)", text)
	}
	return int64(f * float64(scale)), nil
}

// bytesText shows n for people: "1.4 GiB".
func bytesText(n int64) string {
	f, unit := float64(n), 0
	for f >= 1024 && unit < len(sizeUnits)-1 {
		f /= 1024
		unit++
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %siB", f, sizeUnits[unit])
}

// countText shows a large count for people: 1234567 as "1.23 M".
func countText(n float64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.2f G", n/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.2f M", n/1e6)
	case n >= 1e4:
		return fmt.Sprintf("%.1f k", n/1e3)
	}
	return fmt.Sprintf("%.0f", n)
}
