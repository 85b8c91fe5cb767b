package top

import (
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/internal/view/table"
)

// data is the sums of everything, each as the command has it that shows the same.
type data struct {
	adders []func(*record.Batch)
	tabs   []tab

	drops  *table.DropSums
	flows  *table.FlowSums
	ifaces *table.FlowSums
	books  *table.LedgerSums
}

// tab is one kind of record, in several views.
type tab struct {
	name  string
	views []view
}

// view is one table, or lines that cannot be sorted.
type view struct {
	name  string // what stands behind "by", or what it is
	sheet func(table.Options) *table.Sheet
	lines func(table.Options) []string
}

// The tabs, in their order.
const (
	overviewTab = iota
	dropsTab
	flowsTab
	connsTab
	requestsTab
	dnsTab
	ledgerTab
)

// sums is what the tables of a tab are made of.
type sums interface {
	Add(b *record.Batch)
	Sheet(o table.Options) *table.Sheet
}

// newData returns empty sums of everything there is to show.
func newData(o *table.Options) *data {
	d := &data{drops: table.NewDropSums(o.MaxKeys), books: table.NewLedgerSums("", o.MaxKeys)}
	byFlow := make([]view, 0, len(table.FlowGroups()))
	for _, by := range table.FlowGroups() {
		m := table.NewFlowSums(by, o.MaxKeys)
		m.Only(o.Selected)
		switch by {
		case "flow":
			d.flows = m
		case "interface":
			d.ifaces = m
		}
		byFlow = append(byFlow, d.view(by, m))
	}
	conns := []view{
		d.view("open", table.NewConnTable(false, o.MaxKeys)), d.view("failed", table.NewFailures()),
	}
	for _, by := range table.ConnGroups() {
		conns = append(conns, d.view(by, table.NewConnSums(by, o.MaxKeys)))
	}
	conns = append(conns, d.view("listeners", table.NewConnTable(true, o.MaxKeys)))
	var requests, queries []view
	for _, by := range table.RequestGroups() {
		requests = append(requests, d.view(by, table.NewRequestSums(by, o.MaxKeys)))
	}
	for _, by := range table.QueryGroups() {
		queries = append(queries, d.view(by, table.NewQuerySums(by, o.MaxKeys)))
	}
	d.adders = append(d.adders, d.books.Add)
	d.tabs = []tab{
		{"Overview", []view{{name: "overview"}}},
		{"Drops", []view{d.view("reason", d.drops)}},
		{"Flows", byFlow},
		{"Conns", conns},
		{"Requests", append(requests, d.view("each", table.NewRecentRequests()))},
		{"DNS", append(queries, d.view("each", table.NewRecentQueries()))},
		{"Ledger", []view{
			{name: "losses", sheet: d.books.Losses}, {name: "namespaces", sheet: d.books.Books},
			{name: "bars", lines: d.books.Drawing}, {name: "layers", lines: d.books.Layers},
		}},
	}
	return d
}

// view makes sums a view, and has them get batches.
func (d *data) view(name string, m sums) view {
	d.adders = append(d.adders, m.Add)
	return view{name: name, sheet: m.Sheet}
}

func (d *data) add(b *record.Batch) {
	for _, add := range d.adders {
		add(b)
	}
}
