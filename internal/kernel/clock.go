package kernel

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Clock relates the kernel's clocks to wall time, as they stood when it was
// read. Wall time is stepped and slewed and CLOCK_BOOTTIME advances while the
// host sleeps, so whoever converts reads it again at each tick. The zero value
// takes the clocks to have started at the zero Unix time. It is a value, safe
// to copy and share.
type Clock struct {
	Mono uint64 // CLOCK_MONOTONIC in ns: what bpf_ktime_get_ns returns
	Boot uint64 // CLOCK_BOOTTIME in ns: what bpf_ktime_get_boot_ns returns
	Real int64  // CLOCK_REALTIME in ns since 1970, at the same moment
	Err  uint64 // how far Real and Boot may be from Mono's moment, in ns
}

// ReadClock reads the clocks. Of a few readings it keeps the one that was
// least disturbed: tens of ns apart, unless the host is very busy.
func ReadClock() Clock {
	var best Clock
	for i := range 5 {
		before := clockNow(unix.CLOCK_MONOTONIC)
		wall := clockNow(unix.CLOCK_REALTIME)
		boot := clockNow(unix.CLOCK_BOOTTIME)
		after := clockNow(unix.CLOCK_MONOTONIC)
		c := Clock{
			Mono: uint64(before + (after-before)/2), Boot: uint64(boot), Real: wall,
			Err: uint64(after - before),
		}
		if i == 0 || c.Err < best.Err {
			best = c
		}
	}
	return best
}

// Wall converts a reading of CLOCK_MONOTONIC in ns, before or after the
// clock's own reading, to UTC.
func (c Clock) Wall(mono uint64) time.Time {
	return time.Unix(0, c.Real+int64(mono-c.Mono)).UTC()
}

// WallBoot converts a reading of CLOCK_BOOTTIME in ns to UTC.
func (c Clock) WallBoot(boot uint64) time.Time {
	return time.Unix(0, c.Real+int64(boot-c.Boot)).UTC()
}

// clockNow reads one clock in ns. The clocks exist on every kernel that has
// BPF; an error is a bug.
func clockNow(id int32) int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		panic(fmt.Sprintf("read clock %d: %v", id, err))
	}
	return ts.Nano()
}
