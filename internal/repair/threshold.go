package repair

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"fettle/internal/store"
)

// Threshold is how much of a unit a plan may drop: the larger of a percentage and a count. The zero Threshold is the
// default, 1 % or 100.
type Threshold struct {
	percent float64
	count   int64
	given   bool
}

// NewThreshold allows the larger of percent (0 to 100) of the unit and count entities.
func NewThreshold(percent float64, count int64) Threshold {
	return Threshold{percent: percent, count: count, given: true}
}

// ParseThreshold reads "5%", "200" or "1%,100". Zero is allowed and means that nothing may be dropped.
func ParseThreshold(text string) (Threshold, error) {
	t := Threshold{given: true}
	parts := strings.Split(text, ",")
	if len(parts) > 2 {
		return Threshold{}, fmt.Errorf("loss threshold %q: want a percentage, a count, or both (\"5%%\", \"200\", \"1%%,100\")", text)
	}
	var havePercent, haveCount bool
	for _, part := range parts {
		part = strings.TrimSpace(part)
		if number, ok := strings.CutSuffix(part, "%"); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
			if err != nil || math.IsNaN(v) || v < 0 || v > 100 || havePercent {
				return Threshold{}, fmt.Errorf("loss threshold %q: %q is not one percentage from 0 to 100", text, part)
			}
			t.percent, havePercent = v, true
			continue
		}
		v, err := strconv.ParseInt(part, 10, 64)
		if err != nil || v < 0 || haveCount {
			return Threshold{}, fmt.Errorf("loss threshold %q: %q is not one whole number", text, part)
		}
		t.count, haveCount = v, true
	}
	return t, nil
}

// Limit is the largest number of entities that may be dropped from a unit of total.
func (t Threshold) Limit(total int64) int64 {
	if !t.given {
		t = NewThreshold(1, 100)
	}
	share := int64(math.Floor(float64(max(total, 0)) * t.percent / 100))
	return max(share, t.count)
}

// Allows tells whether the loss stays within the threshold.
func (t Threshold) Allows(l store.Loss) bool { return l.Dropped <= t.Limit(l.Total) }

// String gives the form that ParseThreshold reads.
func (t Threshold) String() string {
	if !t.given {
		t = NewThreshold(1, 100)
	}
	percent := strconv.FormatFloat(t.percent, 'f', -1, 64) + "%"
	switch {
	case t.percent == 0:
		return strconv.FormatInt(t.count, 10)
	case t.count == 0:
		return percent
	}
	return percent + "," + strconv.FormatInt(t.count, 10)
}
