package table

import (
	"math"
	"strconv"
	"time"
)

// scale shows x with up to three digits and a decimal prefix: 999, 1.2k, 12.3k,
// 123k, 1.0M. Below 10 it keeps one decimal if x is no whole number.
func scale(x float64) (digits, prefix string) {
	const prefixes = " kMGTPE"
	i := 0
	// 999.5 would round to 1000 with no decimals, 99.95 to 100.0 with one.
	for x >= 999.5 && i < len(prefixes)-1 {
		x /= 1000
		i++
	}
	decimals := 0
	if tenths := math.Round(x * 10); x < 99.95 && (i > 0 || (x < 9.95 && math.Mod(tenths, 10) != 0)) {
		decimals = 1
	}
	prefix = prefixes[i : i+1]
	if i == 0 {
		prefix = ""
	}
	return strconv.FormatFloat(x, 'f', decimals, 64), prefix
}

// count shows a number of things: exact below 1000, then 1.2k.
func count(n uint64) string {
	digits, prefix := scale(float64(n))
	return digits + prefix
}

// size shows bytes: 512 B, 3.4 MB, in powers of ten as link speeds are.
func size(n uint64) string {
	digits, prefix := scale(float64(n))
	return digits + " " + prefix + "B"
}

// perSecond shows n things in d as things a second; unknown without a time.
func perSecond(n uint64, d time.Duration) string {
	if d <= 0 {
		return "-"
	}
	x := float64(n) / d.Seconds()
	if n > 0 && x < 0.05 {
		return "<0.1/s"
	}
	digits, prefix := scale(x)
	return digits + prefix + "/s"
}

// bitRate shows bytes in d as bit/s: 12.3 Mbit/s.
func bitRate(bytes uint64, d time.Duration) string {
	if d <= 0 {
		return "-"
	}
	digits, prefix := scale(float64(bytes) * 8 / d.Seconds())
	return digits + " " + prefix + "bit/s"
}

// BitRate shows bytes in d as tables do.
func BitRate(bytes uint64, d time.Duration) string { return bitRate(bytes, d) }

// PerSecond shows n things in d as tables do.
func PerSecond(n uint64, d time.Duration) string { return perSecond(n, d) }

// lasting shows how long: 0.2 s, 12 s, 3 min, 5 h, 2 d.
func lasting(d time.Duration) string {
	switch {
	case d < 0:
		return "0 s"
	case d < 10*time.Second && d.Round(100*time.Millisecond)%time.Second != 0:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	case d < 2*time.Minute:
		return strconv.Itoa(int(d.Round(time.Second).Seconds())) + " s"
	case d < 2*time.Hour:
		return strconv.Itoa(int(d.Minutes())) + " min"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d.Hours())) + " h"
	}
	return strconv.Itoa(int(d.Hours()/24)) + " d"
}
