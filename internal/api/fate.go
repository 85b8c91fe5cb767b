package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/record"
)

type fateInput struct {
	Selection
	Reader
	Scope string `query:"scope" default:"host" maxLength:"80" doc:"Whose books: host, netns:INODE, or if:INODE/NAME."`
}

// Fate is where the packets of a range went.
type Fate struct {
	Entries   []json.RawMessage `json:"entries" nullable:"false" doc:"Lines of the ledger, summed up over the range, in the order in which packets pass; fields as in rows."`
	Links     []Link            `json:"links" nullable:"false" doc:"The same as a flow from station to station."`
	Packets   int64             `json:"packets" doc:"What came, in and out."`
	Remainder int64             `json:"remainder_packets" doc:"Of these, what nothing explains: negative if more went than came."`
	Cut       bool              `json:"cut" doc:"True if there are more lines than are told."`
	Lost      []Loss            `json:"lost" nullable:"false" doc:"What netfate lost in that time: it spoils these numbers."`
}

// Link is packets that go from one station to another, or end there.
type Link struct {
	From    string         `json:"from" doc:"Direction and station: in/device."`
	To      string         `json:"to" doc:"Likewise; or delivered, forwarded, the reason of a loss."`
	Packets int64          `json:"packets"`
	Bytes   *int64         `json:"bytes" doc:"Always null: the kernel's counters have no bytes of most stations."`
	Kind    string         `json:"kind" enum:"pass,loss,remainder"`
	Verdict record.Verdict `json:"verdict" doc:"Of a loss."`
	Reason  string         `json:"reason" doc:"Of a loss."`
}

type fateAnswer struct{ Body Fate }

const (
	// maxLines bounds the lines of one book; a host with every protocol has some 300.
	maxLines = 2000
	// totalStation is the one that adds all others up (package ledger).
	totalStation = "total"
)

// lineFields are what lines of several intervals are told apart by. Numbers that
// only some have, and what the last interval says, are in rows.
func lineFields() []string {
	return []string{"direction", "station", "layer", "line", "what", "unit", "counter", "verdict", "why"}
}

func (s *Server) fate(ctx context.Context, in *fateInput) (*fateAnswer, error) {
	q, err := in.question(history.Ledger, s.now())
	if err != nil {
		return nil, err
	}
	scoped, err := scope(in.Scope)
	if err != nil {
		return nil, bad("scope", in.Scope, err)
	}
	q.By, q.Measure, q.Limit = lineFields(), "packets", maxLines
	q.Where = append(q.Where, scoped...)
	return ask(ctx, s, func(ctx context.Context) (*fateAnswer, error) {
		lines, cut, err := s.lines(ctx, q)
		if err != nil {
			return nil, err
		}
		if in.Scope == "host" {
			// The host's own book is what its namespaces' come to; which stations that
			// passes is in theirs.
			q.Where = append(q.Where[:len(q.Where)-1], history.Condition{Field: "scope", Values: []string{string(record.HostScope)}, Not: true},
				history.Condition{Field: "station", Values: []string{totalStation}, Not: true})
			stations, more, err := s.lines(ctx, q)
			if err != nil {
				return nil, err
			}
			lines, cut = append(stations, lines...), cut || more
		}
		out := Fate{Entries: []json.RawMessage{}, Links: links(lines), Cut: cut}
		slices.SortStableFunc(lines, pass1st)
		fields, book := record.Fields(record.Entry{}), s.book(in.Reader)
		for i := range lines {
			e := &lines[i]
			e.Time, e.Start, e.Why = q.Until, q.Since, book.Reworded(e.Why)
			out.Entries = append(out.Entries, record.AppendJSON(nil, fields, e, false))
			if e.Station == totalStation && e.Line == record.Came {
				out.Packets += e.Packets
			}
			if e.Station == totalStation && e.Line == record.Remainder {
				out.Remainder += e.Packets
			}
		}
		out.Lost, err = s.spoils(ctx, q)
		return &fateAnswer{out}, err
	})
}

// scope reads whose books are asked for.
func scope(text string) ([]history.Condition, error) {
	is := func(field, value string) history.Condition {
		return history.Condition{Field: field, Values: []string{value}}
	}
	kind, rest, _ := strings.Cut(text, ":")
	inode, name, _ := strings.Cut(rest, "/")
	_, err := strconv.ParseUint(inode, 10, 32)
	switch {
	case text == "host":
		return []history.Condition{is("scope", string(record.HostScope))}, nil
	case kind == "netns" && err == nil && name == "":
		return []history.Condition{is("netns", inode)}, nil
	case kind == "if" && err == nil && name != "" && !strings.ContainsAny(name, "|*"):
		return []history.Condition{is("netns", inode), is("scope", string(record.InterfaceScope)), is("ifname", name)}, nil
	}
	return nil, errors.New("neither host nor netns:INODE nor if:INODE/NAME")
}

// lines returns the sums of a book; cut says that some found no room.
func (s *Server) lines(ctx context.Context, q history.Question) (lines []record.Entry, cut bool, err error) {
	t, err := s.cfg.Store.Groups(ctx, q)
	if err != nil {
		return nil, false, err
	}
	at := columnsOf(t)
	for _, row := range t.Rows {
		get := func(name string) string { return text(at(row, name)) }
		if get("direction") == "~other" {
			cut = true
			continue
		}
		lines = append(lines, record.Entry{
			Host: s.cfg.About.Host, Direction: record.Direction(get("direction")), Station: get("station"), Layer: record.Layer(get("layer")),
			Line: record.Line(get("line")), What: get("what"), Unit: get("unit"), Counter: get("counter"), Verdict: record.Verdict(get("verdict")),
			Why: get("why"), Packets: int64(number(at(row, "packets"))),
		})
	}
	return lines, cut, nil
}

// way returns the stations of a direction in the order in which packets pass.
func way(d record.Direction) []string {
	if d == record.Out {
		return []string{"transport", "ip", "bridge", "queue", "device"}
	}
	return []string{"device", "softnet", "ingress", "bridge", "ip", "transport"}
}

// lineOrder is the order of lines within a station.
func lineOrder() []record.Line {
	return []record.Line{
		record.Came, record.Passed, record.Delivered, record.Forwarded, record.Taken, record.Merged, record.Waiting, record.Ignored, record.LostLine, record.Remainder,
	}
}

// pass1st orders lines as packets pass: in before out, stations in their order, the
// total last.
func pass1st(a, b record.Entry) int {
	return cmp.Or(
		cmp.Compare(a.Direction, b.Direction),
		cmp.Compare(place(&a), place(&b)),
		cmp.Compare(a.Station, b.Station),
		cmp.Compare(slices.Index(lineOrder(), a.Line), slices.Index(lineOrder(), b.Line)),
		cmp.Compare(b.Packets, a.Packets),
		cmp.Compare(a.What, b.What),
	)
}

func place(e *record.Entry) int {
	if e.Station == totalStation {
		return 100
	}
	if i := slices.Index(way(e.Direction), e.Station); i >= 0 {
		return i
	}
	return 50 // a station that came with a later release
}

// links makes a flow of the lines: from each station to the next one that there is,
// or to where they ended. A remainder flows too, be it negative.
func links(lines []record.Entry) []Link {
	there := map[[2]string]bool{}
	for i := range lines {
		there[[2]string{string(lines[i].Direction), lines[i].Station}] = true
	}
	sums := map[Link]int64{}
	var order []Link
	for i := range lines {
		e := &lines[i]
		if e.Station == totalStation || e.Line == record.Came || e.Packets == 0 {
			continue
		}
		l := link(e, there)
		if _, ok := sums[l]; !ok {
			order = append(order, l)
		}
		sums[l] += e.Packets
	}
	out := []Link{}
	for _, l := range order {
		n := sums[l]
		l.Packets = n
		out = append(out, l)
	}
	slices.SortStableFunc(out, func(a, b Link) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(b.Packets, a.Packets), cmp.Compare(a.To, b.To))
	})
	return out
}

// link returns where a line leads, without its packets.
func link(e *record.Entry, there map[[2]string]bool) Link {
	l := Link{From: fmt.Sprintf("%s/%s", e.Direction, e.Station), Kind: "pass", To: string(e.Line)}
	switch e.Line {
	case record.LostLine:
		l.Kind, l.To, l.Reason, l.Verdict = "loss", cmp.Or(e.What, string(record.LostLine)), e.What, e.Verdict
	case record.Remainder:
		l.Kind, l.To = "remainder", "unexplained"
	case record.Passed:
		stations := way(e.Direction)
		for _, next := range stations[slices.Index(stations, e.Station)+1:] {
			if there[[2]string{string(e.Direction), next}] && next != "bridge" {
				l.To = fmt.Sprintf("%s/%s", e.Direction, next)
				break
			}
		}
	}
	return l
}
