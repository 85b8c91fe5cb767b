package main

import (
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/netfate/netfate/test/bench/peers"
)

func of(events, bytes uint64) peers.Count { return peers.Count{Events: events, Bytes: bytes} }

func TestJudge(t *testing.T) {
	for name, c := range map[string]struct {
		truth, told peers.Told
		within      float64
		seen        float64
		right       int
	}{
		"all of it":            {peers.Told{"a": of(10, 460), "b": of(30, 0)}, peers.Told{"a": of(10, 460), "b": of(30, 0)}, 0, 100, 2},
		"nothing":              {peers.Told{"a": of(10, 460), "b": of(30, 0)}, peers.Told{"c": of(10, 460)}, 0, 0, 0},
		"some of one":          {peers.Told{"a": of(10, 460), "b": of(30, 0)}, peers.Told{"a": of(10, 460), "b": of(10, 0)}, 0, 50, 1},
		"more than there was":  {peers.Told{"a": of(10, 0)}, peers.Told{"a": of(11, 0)}, 0, 110, 0},
		"events without bytes": {peers.Told{"a": of(10, 460)}, peers.Told{"a": of(10, 0)}, 0, 100, 1},
		"other bytes":          {peers.Told{"a": of(10, 460)}, peers.Told{"a": of(10, 461)}, 0, 100, 0},
		"bytes with headers":   {peers.Told{"a": of(0, 1000), "b": of(0, 1000)}, peers.Told{"a": of(0, 1100), "b": of(0, 999)}, 0.1, 99.95, 1},
	} {
		seen, right := judge(c.truth, c.told, c.within)
		if math.Abs(seen-c.seen) > 1e-9 || right != c.right {
			t.Errorf("%s: got %v %% and %d right, want %v and %d", name, seen, right, c.seen, c.right)
		}
	}
}

// withFigures is a job in which netfate and a peer were measured.
func withFigures(name peers.Job, ours, theirs sideArm) *sideJob {
	ours.tool.Name, theirs.tool.Name = "netfate", "peer"
	return &sideJob{job: job{name: name, event: "packet"}, noise: &sideArm{added: []float64{0.1, -0.3}}, arms: []*sideArm{&ours, &theirs}}
}

func TestCompare(t *testing.T) {
	better := sideArm{added: []float64{1}, own: []float64{1}, seen: []float64{100}, right: []float64{5}, keys: 5, memory: 1 << 20, run: 50, runs: 1, start: []float64{10}}
	worse := sideArm{added: []float64{2}, own: []float64{2}, seen: []float64{90}, right: []float64{4}, keys: 5, memory: 1 << 21, run: 90, runs: 1, start: []float64{20}}
	for _, c := range figures() {
		if _, _, who := withFigures(peers.Drops, better, worse).compare(c); who != "" {
			t.Errorf("%s: netfate is better, got %q first", c.name, who)
		}
		if ours, best, who := withFigures(peers.Drops, worse, better).compare(c); who != "peer" || ours == best {
			t.Errorf("%s: netfate is worse, got %q first with %v to %v", c.name, who, best, ours)
		}
	}
	near := better
	near.added = []float64{1.2}
	if _, _, who := withFigures(peers.Drops, near, better).compare(figures()[0]); who != "" {
		t.Errorf("a difference within the noise: got %q first", who)
	}
	gone := better
	gone.absent = "failed"
	if _, _, who := withFigures(peers.Drops, worse, gone).compare(figures()[0]); who != "" {
		t.Errorf("a peer that failed: got %q first", who)
	}
}

// TestReasonsAreOfColumns holds that no reason is kept for what is no column of a job.
func TestReasonsAreOfColumns(t *testing.T) {
	for at := range reasons() {
		known := slices.ContainsFunc(figures(), func(f figure) bool { return f.name == at.column })
		if !known || !slices.Contains(peers.Jobs(), at.job) {
			t.Errorf("a reason is kept for %s in %s, which is no column", at.column, at.job)
		}
	}
}

// TestJudgeSaysWhatDisagrees sees that a run tells of reasons that are missing or in vain.
func TestJudgeSaysWhatDisagrees(t *testing.T) {
	a := sideArm{added: []float64{1}, own: []float64{1}, seen: []float64{100}, right: []float64{5}, keys: 5, memory: 1 << 20}
	b := a
	b.seen, b.memory = []float64{50}, 1<<19
	for _, c := range []struct {
		ours, theirs sideArm
		want         string
	}{
		{a, b, "**memory**: peer is first, 0.5 to netfate's 1: "},
		{b, a, "**memory**: netfate is first in this run, although a reason why not is kept"},
		{b, a, "**seen**: peer is first, 100 to netfate's 50, and **no reason is known**"},
		{a, b, "**start**: netfate has no figure"},
	} {
		lines := strings.Join(withFigures(peers.Drops, c.ours, c.theirs).judge(), "\n")
		if !strings.Contains(lines, c.want) {
			t.Errorf("got no line %q:\n%s", c.want, lines)
		}
	}
}

// TestAbsentPeersAreNamed sees that every tool has its row, and the table its columns.
func TestAbsentPeersAreNamed(t *testing.T) {
	gone := sideArm{absent: "absent: not here"}
	j := withFigures(peers.Drops, sideArm{added: []float64{1, 2}}, gone)
	var b strings.Builder
	j.markdown(&b)
	text := b.String()
	if !strings.Contains(text, "| peer | absent: not here |") || !strings.Contains(text, "| CPU added, us a packet |") {
		t.Errorf("got no row or no column:\n%s", text)
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "|") && strings.Count(line, "|") != len(figures())+2 {
			t.Errorf("got a row of other columns than the %d there are: %s", len(figures())+1, line)
		}
	}
}

// TestNameMessages has another reader read the questions and answers.
func TestNameMessages(t *testing.T) {
	seen := map[string]bool{}
	for _, word := range words() {
		q, a := nameMessages(word)
		var question, answer dns.Msg
		if err := question.Unpack(q); err != nil {
			t.Fatalf("%s: question: %v", word, err)
		}
		if err := answer.Unpack(a); err != nil {
			t.Fatalf("%s: answer: %v", word, err)
		}
		if got := question.Question[0].Name; got != nameOf(word)+"." || seen[got] {
			t.Errorf("%s: got name %q, or twice", word, got)
		}
		seen[question.Question[0].Name] = true
		if answer.Id != question.Id || len(answer.Answer) != 1 {
			t.Errorf("%s: got number %d and %d answers to number %d", word, answer.Id, len(answer.Answer), question.Id)
		}
	}
	if len(seen) != 50 {
		t.Errorf("got %d names, want 50", len(seen))
	}
}

// TestPortsAreApart holds that what is filtered is no port that nobody listens on.
func TestPortsAreApart(t *testing.T) {
	for _, port := range []uint16{filteredPort, filteredPort + 2} {
		if port == closedPort || port == closedPort+2 {
			t.Errorf("port %d is filtered and closed", port)
		}
	}
	if to := destinations(workload{flows: 1000, port: openPort}); !netip.MustParsePrefix(manyNet).Contains(to[999].Addr()) {
		t.Errorf("the last flow goes to %v, outside of %s", to[999], manyNet)
	}
}
