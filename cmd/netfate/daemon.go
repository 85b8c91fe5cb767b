package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"

	"github.com/netfate/netfate/internal/agent"
	"github.com/netfate/netfate/internal/api"
	"github.com/netfate/netfate/internal/config"
	"github.com/netfate/netfate/internal/confine"
	"github.com/netfate/netfate/internal/export/prometheus"
	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/history/clickhouse"
	"github.com/netfate/netfate/internal/history/duckdb"
	"github.com/netfate/netfate/internal/history/memory"
	"github.com/netfate/netfate/internal/http"
	"github.com/netfate/netfate/internal/inventory"
	"github.com/netfate/netfate/internal/record"
)

// inMemory is a store that keeps rows as they come, but for paths of requests: as in a
// file, they are templates.
type inMemory struct{ *memory.Store }

// Put implements history.Store.
func (m inMemory) Put(ctx context.Context, b *record.Batch) error {
	short := *b
	short.Requests = slices.Clone(b.Requests)
	for i := range short.Requests {
		short.Requests[i].Path = http.Template(short.Requests[i].Path)
	}
	return m.Store.Put(ctx, &short)
}

// openStore opens the store that the configuration names; in memory where this
// netfate cannot have one on disk.
func openStore(cfg *config.History) (history.Store, error) {
	if clickhouse.IsURL(cfg.Path) {
		return openFleet(cfg)
	}
	kept := inMemory{memory.New(memory.Config{MaxRows: cfg.MemoryRows})}
	if cfg.Path == config.None {
		return kept, nil
	}
	if err := os.MkdirAll(filepath.Dir(cfg.Path), 0o750); err != nil {
		return nil, fmt.Errorf("make the history's directory: %w", err)
	}
	files := duckdb.Config{
		Path: cfg.Path, MaxBytes: int64(cfg.Size), MaxAge: cfg.Age, Say: func(line string) { say("%s", line) },
		Process: storeProcess(cfg.Path), Data: storeData, Resident: storeResident, Memory: storeMemory, MaxAnswer: storeAnswer,
	}
	store, err := duckdb.Open(files)
	if errors.Is(err, duckdb.ErrNoCgo) {
		say("note: %v; the last %d rows of each kind are kept in memory", duckdb.ErrNoCgo, cfg.MemoryRows)
		return kept, nil
	}
	return store, err
}

// keeper feeds a store. What that cannot take is counted, and does not end it: the
// next batch may fit again.
type keeper struct {
	store history.Store
	lose  func(place, reason string, n uint64, effect string)
	last  string // the fault that was told last
}

// Batch implements agent.Sink.
func (k *keeper) Batch(b *record.Batch) error {
	fault := ""
	if err := k.store.Put(context.Background(), b); err != nil {
		fault = err.Error()
		rows := 0
		for _, kind := range history.Kinds() {
			n, _ := history.Of(b, kind)
			rows += n
		}
		k.lose("history", "not written", uint64(rows), "these rows are not in the history")
	}
	if fault != k.last && fault != "" {
		say("write to the history: %s", fault)
	}
	k.last = fault
	return nil
}

// Close implements agent.Sink. The store is closed later, when nobody asks any more.
func (k *keeper) Close() error { return k.store.Flush(context.Background()) }

// costMeter keeps what the sensors and this process cost, with that of the history, as
// it was measured last.
type costMeter struct {
	store   history.Store
	mu      sync.Mutex
	at      time.Time
	spent   time.Duration // CPU time of this process
	beside  child
	before  map[string]time.Duration
	current api.Costs
}

func newCostMeter(store history.Store) *costMeter {
	return &costMeter{store: store, before: map[string]time.Duration{}, current: api.Costs{Sensors: []api.Sensor{}}}
}

// take gets what the agent has measured.
func (m *costMeter) take(sensors []agent.SensorCost) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	passed := now.Sub(m.at)
	var usage unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &usage) == nil {
		spent := time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
		m.current.Process.CPU = percent(spent-m.spent+m.beside.spent(m.child()), passed)
		m.spent = spent
	}
	m.current.Sensors = []api.Sensor{}
	for _, s := range sensors {
		one := api.Sensor{Name: s.Name, Programs: s.Programs, Memory: s.Memory, Lacks: append([]string{}, s.Lacks...)}
		if s.Runs > 0 {
			ns := float64(s.Time.Nanoseconds()) / float64(s.Runs)
			cpu := percent(s.Time-m.before[s.Name], passed)
			one.Events, one.NS, one.CPU = &s.Runs, &ns, &cpu
		}
		m.before[s.Name] = s.Time
		m.current.Sensors = append(m.current.Sensors, one)
	}
	m.at = now
}

// percent is the share of one CPU that some CPU time is.
func percent(spent, passed time.Duration) float64 {
	if passed <= 0 {
		return 0
	}
	return 100 * float64(spent) / float64(passed)
}

// costs returns the present ones.
func (m *costMeter) costs() api.Costs {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.current
	c.Process.Goroutines = runtime.NumGoroutine()
	c.Process.RSS = resident("self")
	if pid := m.child(); pid > 0 {
		c.Process.RSS += resident(strconv.Itoa(pid))
	}
	return c
}

// child is the number of the history's process, 0 if it has none.
func (m *costMeter) child() int {
	if s, ok := m.store.(interface{ Process() int }); ok {
		return s.Process()
	}
	return 0
}

// child is the CPU time of a process when it was asked for last.
type child struct {
	pid  int
	time time.Duration
}

// spent is what the process has spent since; of another one all that it has.
func (c *child) spent(pid int) time.Duration {
	now := child{pid, cpuTime(pid)}
	before := *c
	*c = now
	if pid != before.pid {
		return now.time
	}
	return max(now.time-before.time, 0)
}

// cpuTime is the CPU time of a process (the 14th and 15th of proc_pid_stat(5)), 0 if it
// cannot be read.
func cpuTime(pid int) time.Duration {
	const tick = 10 * time.Millisecond // USER_HZ
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if err != nil || len(fields) < 13 {
		return 0
	}
	user, err1 := strconv.ParseInt(string(fields[11]), 10, 64)
	system, err2 := strconv.ParseInt(string(fields[12]), 10, 64)
	if err1 != nil || err2 != nil {
		return 0
	}
	return time.Duration(user+system) * tick
}

// sensors returns those of the sensors for metrics, which make rates themselves.
func (m *costMeter) sensors() (all []prometheus.Sensor) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.current.Sensors {
		s := &m.current.Sensors[i]
		one := prometheus.Sensor{Name: s.Name, Programs: s.Programs, Memory: s.Memory}
		if s.Events != nil {
			one.Runs, one.Time = *s.Events, m.before[s.Name]
		}
		all = append(all, one)
	}
	return all
}

// resident returns a process's resident memory in bytes (proc_pid_statm(5)), 0 if it
// cannot be read.
func resident(pid string) uint64 {
	text, err := os.ReadFile("/proc/" + pid + "/statm")
	fields := bytes.Fields(text)
	if err != nil || len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseUint(string(fields[1]), 10, 64)
	if err != nil {
		return 0
	}
	return pages * uint64(os.Getpagesize())
}

// pulse feeds systemd's watchdog as long as batches come: a pump that hangs is a
// daemon that hangs.
type pulse struct {
	patience time.Duration
	last     atomic.Int64 // unix ns of the last batch
}

// late is how many intervals may pass without a batch, and how long at the least.
const (
	lateIntervals = 3
	lateTime      = 30 * time.Second
)

func newPulse(interval time.Duration) *pulse {
	p := &pulse{patience: max(lateIntervals*interval, lateTime)}
	p.last.Store(time.Now().UnixNano())
	return p
}

// Batch implements agent.Sink.
func (p *pulse) Batch(*record.Batch) error {
	p.last.Store(time.Now().UnixNano())
	return nil
}

// Close implements agent.Sink.
func (p *pulse) Close() error { return nil }

// run feeds the watchdog, if there is one, until ctx is done.
func (p *pulse) run(ctx context.Context) {
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil || every == 0 {
		return
	}
	tick := time.NewTicker(every / 3)
	defer tick.Stop()
	for {
		if time.Since(time.Unix(0, p.last.Load())) < p.patience {
			notify(daemon.SdNotifyWatchdog)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// objects looks at the BPF programs and maps of the host. It needs CAP_SYS_ADMIN to
// be told of them, CAP_SYS_PTRACE to see who holds them and CAP_DAC_READ_SEARCH where
// they are pinned: all are kept.
func objects(ctx context.Context, measured bool) (api.Objects, error) {
	found := api.Objects{Counted: measured || inventory.StatsEnabled()}
	var err error
	found.Programs, found.Maps, err = inventory.Objects(ctx, inventory.Config{Note: func(text string) { found.Missed = append(found.Missed, text) }})
	return found, err
}

// notify tells systemd; without it nobody listens, and nothing happens.
func notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		say("tell systemd %s: %v", state, err)
	}
}

// kept are the capabilities that watching goes on to need, and what for.
func kept() []cap.Value {
	return []cap.Value{
		cap.BPF,             // read maps, make iterators
		cap.PERFMON,         // attach to libraries that processes load
		cap.NET_ADMIN,       // netlink: counters, rules, sockets
		cap.SYS_PTRACE,      // /proc/PID of others: names, namespaces, libraries
		cap.SYS_ADMIN,       // enter network namespaces; list BPF programs; on older kernels, attach to libraries
		cap.SYSLOG,          // addresses of symbols, which are read after the start
		cap.DAC_READ_SEARCH, // libraries and namespaces below /proc/PID/root; cgroups by handle
	}
}

// dropCapabilities gives up those that only the start needs, in all threads.
func dropCapabilities() {
	have := cap.GetProc()
	want := cap.NewSet()
	for _, c := range kept() {
		if ok, err := have.GetFlag(cap.Permitted, c); err != nil || !ok {
			continue
		}
		if err := want.SetFlag(cap.Permitted, true, c); err != nil {
			say("note: capabilities are kept: %v", err)
			return
		}
		if err := want.SetFlag(cap.Effective, true, c); err != nil {
			say("note: capabilities are kept: %v", err)
			return
		}
	}
	if err := want.SetProc(); err != nil {
		say("note: capabilities are kept: %v", err)
	}
}

// confined takes from the daemon the system calls that only its start makes, and returns
// what holds, and what holds for the history's process if there is one: that confines
// itself, or does not begin.
func confined(apart bool) api.Confined {
	c := api.Confined{Daemon: []string{}, History: []string{}}
	holds, err := confine.Daemon()
	if err != nil {
		say("note: system calls are not filtered: %v", err)
	}
	c.Daemon = append(c.Daemon, holds...)
	if apart {
		_, history := confine.Holds()
		c.History = append(c.History, history...)
	}
	return c
}

// listed joins words with commas.
func listed(words []string) string {
	if len(words) == 0 {
		return "nothing"
	}
	return strings.Join(words, ", ")
}
