package evidence

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// counter reads one of the kernel's SNMP counters of the namespace, named as
// nstat(8) names them: IpInHdrErrors, TcpExtListenDrops, Udp6NoPorts.
func (c *collector) counter(name string) ([]Fact, error) {
	if c.counters == nil {
		c.counters = map[string]string{}
		for _, file := range []string{"snmp", "netstat"} {
			text, err := netFile(file)
			if err != nil {
				return nil, err
			}
			addPairs(c.counters, text)
		}
		if text, err := netFile("snmp6"); err == nil { // absent without IPv6
			addColumns(c.counters, text)
		}
	}
	value, ok := c.counters[name]
	if !ok {
		return nil, fmt.Errorf("no counter of that name here: %w", os.ErrNotExist)
	}
	f := Fact{Name: name, Value: value, Note: "since the namespace began"}
	if value == "0" {
		f.Note = "never, since the namespace began"
	}
	return []Fact{f}, nil
}

// addPairs takes in a file made of pairs of lines, names and values:
//
//	Ip: Forwarding DefaultTTL …
//	Ip: 1 64 …
func addPairs(counters map[string]string, text string) {
	lines := strings.Split(text, "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		names, values := strings.Fields(lines[i]), strings.Fields(lines[i+1])
		if len(names) == 0 || len(names) != len(values) || names[0] != values[0] {
			continue
		}
		group := strings.TrimSuffix(names[0], ":")
		for j := 1; j < len(names); j++ {
			counters[group+names[j]] = values[j]
		}
	}
}

// addColumns takes in a file with a name and a value a line.
func addColumns(counters map[string]string, text string) {
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) == 2 {
			counters[f[0]] = f[1]
		}
	}
}

// softnetFacts sums the per-CPU input queues: /proc/net/softnet_stat, one line
// a CPU, hexadecimal: processed, dropped, squeezed.
func softnetFacts(*collector) ([]Fact, error) {
	text, err := netFile("softnet_stat")
	if err != nil {
		return nil, err
	}
	var dropped, squeezed, worst uint64
	cpu, cpus := -1, 0
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 3 {
			continue
		}
		d, err1 := strconv.ParseUint(f[1], 16, 64)
		s, err2 := strconv.ParseUint(f[2], 16, 64)
		if err1 != nil || err2 != nil {
			continue
		}
		dropped, squeezed = dropped+d, squeezed+s
		if d > worst {
			worst, cpu = d, cpus
		}
		cpus++
	}
	note := "no packet was lost in this queue since boot"
	if dropped > 0 {
		note = fmt.Sprintf("since boot; most on CPU %d (%d)", cpu, worst)
	}
	return []Fact{
		{Name: "per-CPU input queue, dropped", Value: fmt.Sprint(dropped), Note: note},
		{Name: "per-CPU input queue, out of time", Value: fmt.Sprint(squeezed), Note: "times that a CPU had to stop early (net.core.netdev_budget)"},
	}, nil
}

// sockstatFacts tells how much memory all sockets hold, in pages.
func sockstatFacts(*collector) ([]Fact, error) {
	text, err := netFile("sockstat")
	if err != nil {
		return nil, err
	}
	var facts []Fact
	for line := range strings.Lines(text) {
		name, rest, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok || name != "TCP" && name != "UDP" {
			continue
		}
		f := Fact{Name: name + " sockets", Value: rest}
		fields := strings.Fields(rest)
		for i := 0; i+1 < len(fields); i += 2 {
			if pages, err := strconv.ParseUint(fields[i+1], 10, 64); fields[i] == "mem" && err == nil {
				f.Note = fmt.Sprintf("they hold %s, host-wide", size(pages*uint64(os.Getpagesize())))
			}
		}
		facts = append(facts, f)
	}
	return facts, nil
}

// memoryFacts tells whether the host is short of memory.
func memoryFacts(*collector) ([]Fact, error) {
	text, err := readFile("/proc/meminfo")
	if err != nil {
		return nil, err
	}
	kib := map[string]uint64{}
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) >= 2 {
			kib[strings.TrimSuffix(f[0], ":")], _ = strconv.ParseUint(f[1], 10, 64)
		}
	}
	total, free := kib["MemTotal"], kib["MemAvailable"]
	f := Fact{Name: "memory available", Value: fmt.Sprintf("%s of %s", size(free<<10), size(total<<10))}
	if free < total/20 {
		f.Note = "less than 5 %: allocations may fail"
	}
	facts := []Fact{f}
	if text, err := readFile("/proc/pressure/memory"); err == nil {
		line, _, _ := strings.Cut(text, "\n")
		facts = append(facts, Fact{Name: "memory pressure", Value: line, Note: "avg10: percent of the last 10 s that something waited for memory"})
	}
	return facts, nil
}

// xfrmFacts lists the IPsec errors that are not zero.
func xfrmFacts(*collector) ([]Fact, error) {
	text, err := netFile("xfrm_stat")
	if err != nil {
		return nil, err
	}
	var facts []Fact
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) == 2 && f[1] != "0" {
			facts = append(facts, Fact{Name: f[0], Value: f[1], Note: xfrmNote(f[0])})
		}
	}
	if len(facts) == 0 {
		facts = append(facts, Fact{Name: "IPsec errors", Value: "none"})
	}
	return facts, nil
}

func xfrmNote(name string) string {
	switch name {
	case "XfrmInNoPols":
		return "decrypted, but no policy expects it"
	case "XfrmInTmplMismatch":
		return "came in clear or by another tunnel than the policy demands"
	case "XfrmInPolBlock", "XfrmOutPolBlock":
		return "a policy says block"
	case "XfrmInNoStates", "XfrmOutNoStates":
		return "no security association: is the tunnel up?"
	case "XfrmInStateProtoError":
		return "wrong key or damaged"
	case "XfrmInStateSeqError":
		return "outside the replay window"
	}
	return ""
}

// lsmFacts names the security modules in force.
func lsmFacts(*collector) ([]Fact, error) {
	text, err := readFile("/sys/kernel/security/lsm")
	if err != nil {
		return nil, err
	}
	return []Fact{{Name: "security modules", Value: strings.TrimSpace(text)}}, nil
}

// conntrackFacts tells how full the connection table is and what it refused.
func conntrackFacts(*collector) ([]Fact, error) {
	read := func(name string) (uint64, error) {
		text, err := readFile("/proc/sys/net/netfilter/" + name)
		if err != nil {
			return 0, err
		}
		return strconv.ParseUint(strings.TrimSpace(text), 10, 64)
	}
	count, err := read("nf_conntrack_count")
	if err != nil {
		return nil, err
	}
	limit, err := read("nf_conntrack_max")
	if err != nil {
		return nil, err
	}
	f := Fact{Name: "conntrack entries", Value: fmt.Sprintf("%d of %d", count, limit)}
	switch {
	case limit > 0 && count >= limit:
		f.Note = "the table is full: new connections are dropped"
	case limit > 0 && count > limit/10*9:
		f.Note = "more than nine tenths full"
	}
	facts := []Fact{f}
	if text, err := netFile("stat/nf_conntrack"); err == nil { // not built in everywhere
		facts = append(facts, conntrackRefusals(text)...)
	}
	return facts, nil
}

func conntrackRefusals(text string) []Fact {
	sums := sumColumns(text)
	var facts []Fact
	for _, s := range []struct{ column, note string }{
		{"drop", "packets dropped because no entry could be made"},
		{"early_drop", "entries thrown out early to make room"},
		{"insert_failed", "entries that clashed with another, common in DNS"},
		{"invalid", "packets that fit no connection; a rule may drop them"},
	} {
		if n := sums[s.column]; n > 0 {
			facts = append(facts, Fact{Name: "conntrack " + s.column, Value: fmt.Sprint(n), Note: s.note})
		}
	}
	return facts
}

// sumColumns adds up a table of hexadecimal numbers, a line a CPU, by the names
// in its first line.
func sumColumns(text string) map[string]uint64 {
	sums := map[string]uint64{}
	var names []string
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if names == nil {
			names = f
			continue
		}
		for i := 0; i < min(len(f), len(names)); i++ {
			if n, err := strconv.ParseUint(f[i], 16, 64); err == nil {
				sums[names[i]] += n
			}
		}
	}
	return sums
}
