package table

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/record"
)

// sheets returns a sheet of each kind, with what it was made of.
func sheets(o Options) map[string]*Sheet {
	drops, flows, books := NewDropSums(0), NewFlowSums(byFlow, 0), NewLedgerSums("", 0)
	open, peers, failures := NewConnTable(false, 0), NewConnSums(byPeer, 0), NewFailures()
	requests, each := NewRequestSums(byPath, 0), NewRecentRequests()
	queries, questions := NewQuerySums(byName, 0), NewRecentQueries()
	for _, b := range slices.Concat(dropBatches(), flowBatches()) {
		drops.Add(b)
		flows.Add(b)
	}
	for _, b := range []*record.Batch{ledgerBatch(0), ledgerBatch(1)} {
		books.Add(b)
	}
	for _, b := range connBatches() {
		open.Add(b)
		peers.Add(b)
		failures.Add(b)
	}
	for _, b := range requestBatches() {
		requests.Add(b)
		each.Add(b)
	}
	for _, b := range queryBatches() {
		queries.Add(b)
		questions.Add(b)
	}
	return map[string]*Sheet{
		"drops": drops.Sheet(o), "flows": flows.Sheet(o), "books": books.Books(o), "losses": books.Losses(o),
		"open": open.Sheet(o), "peers": peers.Sheet(o), "failures": failures.Sheet(o),
		"requests": requests.Sheet(o), "each": each.Sheet(o), "queries": queries.Sheet(o), "questions": questions.Sheet(o),
	}
}

func whole(s *Sheet, selected int) Part {
	return Part{To: len(s.Rows), Selected: selected, Width: 79, Sorted: -1}
}

// Each sheet, drawn for 80 columns, with what found no room, and all of its first row.
func TestSheets(t *testing.T) {
	all := sheets(Options{Unicode: true, Width: 79, Why: why})
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	var out strings.Builder
	for _, name := range names {
		s := all[name]
		title, lines, hidden := s.Draw(whole(s, 0), &Widths{})
		fmt.Fprintf(&out, "== %s\n%s\n%s\n", name, s.Heading, title)
		for _, line := range slices.Concat(lines, []string{"--"}, hidden, []string{"--"}, s.Lost, s.Foot, []string{"--"}) {
			out.WriteString(line + "\n")
		}
		for _, f := range s.All(&s.Rows[0]) {
			fmt.Fprintf(&out, "%s: %s\n", f.Name, f.Text)
		}
	}
	golden(t, "sheets", out.String())
}

// The bars of what each layer lost, of what came to it.
func TestLedgerBars(t *testing.T) {
	m := NewLedgerSums("", 0)
	m.Add(ledgerBatch(0))
	var out strings.Builder
	for _, o := range []Options{{Width: 79, Unicode: true}, {Width: 50}, {Width: 79, Unicode: true, Colour: true}} {
		for _, way := range m.Bars(o) {
			out.WriteString(strings.Join(way, "\n") + "\n")
		}
	}
	golden(t, "bars", out.String())
}

// What is sorted is the number, not what is shown of it.
func TestSheetSorts(t *testing.T) {
	s := sheets(Options{})["drops"]
	packets := slices.Index(s.Titles(), "PACKETS")
	s.Sort(packets, true)
	var got []string
	for _, r := range s.Rows {
		got = append(got, r.row.cells[packets].text)
	}
	if want := []string{"24.7k", "50", "7", "2", "1", "1"}; !slices.Equal(got, want) {
		t.Errorf("by packets: got %v, want %v", got, want)
	}
	if !s.Numbers(packets) || s.Numbers(slices.Index(s.Titles(), "FLOW")) {
		t.Error("packets are numbers, flows are none")
	}
	title, _, _ := s.Draw(Part{To: len(s.Rows), Selected: -1, Sorted: packets, Down: true}, &Widths{})
	if !strings.Contains(title, "PACKETSv") {
		t.Errorf("got title %q, want the column marked", title)
	}
	verdict := slices.Index(s.Titles(), "VERDICT")
	s.Sort(verdict, false)
	if got := s.Rows[0].row.cells[verdict].text; got != "loss" {
		t.Errorf("by verdict: got %s first, want loss: the gravest", got)
	}
}

// All words must be in the row, in whatever case, also beyond what has room.
func TestSheetKeeps(t *testing.T) {
	for words, want := range map[string]int{"": 7, "dnsmasq": 1, "NFT_do UDP": 0, "nft_do ssh": 0, "policy 192.0.2.10": 1, "nowhere": 0} {
		s := sheets(Options{})["drops"]
		before := len(s.Rows)
		s.Keep(strings.Fields(words))
		if words == "" {
			want = before
		}
		if len(s.Rows) != want {
			t.Errorf("%q: got %d rows, want %d", words, len(s.Rows), want)
		}
	}
}

// A loss can be explained by what its row carries: the flow that lost most.
func TestSheetDrop(t *testing.T) {
	s := sheets(Options{})["drops"]
	for i := range s.Rows {
		if d := s.Rows[i].Drop; d != nil && d.Reason == "NETFILTER_DROP" {
			if d.Packets != 50 || d.SrcPort != 40000 {
				t.Errorf("got %d packets from port %d, want 50 of all flows and the port of the busiest, 40000", d.Packets, d.SrcPort)
			}
			return
		}
	}
	t.Error("no row can be explained")
}

// A sheet stays as it is while its sums go on.
func TestSheetIsFrozen(t *testing.T) {
	m := NewDropSums(0)
	for _, b := range dropBatches() {
		m.Add(b)
	}
	draw := func(s *Sheet) []string {
		title, lines, hidden := s.Draw(whole(s, 0), &Widths{})
		return slices.Concat([]string{s.Heading, title}, lines, hidden, s.Lost, s.Foot)
	}
	s := m.Sheet(Options{Width: 79})
	before := draw(s)
	for _, b := range dropBatches() {
		m.Add(b)
	}
	if d := cmp.Diff(before, draw(s)); d != "" {
		t.Errorf("the sheet changed (-before +after):\n%s", d)
	}
	if d := cmp.Diff(before, draw(m.Sheet(Options{Width: 79}))); d == "" {
		t.Error("a new sheet has no newer numbers")
	}
}

// Only so many single records are kept, and how many there were is told.
func TestRecentIsBounded(t *testing.T) {
	m := NewRecentQueries()
	b := &record.Batch{Start: at(0), End: at(1)}
	for i := range MaxRecent + 5 {
		b.Queries = append(b.Queries, record.Query{QName: fmt.Sprintf("n%d.example.com", i)})
	}
	m.Add(b)
	s := m.Sheet(Options{})
	if len(s.Rows) != MaxRecent || s.Rows[0].row.cells[2].text != "n1004.example.com" || s.Rows[MaxRecent-1].row.cells[2].text != "n5.example.com" {
		t.Errorf("got %d rows from %s to %s", len(s.Rows), s.Rows[0].row.cells[2].text, s.Rows[len(s.Rows)-1].row.cells[2].text)
	}
	if got := strings.Join(s.Foot, ""); !strings.Contains(got, "1.0k rows since") || !strings.Contains(got, "the last 1000") {
		t.Errorf("got foot %q, want how many there were", got)
	}
}
