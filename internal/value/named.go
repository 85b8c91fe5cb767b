package value

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf/btf"
)

// ParseNamed is [Parse] for a variable or member called name. If it is an
// integer, it takes a duration (5ms, 1h30m) for a name that ends in a unit
// (_ns, _us, _ms, _s, _sec, _seconds …), which must be a whole number of them,
// and "self", which is the process id self, for a name with pid or tgid in it.
func ParseNamed(name string, t btf.Type, text string, self int) ([]byte, error) {
	s := shapeOf(name, t)
	if (s.kind != unsigned && s.kind != signed) || s.network {
		return parse(&s, text)
	}
	if text == "self" {
		if !pidName(s.name) {
			return nil, fmt.Errorf("self is for variables with pid or tgid in their name: want %s", wanted(&s))
		}
		return parse(&s, strconv.Itoa(self))
	}
	d, err := time.ParseDuration(text)
	unit, symbol := unitOf(s.name)
	if err != nil || text == "0" { // a number, or nonsense
		b, err := parse(&s, text)
		switch {
		case err != nil && unit > 0:
			return nil, fmt.Errorf("%w, or a duration such as 5ms", err)
		case err != nil && pidName(s.name):
			return nil, fmt.Errorf("%w, or self", err)
		}
		return b, err
	}
	switch {
	case unit == 0:
		return nil, fmt.Errorf("%s: the name says no unit (…_ns, …_us, …_ms, …_s): want %s", text, wanted(&s))
	case d%unit != 0:
		return nil, fmt.Errorf("%s: is not a whole number of %s, which the name wants", text, symbol)
	}
	b, err := parse(&s, strconv.FormatInt(int64(d/unit), 10))
	if err != nil {
		return nil, fmt.Errorf("%s in %s is %w", text, symbol, err)
	}
	return b, nil
}

func pidName(name string) bool {
	lower := strings.ToLower(name)
	return strings.Contains(lower, "pid") || strings.Contains(lower, "tgid")
}

// unitOf returns the unit that a name ends in, 0 if in none.
func unitOf(name string) (unit time.Duration, symbol string) {
	lower := strings.ToLower(name)
	switch lower[strings.LastIndexByte(lower, '_')+1:] {
	case "ns", "nsec", "nsecs", "nanoseconds":
		return time.Nanosecond, "ns"
	case "us", "usec", "usecs", "microseconds":
		return time.Microsecond, "us"
	case "ms", "msec", "msecs", "milliseconds":
		return time.Millisecond, "ms"
	case "s", "sec", "secs", "seconds":
		return time.Second, "s"
	}
	return 0, ""
}
