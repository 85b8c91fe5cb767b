package duckdb

import (
	"errors"
	"os/exec"
	"time"
)

// ErrNoCgo is what Open returns in a program that was built without cgo.
var ErrNoCgo = errors.New("this netfate was built without cgo, so it has no history: build it with a C++ compiler installed (make build)")

// ErrHeld is wrapped by the error of Open if another process has the file open:
// one process holds it, and the others ask that one.
var ErrHeld = errors.New("another process has the history open")

// DefaultPath is where the daemon keeps its history.
const DefaultPath = "/var/lib/netfate/history.duckdb"

// Resolutions is how many resolutions there are.
const Resolutions = 4

// Config says where the history is and how much of it is kept. Zero values are
// defaults.
type Config struct {
	Path string
	// ReadOnly opens a file that nobody writes, a copy for instance, and does not
	// change it. Put is an error then.
	ReadOnly bool
	// MaxBytes is how large the file may become; 0 is for 2 GiB.
	MaxBytes int64
	// Ages is how long rows are kept of minutes, 5 minutes, hours and days; 0 is for
	// 2, 14, 90 and 730 days. Each is at least as long as the one before.
	Ages [Resolutions]time.Duration
	// MaxAge bounds all of them, 0 does not.
	MaxAge time.Duration
	// Memory is what DuckDB may take for a question, in bytes, as it counts; 0 is for
	// 192 MiB.
	Memory int64
	// Resident is how many bytes this process may have resident while a statement of a
	// user runs, which ends beyond; 0 is for 288 MiB.
	Resident int64
	// Process makes the command of a process that has the files open, and calls [Serve] with
	// its file 3; nil has this one do that. It is started anew when it ends.
	Process func() *exec.Cmd
	// Data is how many bytes of memory of its own that process may have beside what it has
	// from its start, as the kernel counts (RLIMIT_DATA); 0 is for no bound.
	Data int64
	// MaxAnswer is how large the answer to a statement may be, in bytes, about: what is beyond is
	// cut; 0 is for no bound.
	MaxAnswer int64
	// Threads is how many threads it has, 0 for 2 if it is only read, else 1: DuckDB's wait for each
	// other by turning round, so that two take twice the CPU time to write as much.
	Threads int
	// MaxQueue is how many records may wait to be added up, 0 for 262,144; further
	// ones are dropped and counted.
	MaxQueue int64
	// MaxPending is how many rows of minutes that go on are held, 0 for 131,072; at
	// that many they are written early.
	MaxPending int
	// MaxMemoryRows is how many rows are kept while nothing can be written, 0 for
	// 262,144; further ones are dropped and counted.
	MaxMemoryRows int64
	// Fresh is how old what a reader sees may be, 0 for 10 s: rows of a minute that goes
	// on are written when somebody asks, but not more often than this, since each
	// time makes rows of its own.
	Fresh time.Duration
	// Retry is the time between two attempts to write again, 0 for a minute.
	Retry time.Duration
	// Say is told in one line what a user has to know: that a file was set aside,
	// that nothing can be written, that it can again. It may be nil, and is called by
	// the goroutine of Open and that of the store.
	Say func(string)
}

func (c Config) withDefaults() Config {
	const day = 24 * time.Hour
	set := func(n *int64, to int64) {
		if *n == 0 {
			*n = to
		}
	}
	set(&c.MaxBytes, 2<<30)
	set(&c.Memory, 192<<20)
	set(&c.Resident, 288<<20)
	set(&c.MaxQueue, 1<<18)
	set(&c.MaxMemoryRows, 1<<18)
	for i, age := range [Resolutions]time.Duration{2 * day, 14 * day, 90 * day, 730 * day} {
		if c.Ages[i] == 0 {
			c.Ages[i] = age
		}
		if i > 0 {
			c.Ages[i] = max(c.Ages[i], c.Ages[i-1])
		}
		if c.MaxAge > 0 {
			c.Ages[i] = min(c.Ages[i], c.MaxAge)
		}
	}
	if c.Threads == 0 {
		c.Threads = 1
		if c.ReadOnly {
			c.Threads = 2
		}
	}
	if c.MaxPending == 0 {
		c.MaxPending = 1 << 17
	}
	if c.Fresh == 0 {
		c.Fresh = 10 * time.Second
	}
	if c.Retry == 0 {
		c.Retry = time.Minute
	}
	if c.Say == nil {
		c.Say = func(string) {}
	}
	return c
}
