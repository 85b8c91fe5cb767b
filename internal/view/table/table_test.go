package table

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/clipperhouse/displaywidth"
	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/record"
)

// show feeds batches to a view and returns what it wrote.
func show(t testing.TB, open func(out, notes *bytes.Buffer) (View, error), batches []*record.Batch) (out, notes string) {
	t.Helper()
	var o, n bytes.Buffer
	v, err := open(&o, &n)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range batches {
		if err := v.Batch(b); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	return o.String(), n.String()
}

func showDrops(t testing.TB, o Options, batches ...*record.Batch) (out, notes string) {
	t.Helper()
	return show(t, func(out, notes *bytes.Buffer) (View, error) { return NewDrops(out, notes, o) }, batches)
}

func showFlows(t testing.TB, o Options, batches ...*record.Batch) (out, notes string) {
	t.Helper()
	return show(t, func(out, notes *bytes.Buffer) (View, error) { return NewFlows(out, notes, o) }, batches)
}

func TestDropTables(t *testing.T) {
	for name, o := range map[string]Options{
		"drops-80":         {Width: 80, Unicode: true, Why: why},
		"drops-80-colour":  {Width: 80, Unicode: true, Colour: true, Why: why},
		"drops-120":        {Width: 120, Unicode: true, Why: why},
		"drops-200":        {Width: 200, Unicode: true, Why: why},
		"drops-200-colour": {Width: 200, Unicode: true, Colour: true, All: true},
		"drops-ascii-all":  {All: true},
		"drops-once-rows":  {Width: 120, Unicode: true, Once: true, Rows: 2, Stack: true},
		"drops-40":         {Width: 40, Unicode: true, Why: why},
		"drops-fold":       {Width: 120, Unicode: true, Once: true, MaxKeys: 4},
	} {
		out, notes := showDrops(t, o, dropBatches()...)
		if notes != "" {
			t.Errorf("%s: got notes %q, want none: the table has them", name, notes)
		}
		golden(t, name, out)
		checkWidth(t, name, out, o.Width)
	}
}

func TestFlowTables(t *testing.T) {
	for _, by := range FlowGroups() {
		for _, w := range []int{80, 120, 200} {
			o := Options{By: by, Width: w, Unicode: true}
			out, _ := showFlows(t, o, flowBatches()...)
			name := fmt.Sprintf("flows-%s-%d", by, w)
			golden(t, name, out)
			checkWidth(t, name, out, w)
		}
	}
	out, _ := showFlows(t, Options{Once: true, Rows: 2, Width: 100}, flowBatches()...)
	golden(t, "flows-once-ascii", out)
}

func TestEach(t *testing.T) {
	out, notes := showDrops(t, Options{Each: true, Stack: true, Unicode: true, Why: why}, dropBatches()...)
	golden(t, "each", out+"--- notes\n"+notes)
	out, _ = showDrops(t, Options{Each: true, Width: 100, All: true, Colour: true, Unicode: true}, dropBatches()...)
	golden(t, "each-100-colour", out)
	checkWidth(t, "each-100", out, 100)
}

func TestNothing(t *testing.T) {
	out, _ := showDrops(t, Options{Width: 80}, &record.Batch{Start: at(0), End: at(10)})
	golden(t, "drops-nothing", out)
	out, _ = showFlows(t, Options{Width: 80}, &record.Batch{Start: at(0), End: at(10)})
	golden(t, "flows-nothing", out)
	out, _ = showDrops(t, Options{Once: true})
	if want := "drops: nothing was seen yet\n\n"; out != want {
		t.Errorf("got %q, want %q", out, want)
	}
}

// checkWidth fails if a line is wider than w, not counting colour.
func checkWidth(t *testing.T, name, out string, w int) {
	t.Helper()
	for line := range strings.Lines(out) {
		line = strings.TrimSuffix(line, "\n")
		got := displaywidth.Options{ControlSequences: true}.String(line)
		if w > 0 && got > w {
			t.Errorf("%s: a line is %d cells wide, want at most %d: %q", name, got, w, line)
		}
	}
}

// Whatever names hold, no control character of theirs reaches the terminal,
// and each line stays one line that fits.
func TestHostile(t *testing.T) {
	for _, unicode := range []bool{true, false} {
		for _, w := range []int{0, 1, 7, 20, 80, 120, 200} {
			o := Options{Width: w, Unicode: unicode, Why: func(record.Drop) string { return evil }, All: true, Stack: true}
			e := o
			e.Each = true
			outs := map[string]string{}
			outs["drops"], _ = showDrops(t, o, hostileBatch(), hostileBatch())
			outs["each"], outs["notes"] = showDrops(t, e, hostileBatch())
			outs["csv"], _ = showDrops(t, Options{Format: CSV}, hostileBatch())
			outs["json"], outs["notes2"] = showDrops(t, Options{Format: JSON, Each: true}, hostileBatch())
			for _, by := range FlowGroups() {
				outs[by], _ = showFlows(t, Options{Width: w, Unicode: unicode, By: by}, hostileBatch())
			}
			for name, out := range outs {
				if i := strings.IndexFunc(out, func(r rune) bool {
					return r < 0x20 && r != '\n' || r >= 0x7f && r < 0xa0 || r == 0x202e
				}); i >= 0 {
					t.Errorf("%s, width %d: got a control character in %q", name, w, out[max(i-10, 0):i+5])
				}
				if !unicode && name != "json" && name != "csv" && strings.ContainsFunc(out, func(r rune) bool { return r > 0x7f }) {
					t.Errorf("%s, width %d: got more than ASCII", name, w)
				}
				if name == "drops" || name == "each" {
					checkWidth(t, name, out, w)
				}
			}
		}
	}
	out, _ := showDrops(t, Options{Width: 120, Unicode: true, Stack: true}, hostileBatch())
	golden(t, "drops-hostile-120", out)
}

func TestJSON(t *testing.T) {
	batches := dropBatches()
	out, notes := showDrops(t, Options{Format: JSON}, batches...)
	var want strings.Builder
	fields := record.Fields(record.Drop{})
	for _, b := range batches {
		for i := range b.Drops {
			if b.Drops[i].Verdict != record.Benign {
				want.Write(append(record.AppendJSON(nil, fields, &b.Drops[i], false), '\n'))
			}
		}
	}
	if d := cmp.Diff(want.String(), out); d != "" {
		t.Errorf("drops (-want +got):\n%s", d)
	}
	wantNotes := "netfate: lost 1200 at drop_ring (full): single events are missing; the counts are exact\n" +
		"netfate: hidden: 15 packets of 2 kinds that harmed nobody (benign); --all shows them\n" +
		"netfate: in all lost 1200 at drop_ring (full): single events are missing; the counts are exact\n"
	if d := cmp.Diff(wantNotes, notes); d != "" {
		t.Errorf("notes (-want +got):\n%s", d)
	}
	out, _ = showDrops(t, Options{Format: JSON, Each: true, All: true}, batches...)
	if n := strings.Count(out, `"sample":true`); n != 3 || strings.Count(out, "\n") != 3 {
		t.Errorf("got %d events in %d lines, want 3", n, strings.Count(out, "\n"))
	}
	out, _ = showFlows(t, Options{Format: JSON, By: byProcess}, flowBatches()...)
	packets := map[string]float64{}
	for line := range strings.Lines(out) {
		var f map[string]any
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatal(err)
		}
		comm, _ := f["comm"].(string)
		packets[comm] += f["host_packets"].(float64)
	}
	wantPackets := map[string]float64{"nginx": 9310, "systemd-resolve": 8, "redis-server": 550, "curl": 3, "": 3 + 4 + 42}
	if d := cmp.Diff(wantPackets, packets); d != "" {
		t.Errorf("host packets by process (-want +got):\n%s", d)
	}
}

func TestCSV(t *testing.T) {
	batches := append(dropBatches(), hostileBatch())
	out, _ := showDrops(t, Options{Format: CSV, All: true}, batches...)
	got, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	fields := 0
	for _, f := range record.Fields(record.Drop{}) {
		if !f.Hidden {
			if got[0][fields] != f.Name {
				t.Errorf("got column %s, want %s", got[0][fields], f.Name)
			}
			fields++
		}
	}
	if want := 1 + 7 + 4 + 1; len(got) != want || len(got[0]) != fields || strings.Count(out, "\n") != want {
		t.Errorf("got %d lines of %d columns, want %d of %d", len(got), len(got[0]), want, fields)
	}
	out, _ = showFlows(t, Options{Format: CSV})
	if !strings.HasPrefix(out, "time,host,") || strings.Count(out, "\n") != 1 {
		t.Errorf("got %q without a batch, want the header", out)
	}
}

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		o    Options
		flow bool
		want string
	}{
		{Options{Format: "xml"}, false, "table, json and csv"},
		{Options{Format: "xml"}, true, "table, json and csv"},
		{Options{By: "colour"}, true, "flow, process, container"},
		{Options{By: "flow"}, false, "not grouped"},
		{Options{Each: true}, true, "are for drops"},
	} {
		open := NewDrops
		if c.flow {
			open = NewFlows
		}
		if _, err := open(nil, nil, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: got error %v, want %q", c.o, err, c.want)
		}
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestWriteFails(t *testing.T) {
	for _, o := range []Options{{}, {Format: JSON}, {Format: CSV}, {Each: true}} {
		v, err := NewDrops(full{}, full{}, o)
		if err != nil {
			t.Fatal(err)
		}
		if err := v.Batch(dropBatches()[0]); err == nil || !strings.Contains(err.Error(), "no space left") {
			t.Errorf("%+v: got %v, want the error of the write", o, err)
		}
	}
}

// Whatever the bound, the rows add up to what came in.
func TestSumsEqualInput(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 7))
		keys := 1 + rng.IntN(60)
		drops := NewDropSums(keys)
		flows := map[string]*FlowSums{}
		for _, by := range FlowGroups() {
			flows[by] = NewFlowSums(by, keys)
		}
		var packets, bytes, host, hostBytes, wire, lost uint64
		for i := range 12 {
			b := randomBatch(rng, i)
			for _, d := range b.Drops {
				packets += d.Packets
				bytes += d.Bytes
			}
			for _, f := range b.Flows {
				host += f.HostPackets
				hostBytes += f.HostBytes
				wire += f.PacketsIn + f.PacketsOut
			}
			for _, l := range b.Lost {
				lost += l.Count
			}
			drops.Add(b)
			for _, m := range flows {
				m.Add(b)
			}
		}
		var got tally
		for _, r := range drops.all(false) {
			got.packets += r.sum.packets
			got.bytes += r.sum.bytes
		}
		if got.packets != packets || got.bytes != bytes {
			t.Errorf("seed %d: got %d packets %d bytes of drops, want %d and %d", seed, got.packets, got.bytes, packets, bytes)
		}
		if len(drops.rows) > keys || drops.flows > keys+len(drops.rows) {
			t.Errorf("seed %d: got %d rows and %d flows, want at most %d and as many more", seed, len(drops.rows), drops.flows, keys)
		}
		count := 0
		for _, r := range drops.rows {
			count += len(r.flows)
		}
		if count != drops.flows {
			t.Errorf("seed %d: got %d flows counted, %d held", seed, drops.flows, count)
		}
		gotLost := uint64(0)
		for _, k := range drops.lost.kinds {
			gotLost += k.count
		}
		if gotLost != lost || len(drops.lost.kinds) > maxLostKinds {
			t.Errorf("seed %d: got %d lost of %d kinds, want %d", seed, gotLost, len(drops.lost.kinds), lost)
		}
		for by, m := range flows {
			var sum flowTally
			for _, r := range m.all(false) {
				sum.add(&r.sum)
			}
			if sum != m.total {
				t.Errorf("seed %d by %s: rows add up to %+v, totals say %+v", seed, by, sum, m.total)
			}
			if sum.hostPackets != host || sum.hostBytes != hostBytes || m.host != (hostTally{host, hostBytes}) {
				t.Errorf("seed %d by %s: got %d host packets, want %d", seed, by, sum.hostPackets, host)
			}
			want := host
			if by == byInterface {
				want = wire
			}
			// Both ends of a conversation within the host have it as theirs.
			if by != byProcess && by != byContainer && sum.packets != want {
				t.Errorf("seed %d by %s: got %d packets, want %d", seed, by, sum.packets, want)
			}
			if len(m.rows) > keys {
				t.Errorf("seed %d by %s: got %d rows, want at most %d", seed, by, len(m.rows), keys)
			}
		}
	}
}

func randomBatch(rng *rand.Rand, i int) *record.Batch {
	b := &record.Batch{Start: at(float64(i)), End: at(float64(i + 1))}
	pick := func(words ...string) string { return words[rng.IntN(len(words))] }
	random := func() record.Endpoints {
		o := record.Owner{}
		if rng.IntN(2) == 0 {
			o = owner(pick("a", "b", "c"), uint32(rng.IntN(9)))
		}
		return ends(fmt.Sprintf("%s 10.0.0.%d:%d 10.0.1.%d:%d", pick("tcp", "udp"), rng.IntN(9), rng.IntN(9), rng.IntN(9), rng.IntN(9)),
			pick("host", "x"), pick("eth0", "lo", ""), o)
	}
	for range rng.IntN(80) {
		v := record.Verdict("")
		if all := record.Verdicts(); rng.IntN(9) > 0 {
			v = all[rng.IntN(len(all))]
		}
		b.Drops = append(b.Drops, drop(v, pick("A", "B", "C", ""), pick("f+0x1", "g+0x2"), rng.Uint64N(1000), random(), record.In))
		f := flow(random(), record.Direction(pick("in", "out", "forward", "")), rng.Uint64N(99), rng.Uint64N(99), rng.Uint64N(99))
		f.Other = rng.IntN(20) == 0
		b.Flows = append(b.Flows, f)
		b.Lost = append(b.Lost, record.Lost{Place: fmt.Sprint(rng.IntN(300)), Reason: "full", Count: rng.Uint64N(3)})
	}
	return b
}

// Rates are of the last interval, also where a recording has it in two parts.
func TestSplitInterval(t *testing.T) {
	one, two := dropBatches()[0], dropBatches()[0]
	one.Drops, two.Drops = one.Drops[:3], two.Drops[3:]
	m := NewDropSums(0)
	m.Add(one)
	m.Add(two)
	whole := NewDropSums(0)
	whole.Add(dropBatches()[0])
	if d := cmp.Diff(whole.Lines(Options{}), m.Lines(Options{})); d != "" {
		t.Errorf("split interval (-whole +split):\n%s", d)
	}
}

func BenchmarkDrops(b *testing.B) {
	m := NewDropSums(0)
	batch := randomBatch(rand.New(rand.NewPCG(1, 1)), 0)
	b.ReportAllocs()
	for b.Loop() {
		m.Add(batch)
	}
	b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(b.N*max(len(batch.Drops), 1)), "ns/drop")
}

func BenchmarkFlowTable(b *testing.B) {
	m := NewFlowSums(byFlow, 0)
	batch := &record.Batch{Start: at(0), End: at(1)}
	for i := range 10000 {
		batch.Flows = append(batch.Flows, flow(ends(fmt.Sprintf("tcp 10.0.%d.%d:1 10.0.0.1:2", i>>8, i&255), "host", "eth0", record.Owner{}), record.In, 1, 2, 3))
	}
	b.ReportAllocs()
	for b.Loop() {
		m.Add(batch)
		m.Lines(Options{Width: 120, height: 40})
	}
}

// TestSelectedFlowsAddUp checks that a flow whose other end was not selected
// counts what goes both ways, of which the host's count is only the half that
// began here.
func TestSelectedFlowsAddUp(t *testing.T) {
	b := record.Batch{Flows: []record.Flow{{
		PacketsIn: 7, BytesIn: 7000, PacketsOut: 3, BytesOut: 300, HostPackets: 3, HostBytes: 300,
	}}}
	for _, c := range []struct {
		selected bool
		want     uint64
	}{{false, 300}, {true, 7300}} {
		m := NewFlowSums(byFlow, 0)
		m.selected = c.selected
		m.Add(&b)
		if m.total.bytes != c.want {
			t.Errorf("selected %v: got %d bytes, want %d", c.selected, m.total.bytes, c.want)
		}
	}
}

// TestBothEndsHaveTheTraffic checks that a conversation within the host counts
// for both processes, and what only passes through for neither again.
func TestBothEndsHaveTheTraffic(t *testing.T) {
	client, server := owner("curl", 7), owner("nginx", 8)
	tuple := "tcp 10.0.0.1:4000 10.0.0.2:80"
	b := record.Batch{Flows: []record.Flow{
		{Endpoints: ends(tuple, "a", "eth0", client), PacketsOut: 3, BytesOut: 300, PacketsIn: 7, BytesIn: 7000, HostPackets: 3, HostBytes: 300},
		{Endpoints: ends(tuple, "host", "veth0", record.Owner{}), PacketsIn: 3, BytesIn: 300, PacketsOut: 7, BytesOut: 7000, Drops: 1},
		{Endpoints: ends(tuple, "b", "eth0", server), PacketsOut: 7, BytesOut: 7000, PacketsIn: 3, BytesIn: 300, HostPackets: 7, HostBytes: 7000},
	}}
	m := NewFlowSums(byProcess, 0)
	m.Add(&b)
	got := map[string]uint64{}
	for _, r := range m.all(false) {
		got[r.key.comm] = r.sum.bytes
	}
	if diff := cmp.Diff(map[string]uint64{"curl": 7300, "nginx": 7300}, got); diff != "" {
		t.Errorf("by process (-want +got):\n%s", diff)
	}
	if m.host.bytes != 7300 || m.total.drops != 1 {
		t.Errorf("got %d bytes of the host and %d drops, want 7300 and 1", m.host.bytes, m.total.drops)
	}
}
