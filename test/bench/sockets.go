package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/kernel"
	"github.com/netfate/netfate/test/netlab"
	"github.com/netfate/netfate/test/web"
)

// sockets is what the sensors cost that read what sockets say.
type sockets struct {
	cfg   config
	began time.Time
	// others is what their programs take over empty ones, of packets that they do
	// not read: by program and traffic.
	others []*eventCost
	web    map[string]*webCost
	order  []string
}

// webCost is nginx asked by wrk with a sensor and, before and behind, without, by round.
type webCost struct {
	off, on []float64 // requests a second
	lost    []float64 // percent
	told    []float64 // of the requests, percent
	netfate []float64 // its own CPU time a request, us
}

// The aims.
const (
	aimOtherNS = 25
	aimWebPct  = 3
	aimToldPct = 100
)

// page is what nginx serves: 612 bytes, as its own first page has.
const page = `keepalive_requests 100000000; access_log off;
	server { listen 80; location / { return 200 "%s"; } }`

// measureSockets fills s.
func measureSockets(w *wire, s *sockets) error {
	web.StartNginx(w.rx, fmt.Sprintf(page, strings.Repeat("x", 612)), receiverAddr+":80")
	if err := measureOthers(w, s); err != nil {
		return err
	}
	return s.measureWeb(w)
}

// nothing is a round like the others in which no netfate is started: what it is said to
// cost is noise.
const nothing = "nothing"

// measureWeb asks nginx without a sensor, with one, without, with the next, and so on:
// each is compared with what was before and behind it, so that a machine that becomes
// slower, or a rate that falls while something is started, is not taken for its cost.
func (s *sockets) measureWeb(w *wire) error {
	s.web, s.order = map[string]*webCost{}, []string{nothing, "http", "http --budget 100", "dns", "conns"}
	for _, name := range s.order {
		s.web[name] = &webCost{}
	}
	before, _, err := s.ask(w)
	if err != nil {
		return err
	}
	for range s.cfg.rounds {
		for _, name := range s.order {
			on, err := s.webRound(w, name)
			if err != nil {
				return err
			}
			behind, _, err := s.ask(w)
			if err != nil {
				return err
			}
			c, off := s.web[name], (before+behind)/2
			c.off, c.on = append(c.off, off), append(c.on, on)
			c.lost = append(c.lost, 100*(1-on/off))
			before = behind
		}
	}
	return nil
}

// measureOthers plays traffic that is neither HTTP nor DNS past their programs
// and past empty ones, half of them attached before and half behind.
func measureOthers(w *wire, s *sockets) error {
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		return fmt.Errorf("switch on statistics: %w", err)
	}
	defer stats.Close()
	for _, command := range []string{"http", "dns"} {
		if err := othersOf(w, s, command); err != nil {
			return err
		}
	}
	return nil
}

func othersOf(w *wire, s *sockets, command string) (err error) {
	before, err := attachAtSockets()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, before.close()) }()
	n, err := startNetfate(s.cfg.netfate, command)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.stop()) }()
	behind, err := attachAtSockets()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, behind.close()) }()
	loads := []workload{workloads()[0], {"TCP with GSO, 1 connection", 0, 0}}
	costs := map[string]*eventCost{}
	for range s.cfg.rounds {
		for _, l := range loads {
			first, err := readRuns(n, [2]*empties{before, behind})
			if err != nil {
				return err
			}
			if _, err := w.play(l, s.cfg.slice); err != nil {
				return err
			}
			last, err := readRuns(n, [2]*empties{before, behind})
			if err != nil {
				return err
			}
			for _, way := range []string{"out", "in"} {
				name := command + "_" + way
				c := costs[name+l.name]
				if c == nil {
					c = &eventCost{hook: name, workload: l.name}
					costs[name+l.name] = c
					s.others = append(s.others, c)
				}
				program := last[0][name].since(first[0][name])
				a, b := last[1][way].since(first[1][way]), last[2][way].since(first[2][way])
				if program.count == 0 || a.count == 0 || b.count == 0 {
					return fmt.Errorf("%s: %d runs beside %d and %d empty ones", name, program.count, a.count, b.count)
				}
				c.add(program, a, b)
			}
		}
	}
	return nil
}

// attachAtSockets attaches empty programs where sockets send and receive.
func attachAtSockets() (e *empties, err error) {
	e = &empties{progs: map[string]*ebpf.Program{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.close())
		}
	}()
	for name, at := range map[string]ebpf.AttachType{"out": ebpf.AttachCGroupInetEgress, "in": ebpf.AttachCGroupInetIngress} {
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Name: "empty", Type: ebpf.CGroupSKB, AttachType: at, License: "GPL",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()},
		})
		if err != nil {
			return e, fmt.Errorf("load an empty program for cgroups: %w", err)
		}
		e.progs[name] = p
		l, err := link.AttachCgroup(link.CgroupOptions{Path: kernel.ReadMounts().Cgroup2, Attach: at, Program: p})
		if err != nil {
			return e, fmt.Errorf("attach an empty program to the root cgroup: %w", err)
		}
		e.links = append(e.links, l)
	}
	return e, nil
}

// webRound asks nginx with a sensor, and returns how often a second.
func (s *sockets) webRound(w *wire, name string) (on float64, err error) {
	c := s.web[name]
	if name == nothing {
		time.Sleep(settle)
		on, _, err = s.ask(w)
		return on, err
	}
	var told bytes.Buffer
	args := append(strings.Fields(name), "-o", "json")
	if args[0] == "dns" {
		args = append(args, "--each")
	}
	n, err := startNetfateInto(s.cfg.netfate, &told, args...)
	if err != nil {
		return 0, err
	}
	time.Sleep(settle)
	before, err := n.cpu()
	if err != nil {
		return 0, errors.Join(err, n.stop())
	}
	on, requests, err := s.ask(w)
	if err != nil {
		return 0, errors.Join(err, n.stop())
	}
	time.Sleep(interval + settle)
	after, err := n.cpu()
	if err = errors.Join(err, n.stop()); err != nil {
		return 0, err
	}
	c.netfate = append(c.netfate, float64((after-before).Microseconds())/float64(requests))
	if args[0] == "http" {
		n, err := tellsOf(&told)
		if err != nil {
			return 0, err
		}
		c.told = append(c.told, 100*float64(n)/float64(requests))
	}
	return on, nil
}

var wrkSays = regexp.MustCompile(`(\d+) requests in [\d.]+s[\s\S]*Requests/sec:\s+([\d.]+)`)

// ask has wrk ask for the page over 16 connections, and returns how often a
// second, and how often.
func (s *sockets) ask(w *wire) (perSecond float64, requests uint64, err error) {
	seconds := max(1, int(s.cfg.slice.Seconds()+0.5)*4)
	out := web.Wrk(w.tx, "--threads", "1", "--connections", "16", "--duration", fmt.Sprintf("%ds", seconds), "http://"+receiverAddr+"/page")
	m := wrkSays.FindStringSubmatch(out)
	if m == nil {
		return 0, 0, fmt.Errorf("read what wrk says: %q", out)
	}
	requests, err1 := strconv.ParseUint(m[1], 10, 64)
	perSecond, err2 := strconv.ParseFloat(m[2], 64)
	return perSecond, requests, errors.Join(err1, err2)
}

// tellsOf adds up the requests for the page that netfate tells of.
func tellsOf(rows *bytes.Buffer) (requests uint64, err error) {
	d := json.NewDecoder(rows)
	for d.More() {
		var row struct {
			Path     string `json:"path"`
			Requests uint64 `json:"requests"`
		}
		if err := d.Decode(&row); err != nil {
			return 0, fmt.Errorf("read netfate's rows: %w", err)
		}
		if row.Path == "/page" {
			requests += row.Requests
		}
	}
	return requests, nil
}

// markdown returns the results as tables.
func (s *sockets) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured on %s: %s. Medians of %d rounds, with the range.\n\n", s.began.UTC().Format(time.DateOnly), machine(), s.cfg.rounds)
	b.WriteString("### Traffic that is not read\n\n" +
		"ns an event of the sensors that read what sockets say, beside empty programs at the same cgroup, by the kernel's statistics, on " +
		fmt.Sprintf("packets that are none of theirs. The aim for HTTP is %d.\n\n", aimOtherNS) +
		"| program | traffic | netfate | empty | over | |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, c := range s.others {
		fmt.Fprintf(&b, "| `%s` | %s | %.0f | %.0f | %s | %s |\n", c.hook, c.workload, median(c.program), median(c.empty), span(c.over, "%.0f"),
			verdict(median(c.over), aimOtherNS))
	}
	fmt.Fprintf(&b, "\n### nginx asked by wrk\n\n"+
		"A page of 612 bytes over 16 connections that are kept, client and server on this host, which leaves netfate no CPU of its own. Each round with a sensor is compared with "+
		"those before and behind it without one; *nothing* is a round without, which shows the noise. Of the rate at most "+
		"%d %% may be lost; *told* is how many requests netfate counts, those included that a sampled one stands for.\n\n"+
		"| netfate | requests/s: off | on | lost, %% | told, %% | netfate's own CPU, us a request | |\n| --- | --- | --- | --- | --- | --- | --- |\n", aimWebPct)
	for _, name := range s.order {
		c := s.web[name]
		what, own, met := "`netfate "+name+"`", fmt.Sprintf("%.1f", median(c.netfate)), verdict(median(c.lost), aimWebPct)
		if name == nothing {
			what, own, met = name, "–", ""
		}
		fmt.Fprintf(&b, "| %s | %.0f | %.0f | %s | %s | %s | %s |\n", what, median(c.off), median(c.on), span(c.lost, "%.1f"), span(c.told, "%.1f"), own, met)
	}
	return b.String()
}

// newSockets measures in a lab of its own.
func newSockets(cfg config) (*sockets, error) {
	s := &sockets{cfg: cfg, began: time.Now()}
	err := netlab.RunInterruptible(func(tb netlab.TB) {
		if err := measureSockets(newWire(tb), s); err != nil {
			tb.Fatalf("measure what sockets say: %v", err)
		}
	})
	return s, err
}
