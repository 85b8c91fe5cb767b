package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// results is everything that was measured.
type results struct {
	cfg   config
	began time.Time

	events     map[string]*eventCost
	eventOrder []string

	rates map[string][armsEnd][]rate // by workload

	starts, startCPU []float64 // ms
	idleCPU          float64   // % of a core
	idleEvents       float64   // a second, of the host's own
	maps             []kernelMap
	allocations      []allocation

	idleMemory, flowMemory, loadMemory, stormMemory, peakMemory uint64 // bytes
}

// The aims. What is measured over an empty program is in ns an event.
const (
	aimDropNS    = 60
	aimFlowNS    = 80
	aimRatePct   = 8
	aimPacketNS  = 200
	aimMemoryMB  = 60
	aimIdlePct   = 1
	aimStartMS   = 300
	aimAllocated = 0
)

// median returns the middle of values, or the mean of the two in the middle;
// NaN if there are none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(values))
	return (s[len(s)/2] + s[(len(s)-1)/2]) / 2
}

// span is a median with the range around it.
func span(values []float64, format string) string {
	if len(values) == 0 {
		return "–"
	}
	if len(values) == 1 {
		return fmt.Sprintf(format, values[0])
	}
	return fmt.Sprintf(format+" ("+format+" to "+format+")", median(values), slices.Min(values), slices.Max(values))
}

// versus compares two arms round by round.
func versus(a, b []rate, f func(a, b rate) float64) []float64 {
	values := make([]float64, min(len(a), len(b)))
	for i := range values {
		values[i] = f(a[i], b[i])
	}
	return values
}

// lostRate is how much slower b is than a, in percent.
func lostRate(a, b rate) float64 { return 100 * (1 - b.perSecond/a.perSecond) }

// addedCPU is how many ns of CPU time a packet takes more in b than in a.
func addedCPU(a, b rate) float64 { return b.cpu - a.cpu }

func column(rates []rate, f func(rate) float64) []float64 {
	values := make([]float64, len(rates))
	for i, r := range rates {
		values[i] = f(r)
	}
	return values
}

// verdict says whether a median keeps to its aim.
func verdict(value, aim float64) string {
	switch {
	case math.IsNaN(value):
		return "not measured"
	case value <= aim:
		return "met"
	}
	return "**missed**"
}

const megabyte = 1 << 20

// markdown returns all results as tables.
func (r *results) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured on %s with `%s`: %s.\n", r.began.UTC().Format(time.DateOnly), r.command(), machine())
	fmt.Fprintf(&b, "Medians of %d rounds, with the range. %s\n\n", r.cfg.rounds, r.noise())
	r.writeAims(&b)
	r.writeEvents(&b)
	r.writeRates(&b)
	r.writeResident(&b)
	return b.String()
}

func (r *results) command() string {
	switch r.cfg.rounds {
	case 1:
		return "bin/bench -quick"
	case 15:
		return "bin/bench -long"
	}
	return "make bench"
}

// noise says how much the machine's speed changed by itself.
func (r *results) noise() string {
	var spread []float64
	for _, arms := range r.rates {
		v := column(arms[off], func(r rate) float64 { return r.perSecond })
		if len(v) > 1 {
			spread = append(spread, 100*(slices.Max(v)-slices.Min(v))/median(v))
		}
	}
	if len(spread) == 0 {
		return ""
	}
	return fmt.Sprintf("With nothing attached, rates differed by %.0f %% from round to round: differences below that are noise.", median(spread))
}

// writeAims sets each aim beside what was measured.
func (r *results) writeAims(b *strings.Builder) {
	flood, closed := workloads()[0].name, workloads()[2].name
	over := func(hook, workload string) []float64 {
		if c := r.events[hook+", "+workload]; c != nil {
			return c.over
		}
		return nil
	}
	arms := r.rates[flood]
	lost, added := versus(arms[off], arms[on], lostRate), versus(arms[off], arms[on], addedCPU)
	resident := []float64{float64(r.flowMemory) / megabyte}
	allocated := 0.0
	for _, a := range r.allocations {
		allocated = max(allocated, math.Round(a.perEvent*100)/100)
	}
	rows := []struct {
		what, unit string
		aim        float64
		got        []float64
	}{
		{"drop count, over an empty program", "ns", aimDropNS, over("kfree_skb", closed)},
		{"flow accounting, over an empty program: received", "ns", aimFlowNS, over("netif_receive_skb", flood)},
		{"flow accounting, over an empty program: sent", "ns", aimFlowNS, over("net_dev_start_xmit", flood)},
		{"rate of a 64-byte UDP flood lost", "%", aimRatePct, lost},
		{"CPU time of a packet added: received only", "ns", aimPacketNS, r.oneEnd(receiveHooks())},
		{"CPU time of a packet added: sent only", "ns", aimPacketNS, r.oneEnd(sendHooks())},
		{"CPU time of a packet added: sent and received on this host", "ns", aimPacketNS, added},
		{"resident memory at 5,000 flows a second", "MB", aimMemoryMB, resident},
		{"CPU when idle, of a core", "%", aimIdlePct, []float64{r.idleCPU}},
		{"start to attached", "ms", aimStartMS, r.starts},
		{"allocations of decode and poll, an event", "", aimAllocated, []float64{allocated}},
	}
	b.WriteString("### Aims\n\n| what | aim, at most | measured | |\n| --- | --- | --- | --- |\n")
	for _, row := range rows {
		format := "%.0f"
		if row.unit == "%" || row.unit == "" {
			format = "%.2f"
		}
		fmt.Fprintf(b, "| %s | %g %s | %s | %s |\n", row.what, row.aim, row.unit, span(row.got, format), verdict(median(row.got), row.aim))
	}
}

// receiveHooks and sendHooks are what a packet passes that this host receives,
// or sends.
func receiveHooks() []string { return []string{"netif_receive_skb", "sock_recv_length"} }
func sendHooks() []string    { return []string{"net_dev_start_xmit", "net_dev_xmit", "sock_send_length"} }

// oneEnd is what a packet costs a host that only receives it, or only sends
// it: for each hook the call of a program, which is that of an empty one by the
// rates, and what netfate's takes over an empty one, and netfate's own time. It
// is put together from both tables, since a bench on one host has both ends.
func (r *results) oneEnd(hooks []string) []float64 {
	flood := workloads()[0].name
	arms := r.rates[flood]
	call := median(versus(arms[off], arms[hollow], addedCPU)) / float64(len(receiveHooks())+len(sendHooks()))
	sum := median(column(arms[on], func(r rate) float64 { return r.netfate }))
	for _, hook := range hooks {
		c := r.events[hook+", "+flood]
		if c == nil {
			return nil
		}
		sum += call + median(c.over)
	}
	return []float64{sum}
}

func (r *results) writeEvents(b *strings.Builder) {
	b.WriteString("\n### Each program beside an empty one\n\n" +
		"ns an event, by the kernel's statistics of programs, on the same events at the same time.\n\n" +
		"| hook | traffic | netfate | empty | over |\n| --- | --- | --- | --- | --- |\n")
	for _, key := range r.eventOrder {
		c := r.events[key]
		fmt.Fprintf(b, "| `%s` | %s | %.0f | %.0f | %s |\n", c.hook, c.workload, median(c.program), median(c.empty), span(c.over, "%.0f"))
	}
}

func (r *results) writeRates(b *strings.Builder) {
	b.WriteString("\n### Rates and CPU time\n\n" +
		"Over a veth, sender and receiver on this host, so that every packet passes netfate's programs as sent and as received. " +
		"They take turns on one CPU, so that the rate is the inverse of what a packet costs there. *empty* has empty programs on the same hooks: what any tracing there costs. CPU time is that of sender, receiver, the kernel's " +
		"packet threads and netfate; TCP's packets are of 1,448 bytes.\n\n" +
		"| traffic | thousand packets/s: off | empty | netfate | lost, % | CPU ns/packet: off | added by empty | added by netfate | of that, netfate itself |\n" +
		"| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	perSecond := func(r rate) float64 { return r.perSecond / 1000 }
	for _, l := range workloads() {
		a := r.rates[l.name]
		fmt.Fprintf(b, "| %s | %s | %.0f | %.0f | %s | %s | %s | %s | %.0f |\n", l.name,
			span(column(a[off], perSecond), "%.0f"), median(column(a[hollow], perSecond)), median(column(a[on], perSecond)),
			span(versus(a[off], a[on], lostRate), "%.1f"),
			span(column(a[off], func(r rate) float64 { return r.cpu }), "%.0f"),
			span(versus(a[off], a[hollow], addedCPU), "%.0f"), span(versus(a[off], a[on], addedCPU), "%.0f"),
			median(column(a[on], func(r rate) float64 { return r.netfate })))
	}
	b.WriteString("\nThe same by the busy time of the whole machine, which other work on it spoils:\n\n" +
		"| traffic | CPU ns/packet: off | empty | netfate |\n| --- | --- | --- | --- |\n")
	machine := func(r rate) float64 { return r.machine }
	for _, l := range workloads() {
		a := r.rates[l.name]
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", l.name, span(column(a[off], machine), "%.0f"),
			span(column(a[hollow], machine), "%.0f"), span(column(a[on], machine), "%.0f"))
	}
}

func (r *results) writeResident(b *strings.Builder) {
	var kernel uint64
	for _, m := range r.maps {
		kernel += m.bytes
	}
	fmt.Fprintf(b, "\n### Memory, idling, starting\n\n| what | |\n| --- | --- |\n")
	fmt.Fprintf(b, "| resident when idle | %.1f MB |\n", float64(r.idleMemory)/megabyte)
	fmt.Fprintf(b, "| resident at 5,000 flows a second | %.1f MB |\n", float64(r.flowMemory)/megabyte)
	fmt.Fprintf(b, "| resident at 5,000 flows and as many drops a second | %.1f MB |\n", float64(r.loadMemory)/megabyte)
	fmt.Fprintf(b, "| resident at %d flows and as many drops a second | %.1f MB |\n", storm, float64(r.stormMemory)/megabyte)
	fmt.Fprintf(b, "| resident at the most, in all of that | %.1f MB |\n", float64(r.peakMemory)/megabyte)
	fmt.Fprintf(b, "| kernel memory of its maps | %.1f MB |\n", float64(kernel)/megabyte)
	fmt.Fprintf(b, "| CPU when idle, %v | %.2f %% of a core, with %.0f events a second of the host's own |\n", r.cfg.idle, r.idleCPU, r.idleEvents)
	fmt.Fprintf(b, "| start to attached | %s ms |\n", span(r.starts, "%.0f"))
	fmt.Fprintf(b, "| CPU time until then | %s ms |\n", span(r.startCPU, "%.0f"))
	for _, a := range r.allocations {
		fmt.Fprintf(b, "| allocations: %s | %.3f (of %d) |\n", a.what, a.perEvent, a.events)
	}
	b.WriteString("\nThe largest maps:")
	for i, m := range r.maps[:min(len(r.maps), 8)] {
		if i > 0 {
			b.WriteString(",")
		}
		fmt.Fprintf(b, " `%s` %.1f MB", m.name, float64(m.bytes)/megabyte)
	}
	b.WriteString(".\n")
}
