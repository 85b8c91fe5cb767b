package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/test/bench/peers"
	"github.com/netfate/netfate/test/netlab"
)

// side is netfate and its peers, side by side: each job with each tool that can do it.
type side struct {
	cfg   config
	began time.Time
	tools []peers.Tool
	jobs  []*sideJob
}

// sideJob is what was measured in one job.
type sideJob struct {
	job
	base  []float64 // us an event with nothing, between the arms
	arms  []*sideArm
	noise *sideArm // an arm in which nothing is started
}

// sideArm is one tool in one job.
type sideArm struct {
	tool    peers.Tool
	path    string
	version string
	absent  string    // why it is not there, or failed
	added   []float64 // us an event: of all who deal with it, tool and kernel
	own     []float64 // us an event: of the tool's processes
	seen    []float64 // percent of the events, or of the bytes
	right   []float64 // of the keys
	keys    int
	memory  uint64    // bytes
	run     float64   // ns a run of its BPF programs; 0 if it has none
	runs    float64   // of them an event
	start   []float64 // ms until the first event that it tells
}

// newSide measures each job in a lab of its own.
func newSide(cfg config) (*side, error) {
	s := &side{cfg: cfg, began: time.Now(), tools: peers.All(cfg.netfate)}
	for _, j := range jobs() {
		if cfg.job != "" && cfg.job != string(j.name) {
			continue
		}
		sj := &sideJob{job: j, noise: &sideArm{}}
		for i, t := range s.tools {
			if i > 0 && cfg.peer != "" && cfg.peer != t.Name {
				continue
			}
			a := &sideArm{tool: t}
			var err error
			if _, does := t.Does[j.name]; !does {
				a.absent = "cannot: " + t.Cannot[j.name]
			} else if a.path, err = t.Find(); err != nil {
				a.absent = err.Error()
			} else {
				a.version = versionOf(a.path, t.Version)
			}
			sj.arms = append(sj.arms, a)
		}
		s.jobs = append(s.jobs, sj)
		err := netlab.RunInterruptible(func(tb netlab.TB) {
			if err := s.measure(newWire(tb), sj); err != nil {
				tb.Fatalf("measure %s: %v", j.name, err)
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

// measure plays a job with nothing, with the first tool, with nothing, with the
// second, and so on: each is compared with what was before and behind it.
func (s *side) measure(w *wire, j *sideJob) error {
	if j.name == peers.Drops {
		w.rx.NFT(fmt.Sprintf("table inet bench {\nchain input { type filter hook input priority 0; udp dport { %d, %d } drop; }\n}", filteredPort, filteredPort+2))
	}
	for _, a := range j.arms {
		if a.absent != "" {
			continue
		}
		fmt.Fprintf(os.Stderr, "bench: %s: looking at %s\n", j.name, a.tool.Name)
		if err := s.look(w, j, a); err != nil {
			a.absent = failed(err)
		}
	}
	before, err := s.nothing(w, j)
	if err != nil {
		return err
	}
	for round := range s.cfg.rounds {
		for _, a := range append([]*sideArm{j.noise}, j.arms...) {
			if a.absent != "" {
				continue
			}
			fmt.Fprintf(os.Stderr, "bench: %s: round %d: %s\n", j.name, round+1, a.tool.Name)
			cost, err := s.round(w, j, a)
			if err != nil {
				a.absent = failed(err)
				continue
			}
			behind, err := s.nothing(w, j)
			if err != nil {
				return err
			}
			a.added = append(a.added, cost-(before+behind)/2)
			before = behind
		}
	}
	return nil
}

// failed says in one line of a table why a tool has failed.
func failed(err error) string {
	return "failed: " + strings.NewReplacer("\n", "; ", "|", "/").Replace(err.Error())
}

// nothing plays with no tool, and returns us an event.
func (s *side) nothing(w *wire, j *sideJob) (float64, error) {
	cost, _, err := s.play(w, j)
	if err == nil {
		j.base = append(j.base, cost)
	}
	return cost, err
}

// play returns the CPU time of both ends and of the kernel's packet threads, us an event.
func (s *side) play(w *wire, j *sideJob) (cost float64, p played, err error) {
	m, err := newMeter(nil)
	if err != nil {
		return 0, p, err
	}
	if p, err = j.play(w, s.cfg.slice); err != nil {
		return 0, p, err
	}
	used, err := m.stop()
	if err == nil && p.events == 0 {
		err = errors.New("nothing was played")
	}
	return us(used.part+p.children) / float64(p.events), p, err
}

func us(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// round plays with one tool, and returns us an event.
func (s *side) round(w *wire, j *sideJob, a *sideArm) (float64, error) {
	if a == j.noise {
		time.Sleep(2*settle + interval) // as long as a tool starts and is waited for
		cost, _, err := s.play(w, j)
		return cost, err
	}
	r, err := startTool(w, a.path, a.tool.Does[j.name])
	if err != nil {
		return 0, err
	}
	before := r.cpu()
	cost, p, err := s.play(w, j)
	if err != nil {
		return 0, errors.Join(err, r.kill())
	}
	r.drain()
	after := r.cpu()
	a.memory = max(a.memory, r.memory())
	told, err := r.finish()
	if err != nil {
		return 0, err
	}
	// Some do their work when they are told to end.
	own := us(max(after, r.lifetime())-before) / float64(p.events)
	a.own = append(a.own, own)
	a.keys = len(p.truth)
	seen, right := judge(p.truth, told, j.within)
	a.seen, a.right = append(a.seen, seen), append(a.right, float64(right))
	explain(j.name, a.tool.Name, p.truth, told, j.within)
	return cost + own, nil
}

// judge compares what there was with what was told: how much of it, in percent, and
// how many keys are right, which may be off by within.
func judge(truth, told peers.Told, within float64) (seen float64, right int) {
	var all, some uint64
	for key, want := range truth {
		got := told[key]
		if want.Events > 0 {
			all += want.Events
			some += got.Events
		} else {
			all += want.Bytes
			some += min(got.Bytes, want.Bytes) // headers are not more of it
		}
		// A tool may tell one of both.
		events := want.Events == 0 || near(want.Events, got.Events, within)
		bytes := want.Bytes == 0 || got.Bytes == 0 && got.Events > 0 || near(want.Bytes, got.Bytes, within)
		if events && bytes {
			right++
		}
	}
	return 100 * float64(some) / float64(all), right
}

// explain says on stderr what was told of the first few keys that are not right.
func explain(name peers.Job, tool string, truth, told peers.Told, within float64) {
	said := 0
	for _, key := range slices.Sorted(maps.Keys(truth)) {
		one := peers.Told{key: truth[key]}
		if _, right := judge(one, told, within); right == 0 && said < 3 {
			fmt.Fprintf(os.Stderr, "bench: %s: %s told %+v of %s, there was %+v\n", name, tool, told[key], key, truth[key])
			said++
		}
	}
}

// near reports whether got is want, or up to within more.
func near(want, got uint64, within float64) bool {
	return got >= want && float64(got) <= float64(want)*(1+within)
}

// look finds what comes with a tool's start, and what its BPF programs take: events
// come one by one from before it is started, and the first that it tells is so far
// from the last as it has told events.
func (s *side) look(w *wire, j *sideJob, a *sideArm) error {
	recipe := a.tool.Does[j.name]
	t, err := j.begin(w)
	if err != nil {
		return err
	}
	began := time.Now()
	t.run()
	r, err := startTool(w, a.path, recipe)
	if err := errors.Join(err, t.stop()); err != nil {
		if r != nil {
			err = errors.Join(err, r.kill())
		}
		return err
	}
	hasPrograms, err := r.programs()
	if err != nil {
		return errors.Join(err, r.kill())
	}
	r.drain()
	told, err := r.finish()
	if err != nil {
		return err
	}
	seen := told[t.key].Events
	if t.bytes > 0 && seen == 0 {
		seen = told[t.key].Bytes / (t.bytes + recipe.Header)
	}
	if n := uint64(len(t.at)); seen > 0 {
		a.start = append(a.start, float64(t.at[n-min(seen, n)].Sub(began))/float64(time.Millisecond))
	}
	if hasPrograms.held > 0 {
		return s.lookAtPrograms(w, j, a)
	}
	return nil
}

// lookAtPrograms has the kernel keep statistics, which cost something themselves.
func (s *side) lookAtPrograms(w *wire, j *sideJob, a *sideArm) error {
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		return fmt.Errorf("switch on statistics: %w", err)
	}
	defer stats.Close()
	r, err := startTool(w, a.path, a.tool.Does[j.name])
	if err != nil {
		return err
	}
	before, err := r.programs()
	if err != nil {
		return errors.Join(err, r.kill())
	}
	_, p, err := s.play(w, j)
	if err != nil {
		return errors.Join(err, r.kill())
	}
	after, err := r.programs()
	if err != nil {
		return errors.Join(err, r.kill())
	}
	if ran := after.since(before.runs); ran.count > 0 {
		a.run, a.runs = ran.each(), float64(ran.count)/float64(p.events)
	}
	r.drain()
	_, err = r.finish()
	return err
}
