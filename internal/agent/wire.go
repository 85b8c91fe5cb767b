package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/enrich/identity"
	"github.com/netfate/netfate/internal/filter"
	"github.com/netfate/netfate/internal/kernel"
	"github.com/netfate/netfate/internal/ledger"
	"github.com/netfate/netfate/internal/ledger/counters"
	"github.com/netfate/netfate/internal/sensor/conn"
	dnssensor "github.com/netfate/netfate/internal/sensor/dns"
	"github.com/netfate/netfate/internal/sensor/drop"
	"github.com/netfate/netfate/internal/sensor/flow"
	httpsensor "github.com/netfate/netfate/internal/sensor/http"
	"github.com/netfate/netfate/internal/sensor/owner"
	tlssensor "github.com/netfate/netfate/internal/sensor/tls"
	"github.com/netfate/netfate/internal/sensor/urls"
	"github.com/netfate/netfate/internal/table"
	"github.com/netfate/netfate/internal/verdict"
)

// Config says what to watch. The zero value watches nothing.
type Config struct {
	Drops, Flows, Conns, Queries, Requests bool
	// CountRequests has the kernel count requests of HTTP/1 by method, host and
	// path, in place of Requests and without what that tells beside.
	CountRequests bool
	// Secrets keeps the queries of URLs.
	Secrets bool
	// Plaintext reads requests inside TLS too, where libraries encrypt them.
	Plaintext bool
	// Budget is the share of all CPUs that reading requests may take while they
	// are busy with other things; 1 sheds only what the ring has no room for, and 0
	// is for two percent.
	Budget float64
	// OpenConns tells of connections and listeners that are open too, at the end
	// of each interval.
	OpenConns bool
	// Names calls peers as DNS answers called them that their owners got; where DNS
	// cannot be watched, peers have none.
	Names bool
	// Containers names containers, and is kept at it while Run runs; nil names none.
	Containers *identity.Table
	// Filter restricts what the kernel counts; nil counts everything.
	Filter *filter.Pair
	// Select restricts what the sinks get.
	Select Select
	// Ledger balances drops and flows with the kernel's counters; it needs Flows,
	// and is blind without Drops for what nothing counts.
	Ledger bool
	// Interval is the time between two batches, 0 for one second.
	Interval time.Duration
	// Samples is how many events each CPU may sample in a tenth of a second;
	// the rest are counted only.
	Samples int64
	// Stack takes the kernel stack of each sample.
	Stack bool
	// Snaplen is how many bytes of its packet a sample has, 0 for 128.
	Snaplen uint16
	// MaxFlows and MaxDrops bound the rows of one interval; 0 for 65,536 and
	// 16,384. What does not fit is counted without addresses.
	MaxFlows, MaxDrops uint32
	// Raw uses raw tracepoints even where typed ones work.
	Raw bool
	// Book judges drops; nil reads one.
	Book *verdict.Book
	// Partial goes on without a sensor that cannot be loaded or attached, as long as
	// there is another one, and says so among what is lacking.
	Partial bool
	// Costs gets what the sensors cost, once all is attached and each few seconds; nil
	// measures nothing. It is called by the pump.
	Costs func([]SensorCost)
	// Measure has the kernel count and time the runs of all programs on this host,
	// while Run does; that costs each run some 20 to 100 ns.
	Measure bool
}

// Output is a sink and what messages call it.
type Output struct {
	Name string
	Sink Sink
}

// remember is for how many flows is known who began and who owns them when a
// later interval does not show it: some 6 MB.
const remember = 1 << 16

// usualBudget is Config.Budget where it is 0.
const usualBudget = 0.02

// flushTime is how long sinks have to finish when netfate ends.
const flushTime = 5 * time.Second

// Run watches this host until ctx is done and feeds the outputs. It calls
// ready once everything is attached, with what this kernel lacks. Before it
// returns, everything is detached and the outputs are closed. The error wraps
// kernel.ErrNotAllowed if the kernel or the privileges do not allow it.
func Run(ctx context.Context, cfg Config, outputs []Output, ready func(lacks []string)) error {
	if cfg.Interval == 0 {
		cfg.Interval = time.Second
	}
	if cfg.Budget == 0 {
		cfg.Budget = usualBudget
	}
	l, err := wire(cfg)
	if err != nil {
		return errors.Join(err, closeAll(outputs))
	}
	defer func() { l.names.symbols.Wait() }() // it may still read, if we stop early
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if cfg.owned() {
		defer nameContainers(ctx, cfg.Containers)()
	}
	var queues []*queue
	var alive atomic.Int64
	alive.Store(int64(len(outputs)))
	for _, o := range outputs {
		q := newQueue(o.Name, o.Sink)
		queues = append(queues, q)
		go q.run(func(err error) {
			if alive.Add(-1) == 0 {
				cancel(err)
			}
		})
	}
	if err = l.attach(); err == nil {
		err = l.startBooks(ctx)
	}
	if err == nil {
		err = l.meter.start(l)
	}
	if err == nil {
		ready(l.lacks())
		defer saveMemory()()
		err = pump(ctx, l, cfg.Interval, queues)
	}
	errs := []error{err, l.close()}
	for _, q := range queues {
		errs = append(errs, q.close(flushTime))
	}
	return errors.Join(errs...)
}

// gcPercent is how much garbage there may be before it is collected, in percent
// of what lives: half of Go's default. At 5,000 flows a second that is 55 MB
// resident in place of 72, for half a percent of a core.
const gcPercent = 50

// memoryLimit is where the collector works harder rather than let memory grow:
// what lives in a storm of more flows than the tables hold is less.
const memoryLimit = 192 << 20

// saveMemory gives back what loading has used, twice as much as all that lives
// on, and lets the collector run sooner, unless GOGC or GOMEMLIMIT say how. The
// function that it returns takes that back.
func saveMemory() (restore func()) {
	debug.FreeOSMemory()
	percent, limit := debug.SetGCPercent(gcPercent), debug.SetMemoryLimit(memoryLimit)
	restore = func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	}
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		restore()
	}
	return restore
}

func closeAll(outputs []Output) error {
	var errs []error
	for _, o := range outputs {
		errs = append(errs, o.Sink.Close())
	}
	return errors.Join(errs...)
}

// wire makes everything and attaches nothing.
func wire(cfg Config) (*live, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	types, spec, err := kernel.LoadTypes()
	if err != nil {
		return nil, err
	}
	args, err := kernel.KfreeSKBArgs(spec)
	if err != nil {
		return nil, err
	}
	reasons, err := kernel.LoadReasons(spec)
	if err != nil {
		return nil, err
	}
	book := cfg.Book
	if book == nil {
		if book, err = verdict.New(); err != nil {
			return nil, err
		}
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("read the host's name: %w", err)
	}
	if err := kernel.LiftMemlock(); err != nil {
		return nil, err
	}
	l := &live{cfg: cfg, names: newNames(host, cfg.Containers, reasons, book), dropTable: table.NewDrops(), tick: tickNS()}
	if cfg.Ledger {
		l.books = books{reader: counters.New(), ledger: ledger.New(book), only: cfg.Select.NetNS}
	}
	if err := l.load(args, types); err != nil {
		return nil, errors.Join(kernel.Diagnose(err, "load the sensors"), l.close())
	}
	return l, nil
}

// load makes the sensors. The owner's comes first: the others use its map. Those
// are verified by the kernel at the same time, since that is most of what a
// start takes.
func (l *live) load(args kernel.FreeArgs, types *kernel.Types) (err error) {
	cfg := &l.cfg
	if cfg.CountRequests {
		if l.counts.sensor, err = urls.New(urls.Config{CgroupRoot: kernel.ReadMounts().Cgroup2, Types: types}); err != nil {
			return err
		}
	}
	if !cfg.owned() {
		return nil
	}
	if l.owners, err = owner.New(owner.Config{CgroupRoot: kernel.ReadMounts().Cgroup2, Types: types}); err != nil {
		return err
	}
	l.names.owners = l.owners
	var all sync.WaitGroup
	var dropErr, flowErr, connErr, queryErr, requestErr, plaintextErr error
	if cfg.Drops {
		all.Go(func() {
			l.drops, dropErr = drop.New(drop.Config{
				Args: args, Filter: cfg.Filter, MaxDrops: cfg.MaxDrops, Stack: cfg.Stack, Snaplen: cfg.Snaplen,
				Owners: l.owners.Owners(), Types: types, Raw: cfg.Raw,
			})
		})
	}
	if cfg.Flows {
		l.flowTable = table.NewFlows(remember)
		all.Go(func() {
			l.flows, flowErr = flow.New(flow.Config{
				Filter: cfg.Filter, MaxFlows: cfg.MaxFlows,
				Owners: l.owners.Owners(), Types: types, Raw: cfg.Raw,
			})
		})
	}
	if cfg.Conns && cfg.Flows {
		l.conns.sockets = newSockets()
	}
	if cfg.Conns {
		all.Go(func() {
			l.conns.open, l.conns.filter = cfg.OpenConns, cfg.Filter
			l.conns.sensor, connErr = conn.New(conn.Config{Owners: l.owners.Owners(), Types: types, Raw: cfg.Raw})
		})
	}
	if cfg.Names {
		l.peers = newPeers()
	}
	if cfg.Queries || cfg.Names {
		all.Go(func() {
			var s *dnssensor.Sensor
			s, queryErr = dnssensor.New(dnssensor.Config{CgroupRoot: kernel.ReadMounts().Cgroup2, Owners: l.owners.Owners(), Types: types})
			l.queries = newQueries(s, l.told)
		})
	}
	if cfg.Requests {
		all.Go(func() {
			var s *httpsensor.Sensor
			s, requestErr = httpsensor.New(httpsensor.Config{CgroupRoot: kernel.ReadMounts().Cgroup2, Owners: l.owners.Owners(), Types: types})
			l.requests = newRequests(s, cfg)
		})
	}
	if cfg.Requests && cfg.Plaintext {
		all.Go(func() {
			var s *tlssensor.Sensor
			s, plaintextErr = tlssensor.New(tlssensor.Config{Types: types, Except: uint32(os.Getpid())})
			l.plaintext = newPlaintext(s, cfg)
		})
	}
	all.Wait()
	if queryErr != nil && l.others() {
		l.without(l.unheard(), queryErr)
		queryErr = nil
	}
	if requestErr != nil && l.others() {
		l.without("HTTP", requestErr)
		requestErr = nil
	}
	if plaintextErr != nil {
		l.without("what is inside TLS", plaintextErr)
	}
	if l.others() {
		dropErr, flowErr, connErr = l.partly(dropErr, flowErr, connErr)
	}
	// They fail for the same reason, as a rule: the first tells it.
	return cmp.Or(dropErr, flowErr, connErr, queryErr, requestErr)
}

// partly goes on without those of the three that failed, if another one did not and
// the caller wants that.
func (l *live) partly(dropErr, flowErr, connErr error) (_, _, _ error) {
	works := l.drops != nil && dropErr == nil || l.flows != nil && flowErr == nil || l.conns.sensor != nil && connErr == nil ||
		l.queries.sensor != nil || l.requests.sensor != nil
	if !l.cfg.Partial || !works {
		return dropErr, flowErr, connErr
	}
	if dropErr != nil {
		l.without("what is dropped", dropErr)
		l.drops, l.cfg.Drops = nil, false
	}
	if flowErr != nil {
		l.without("who talks to whom", flowErr)
		l.flows, l.flowTable, l.cfg.Flows = nil, nil, false
		l.conns.sockets = nil
		if l.books.reader != nil {
			l.missing = append(l.missing, "there is no ledger: it needs flows")
			l.books = books{}
		}
	}
	if connErr != nil {
		l.without("connections", connErr)
		l.conns.sensor, l.conns.sockets, l.cfg.Conns = nil, nil, false
	}
	return nil, nil, nil
}

// attach starts the sensors: owners first, so that no packet comes before its
// socket is known.
func (l *live) attach() error {
	l.clock = kernel.ReadClock()
	if l.owners != nil {
		if err := l.owners.Attach(); err != nil {
			return kernel.Diagnose(err, "attach the owner sensor")
		}
		if err := l.names.scan(time.Now()); err != nil {
			return kernel.Diagnose(err, "find the open sockets")
		}
	}
	if err := l.attachBase(); err != nil {
		return err
	}
	if l.queries.sensor != nil {
		if err := l.queries.sensor.Attach(); err != nil {
			err = l.giveUp(l.unheard(), kernel.Diagnose(err, "attach the DNS sensor"), l.queries.sensor)
			l.queries.sensor = nil
			if err != nil {
				return err
			}
		}
	}
	if l.requests.sensor != nil {
		if err := l.requests.sensor.Attach(); err != nil {
			err = l.giveUp("HTTP", kernel.Diagnose(err, "attach the HTTP sensor"), l.requests.sensor)
			l.requests.sensor = nil
			if err != nil {
				return err
			}
		}
	}
	if l.plaintext.sensor != nil {
		if err := l.plaintext.sensor.Attach(); err != nil {
			l.without("what is inside TLS", err)
			err = l.plaintext.sensor.Close()
			l.plaintext.sensor = nil
			if err != nil {
				return err
			}
		}
	}
	if l.counts.sensor != nil {
		if err := l.counts.sensor.Attach(); err != nil {
			return kernel.Diagnose(err, "attach the sensor that counts requests")
		}
	}
	// Nothing needs symbols before the first interval ends, and reading them
	// would take a CPU from the verifier.
	l.names.symbols = kernel.LoadSymbols()
	return nil
}

// attachBase attaches what traffic itself tells.
func (l *live) attachBase() error {
	var dropErr, flowErr, connErr error
	drops, flows, conns := l.drops, l.flows, l.conns.sensor
	if drops != nil {
		// Samples of what is dropped before the pump gets there are not to be missing.
		dropErr = kernel.Diagnose(errors.Join(drops.Allow(l.cfg.Samples), drops.Attach()), "attach the drop sensor")
	}
	if flows != nil {
		flowErr = kernel.Diagnose(flows.Attach(), "attach the flow sensor")
	}
	if conns != nil {
		connErr = kernel.Diagnose(conns.Attach(), "attach the connection sensor")
	}
	failed := []error{dropErr, flowErr, connErr}
	dropErr, flowErr, connErr = l.partly(dropErr, flowErr, connErr)
	if err := cmp.Or(dropErr, flowErr, connErr); err != nil {
		return err
	}
	var errs []error // of those that are done without
	if failed[0] != nil {
		errs = append(errs, drops.Close())
	}
	if failed[1] != nil {
		errs = append(errs, flows.Close())
	}
	if failed[2] != nil {
		errs = append(errs, conns.Close())
	}
	return errors.Join(errs...)
}

// giveUp goes on without a sensor that could not be attached, if there are others.
func (l *live) giveUp(what string, why error, sensor io.Closer) error {
	if !l.others() {
		return errors.Join(why, sensor.Close())
	}
	l.without(what, why)
	return sensor.Close()
}

// others reports whether more is watched than what sockets say, which not every
// host allows.
func (l *live) others() bool { return l.cfg.Drops || l.cfg.Flows || l.cfg.Conns }

// unheard is what is not known without DNS.
func (l *live) unheard() string {
	if l.cfg.Queries {
		return "DNS"
	}
	return "DNS, which names peers,"
}

// without notes that something is not watched, and why.
func (l *live) without(what string, err error) {
	l.missing = append(l.missing, what+" is not watched: "+err.Error())
}

// lacks lists what this kernel cannot tell, each with what it costs.
func (l *live) lacks() []string {
	var lacks []string
	if l.owners != nil {
		lacks = l.owners.Lacks()
	}
	if l.drops != nil {
		lacks = append(lacks, l.drops.Lacks()...)
	}
	if l.flows != nil {
		lacks = append(lacks, l.flows.Lacks()...)
	}
	if l.conns.sensor != nil {
		lacks = append(lacks, l.conns.sensor.Lacks()...)
	}
	if l.plaintext.sensor != nil {
		lacks = append(lacks, l.plaintext.sensor.Lacks()...)
		for _, what := range l.plaintext.sensor.Unread() {
			lacks = append(lacks, "TLS cannot be read of "+what)
		}
	}
	return uniq(append(lacks, l.missing...))
}

// uniq returns the lines without those that came before.
func uniq(lines []string) (out []string) {
	for _, line := range lines {
		if !slices.Contains(out, line) {
			out = append(out, line)
		}
	}
	return out
}

// close frees everything. It may be called on a half-made feed.
func (l *live) close() error {
	errs := []error{l.meter.stop()}
	if l.queries.sensor != nil {
		errs = append(errs, l.queries.sensor.Close())
	}
	if l.requests.sensor != nil {
		errs = append(errs, l.requests.sensor.Close())
	}
	if l.plaintext.sensor != nil {
		errs = append(errs, l.plaintext.sensor.Close())
	}
	if l.counts.sensor != nil {
		errs = append(errs, l.counts.sensor.Close())
	}
	if l.conns.sensor != nil {
		errs = append(errs, l.conns.sensor.Close())
	}
	if l.flows != nil {
		errs = append(errs, l.flows.Close())
	}
	if l.drops != nil {
		errs = append(errs, l.drops.Close())
	}
	if l.owners != nil {
		errs = append(errs, l.owners.Close())
	}
	return errors.Join(errs...)
}

// tickNS returns the length of a jiffy: the resolution of the coarse clock is
// just that (clock_getres(2), hrtimer.c).
func tickNS() uint64 {
	var res unix.Timespec
	if err := unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &res); err != nil {
		return uint64(4 * time.Millisecond)
	}
	return uint64(res.Nano())
}
