package main

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/netfate/netfate/test/bench/peers"
)

// figure is one column of a job's table.
type figure struct {
	name   string
	title  string                 // with EVENT for what events are
	more   bool                   // is better than less
	margin float64                // differences up to this are none, in parts of the better one
	value  func(*sideArm) float64 // NaN if there is none
	text   func(*sideArm) string
}

func figures() []figure {
	return []figure{
		{"added", "CPU added, us a EVENT", false, 0, func(a *sideArm) float64 { return median(a.added) }, func(a *sideArm) string { return span(a.added, "%.2f") }},
		{
			"best", "at best", false, 0, func(a *sideArm) float64 { return least(a.added) },
			func(a *sideArm) string { return shown(least(a.added), "%.2f") },
		},
		{"own", "its own, us", false, 0.05, func(a *sideArm) float64 { return median(a.own) }, func(a *sideArm) string { return shown(median(a.own), "%.2f") }},
		{"seen", "seen, %", true, 0.0005, func(a *sideArm) float64 { return min(100, median(a.seen)) }, func(a *sideArm) string { return shown(median(a.seen), "%.1f") }},
		{
			"right", "right", true, 0, func(a *sideArm) float64 { return median(a.right) },
			func(a *sideArm) string { return fmt.Sprintf("%.0f of %d", median(a.right), a.keys) },
		},
		{"memory", "memory, MB", false, 0.05, func(a *sideArm) float64 { return positive(float64(a.memory) / megabyte) }, func(a *sideArm) string { return fmt.Sprintf("%.1f", float64(a.memory)/megabyte) }},
		{
			"run", "ns a BPF run", false, 0.05, func(a *sideArm) float64 { return positive(a.run) },
			func(a *sideArm) string { return fmt.Sprintf("%.0f (%.1f runs)", a.run, a.runs) },
		},
		{"start", "start, ms", false, 0.05, func(a *sideArm) float64 { return median(a.start) }, func(a *sideArm) string { return span(a.start, "%.0f") }},
	}
}

func least(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	return slices.Min(values)
}

// positive turns what was not measured into NaN.
func positive(v float64) float64 {
	if v == 0 {
		return math.NaN()
	}
	return v
}

func shown(v float64, format string) string {
	if math.IsNaN(v) {
		return "–"
	}
	return fmt.Sprintf(format, v)
}

// markdown returns a table a job, and why netfate is not first where it is not.
func (s *side) markdown() string {
	var b strings.Builder
	load := "unknown"
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		load, _, _ = strings.Cut(string(text), " ")
	}
	fmt.Fprintf(&b, "Measured on %s with `make bench-peers`: %s; load %s at the end, of which this is a part. Medians of %d rounds of %v, with the range.\n\n",
		s.began.UTC().Format(time.DateOnly), machine(), load, s.cfg.rounds, s.cfg.slice)
	b.WriteString("Versions: " + strings.Join(s.versions(), ", ") + ".\n")
	for _, j := range s.jobs {
		j.markdown(&b)
	}
	return b.String()
}

// versions returns each tool with its version.
func (s *side) versions() (all []string) {
	for _, j := range s.jobs {
		for _, a := range j.arms {
			if text := a.tool.Name + " " + a.version; a.version != "" && !slices.Contains(all, text) {
				all = append(all, text)
			}
		}
	}
	return all
}

func (j *sideJob) markdown(b *strings.Builder) {
	fmt.Fprintf(b, "\n## %s\n\n%s\n\n| tool |", j.title, j.text)
	for _, c := range figures() {
		fmt.Fprintf(b, " %s |", strings.ReplaceAll(c.title, "EVENT", j.event))
	}
	b.WriteString("\n|" + strings.Repeat(" --- |", len(figures())+1) + "\n")
	fmt.Fprintf(b, "| *nothing* | %s | %s |%s\n", span(j.noise.added, "%.2f"), shown(least(j.noise.added), "%.2f"), strings.Repeat(" – |", len(figures())-2))
	var absent []string
	for _, a := range j.arms {
		if a.absent != "" {
			absent = append(absent, fmt.Sprintf("| %s | %s |%s\n", a.tool.Name, a.absent, strings.Repeat(" |", len(figures())-1)))
			continue
		}
		fmt.Fprintf(b, "| %s |", a.tool.Name)
		for _, c := range figures() {
			text := "–"
			if !math.IsNaN(c.value(a)) {
				text = c.text(a)
			}
			fmt.Fprintf(b, " %s |", text)
		}
		b.WriteString("\n")
	}
	b.WriteString(strings.Join(absent, ""))
	fmt.Fprintf(b, "\nWith nothing a %s takes %s us. *nothing* is a round in which no tool is started: what it is said to cost is noise.\n\n", j.event, span(j.base, "%.2f"))
	for _, line := range j.judge() {
		b.WriteString("- " + line + "\n")
	}
	b.WriteString("\nHow each was started:\n\n")
	for _, a := range j.arms {
		if r, does := a.tool.Does[j.name]; does {
			fmt.Fprintf(b, "- `%s`: %s.\n", commandLine(a.tool, r), r.Why)
		}
	}
}

// commandLine is a recipe as one types it, on one line.
func commandLine(t peers.Tool, r peers.Recipe) string {
	name := t.Name
	if t.Command != "" && !strings.Contains(t.Command, "/") {
		name = t.Command
	}
	words := []string{name}
	for _, arg := range r.Args {
		arg = strings.Join(strings.Fields(strings.ReplaceAll(arg, peers.Dir, "/tmp")), " ")
		if strings.ContainsAny(arg, " []$*;{}^") {
			arg = "'" + arg + "'"
		}
		words = append(words, arg)
	}
	return strings.Join(words, " ")
}

// judge says of each column whether netfate is first, and if not, why.
func (j *sideJob) judge() (lines []string) {
	var firsts []string
	for _, c := range figures() {
		ours, best, who := j.compare(c)
		reason, known := reasons()[jobColumn{j.name, c.name}]
		switch {
		case math.IsNaN(ours):
			lines = append(lines, fmt.Sprintf("**%s**: netfate has no figure", c.name))
		case who == "":
			firsts = append(firsts, c.name)
			if known {
				lines = append(lines, fmt.Sprintf("**%s**: netfate is first in this run, although a reason why not is kept: %s", c.name, reason))
			}
		case known:
			lines = append(lines, fmt.Sprintf("**%s**: %s is first, %.3g to netfate's %.3g: %s", c.name, who, best, ours, reason))
		default:
			lines = append(lines, fmt.Sprintf("**%s**: %s is first, %.3g to netfate's %.3g, and **no reason is known**", c.name, who, best, ours))
		}
	}
	if len(firsts) > 0 {
		lines = append([]string{"netfate is first, or as good as the best, in: " + strings.Join(firsts, ", ")}, lines...)
	}
	return lines
}

// compare returns netfate's figure, the best of its peers and whose that is, if it
// is better than netfate's by more than the margin; of added time, by more than the
// noise.
func (j *sideJob) compare(c figure) (ours, best float64, who string) {
	ours, best = math.NaN(), math.NaN()
	for i, a := range j.arms {
		v := c.value(a)
		switch {
		case a.absent != "" || math.IsNaN(v):
		case i == 0:
			ours = v
		case math.IsNaN(best), c.more && v > best, !c.more && v < best:
			best, who = v, a.tool.Name
		}
	}
	margin := c.margin * math.Abs(best)
	if c.name == "added" || c.name == "best" {
		margin = j.noiseOf()
	}
	if c.more && best-ours <= margin || !c.more && ours-best <= margin {
		who = ""
	}
	return ours, best, who
}

// noiseOf is how far nothing seemed to cost something, at the most.
func (j *sideJob) noiseOf() (most float64) {
	for _, v := range j.noise.added {
		most = max(most, math.Abs(v))
	}
	return most
}
