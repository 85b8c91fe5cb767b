package table

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/netfate/netfate/internal/diff"
	"github.com/netfate/netfate/internal/record"
)

// Diff shows what differs between two sides; see NewDiff.
type Diff struct {
	out, errs io.Writer
	o         Options
}

// NewDiff returns the view of `netfate diff`: tables of losses, flows and owners,
// or records. What had no room and what was left out is told beneath the tables,
// and with records on errs. An error says what is wrong with the options.
func NewDiff(out, errs io.Writer, o Options) (*Diff, error) {
	switch o.Format {
	case Table, JSON, CSV, "":
		return &Diff{out: out, errs: errs, o: o}, nil
	}
	return nil, badFormat(o.Format)
}

// Show writes the report. The error is that of writing.
func (v *Diff) Show(r *diff.Report) error {
	if v.o.Format == JSON || v.o.Format == CSV {
		return v.records(r)
	}
	if _, err := io.WriteString(v.out, strings.Join(diffLines(r, &v.o), "\n")+"\n"); err != nil {
		return fmt.Errorf("write tables: %w", err)
	}
	return nil
}

func (v *Diff) records(r *diff.Report) error {
	rows := newRows(v.out, v.o.Format, record.Change{})
	rows.begin()
	for i := range r.Changes {
		rows.add(&r.Changes[i])
	}
	n := newNotes(v.errs, &v.o)
	for _, s := range diffFoot(r) {
		n.say(s)
	}
	n.batch(r.Before.Lost())
	n.batch(r.After.Lost())
	return rows.flush()
}

func diffLines(r *diff.Report, o *Options) []string {
	g := o.signs()
	lines := []string{g.cut("before: "+sideText(r.Before, &g), o.Width), g.cut("after:  "+sideText(r.After, &g), o.Width), ""}
	losses := grid{columns: lossColumns(), signs: g, colour: o.Colour}
	flows := grid{columns: trafficColumns("FLOW"), signs: g}
	owners := grid{columns: trafficColumns("OWNER"), signs: g}
	for i := range r.Changes {
		c := &r.Changes[i]
		switch c.What {
		case record.ChangedLoss:
			losses.rows = append(losses.rows, lossRow(c, &g))
		case record.ChangedFlow:
			flows.rows = append(flows.rows, trafficRow(c, changedFlow(c, &g), &g))
		case record.ChangedOwner:
			owners.rows = append(owners.rows, trafficRow(c, changedOwner(c, &g), &g))
		}
	}
	for _, t := range []*grid{&losses, &flows, &owners} {
		if len(t.rows) == 0 {
			continue
		}
		title, blocks := t.lines(o.Width)
		lines = append(lines, title)
		for _, block := range blocks {
			lines = append(lines, block...)
		}
		lines = append(lines, "")
	}
	if slices.ContainsFunc(r.Changes, func(c record.Change) bool { return c.Chance }) {
		lines = append(lines, g.cut("? so few packets that chance alone may explain it", o.Width))
	}
	for _, s := range diffFoot(r) {
		lines = append(lines, g.cut(s, o.Width))
	}
	var lost lostSums
	lost.add(r.Before.Lost())
	lost.add(r.After.Lost())
	return append(lines, lost.lines(o)...)
}

// sideText is "web1, 2026-03-14 03:00:00 to 03:01:00 UTC, 60 s".
func sideText(s *diff.Side, g *signs) string {
	text := ""
	if s.Host != "" {
		text = g.clean(s.Host) + ", "
	}
	end := "15:04:05"
	if s.Start.UTC().YearDay() != s.End.UTC().YearDay() || s.Start.UTC().Year() != s.End.UTC().Year() {
		end = "2006-01-02 15:04:05"
	}
	return text + s.Start.UTC().Format("2006-01-02 15:04:05") + " to " + s.End.UTC().Format(end) + " UTC, " + lasting(s.Span)
}

// diffFoot says in sentences what the rows do not.
func diffFoot(r *diff.Report) []string {
	changed := slices.ContainsFunc(r.Changes, func(c record.Change) bool { return c.What == record.ChangedLoss })
	var foot []string
	switch {
	case !changed && r.Same == 0:
		foot = append(foot, "no losses before, none after")
	case !changed:
		foot = append(foot, plural(uint64(r.Same), "place")+" lost as much as before, as far as chance lets one tell")
	case r.Same > 0:
		foot = append(foot, "not shown: "+plural(uint64(r.Same), "place")+" that lost as much as before, as far as chance lets one tell")
	}
	if r.Hidden > 0 {
		foot = append(foot, fmt.Sprintf("not shown: %s or owners that differ by less; a larger -n shows more", plural(uint64(r.Hidden), "flow")))
	}
	return foot
}

func lossColumns() []column {
	return []column{
		{title: "CHANGE"},
		{title: "VERDICT"},
		{title: "BEFORE", right: true},
		{title: "AFTER", right: true},
		{title: "PACKETS", right: true, rank: 1, label: "packets "},
		{title: "REASON", middle: true, min: 16},
		{title: "WHERE", middle: true, min: 18, rank: 2, label: "at "},
		{title: "INTERFACE", middle: true, min: 14, rank: 3, label: "on "},
		{title: "WHY", rank: 4},
	}
}

func lossRow(c *record.Change, g *signs) row {
	change, reason := c.Change, c.Reason
	if c.Chance {
		change += "?"
	}
	if reason == "" {
		reason = "(no reason)" // kernels before 5.17
	}
	if c.Subsystem != "" && c.Subsystem != "core" {
		reason = c.Subsystem + ":" + reason
	}
	where := place(&record.Endpoints{NetNSName: c.NetNSName, IfName: c.IfName})
	return row{
		cells: plainCells(change, g.clean(string(c.Verdict)), perSecond(c.PacketsBefore, beforeSpan(c)), perSecond(c.PacketsAfter, afterSpan(c)),
			count(c.PacketsBefore)+" "+g.to+" "+count(c.PacketsAfter), g.clean(reason), g.clean(c.Location), g.clean(where), g.clean(c.Why)),
		paint: paint(rank(c.Verdict)),
	}
}

func trafficColumns(what string) []column {
	return []column{
		{title: "CHANGE"},
		{title: "BEFORE", right: true},
		{title: "AFTER", right: true},
		{title: "TIMES", right: true, rank: 2},
		{title: "BYTES", right: true, rank: 1},
		{title: what, middle: true, min: 20},
	}
}

func trafficRow(c *record.Change, what cell, g *signs) row {
	cells := plainCells(c.Change, bitRate(c.BytesBefore, beforeSpan(c)), bitRate(c.BytesAfter, afterSpan(c)), timesText(c),
		size(c.BytesBefore)+" "+g.to+" "+size(c.BytesAfter))
	return row{cells: append(cells, what)}
}

// timesText is by how many times a rate of bytes changed: 2.5x, 0.1x.
func timesText(c *record.Change) string {
	if c.BytesBefore == 0 || c.BytesAfter == 0 {
		return "-"
	}
	times := float64(c.BytesAfter) / float64(c.BytesBefore) * float64(c.BeforeMicros) / float64(c.AfterMicros)
	if times < 0.095 {
		return "<0.1x"
	}
	if times < 99.5 {
		return strconv.FormatFloat(math.Round(times*10)/10, 'f', -1, 64) + "x"
	}
	digits, prefix := scale(times)
	return digits + prefix + "x"
}

func changedFlow(c *record.Change, g *signs) cell {
	name := ""
	if c.Name != "" {
		name = " (" + g.clean(c.Name) + ")"
	}
	switch {
	case c.Other:
		return cell{text: "~other"}
	case !c.SrcAddr.IsValid() && !c.DstAddr.IsValid():
		return cell{text: g.clean(c.Proto)}
	}
	return flowCell(c.Proto, tuple{src: c.SrcAddr, dst: c.DstAddr, dport: c.DstPort}, g.to, name, g)
}

func changedOwner(c *record.Change, g *signs) cell {
	switch {
	case c.Other:
		return cell{text: "~other"}
	case c.Container == "":
		return cell{text: g.clean(c.Comm)}
	}
	return cell{text: g.clean(c.Comm) + " in " + g.clean(c.Container)}
}

func beforeSpan(c *record.Change) time.Duration {
	return time.Duration(c.BeforeMicros) * time.Microsecond
}

func afterSpan(c *record.Change) time.Duration {
	return time.Duration(c.AfterMicros) * time.Microsecond
}
