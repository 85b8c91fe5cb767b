package diff

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/record"
)

func at(seconds int) time.Time {
	return time.Date(2026, 3, 14, 3, 0, 0, 0, time.UTC).Add(time.Duration(seconds) * time.Second)
}

func drop(reason string, packets uint64) record.Drop {
	return record.Drop{
		Endpoints: record.Endpoints{Host: "web1", NetNS: 4026531840, NetNSName: "host", IfName: "eth0", Proto: "tcp"},
		Reason:    reason, Subsystem: "core", Location: "f+0x1", Verdict: record.Loss, Packets: packets, Bytes: packets * 100,
	}
}

// side plays a stretch of so many seconds, of which each has the drops that second
// returns.
func side(cfg Config, seconds int, second func(i int, b *record.Batch)) *Side {
	s := NewSide(cfg)
	for i := range seconds {
		b := &record.Batch{Start: at(i), End: at(i + 1)}
		second(i, b)
		_ = s.Batch(b) // never fails
	}
	_ = s.Close()
	return s
}

func losing(reasons map[string]uint64) func(int, *record.Batch) {
	return func(_ int, b *record.Batch) {
		for reason, n := range reasons {
			b.Drops = append(b.Drops, drop(reason, n))
		}
	}
}

// told is the changes as "new LOST 0 60".
func told(r *Report) (list []string) {
	for _, c := range r.Changes {
		s := fmt.Sprintf("%s %s %d %d", c.Change, c.Reason, c.PacketsBefore, c.PacketsAfter)
		if c.What != record.ChangedLoss {
			s = fmt.Sprintf("%s %s %d %d", c.Change, c.What, c.BytesBefore, c.BytesAfter)
		}
		if c.Chance {
			s += "?"
		}
		list = append(list, s)
	}
	return list
}

// TestOrder checks what comes first, and that rates count, not sums.
func TestOrder(t *testing.T) {
	cfg := Config{}
	before := side(cfg, 60, losing(map[string]uint64{"GONE": 9, "MORE": 1, "LESS": 50, "SAME": 7}))
	after := side(cfg, 240, losing(map[string]uint64{"NEW": 2, "MORE": 30, "LESS": 1, "SAME": 7}))
	_ = before.Batch(&record.Batch{Start: at(60), End: at(61), Drops: []record.Drop{drop("ONCE", 3)}})
	_ = before.Close()
	r := Compare(before, after, cfg)
	want := []string{"new NEW 0 480", "gone GONE 540 0", "gone ONCE 3 0?", "more MORE 60 7200", "less LESS 3000 240"}
	if diff := cmp.Diff(want, told(r)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if r.Same != 1 {
		t.Errorf("got %d places that are the same, want 1", r.Same)
	}
}

// TestNothingDiffers checks that a stretch differs in nothing from itself, nor from
// one that is twice as long.
func TestNothingDiffers(t *testing.T) {
	cfg := Config{}
	second := func(_ int, b *record.Batch) {
		b.Drops = append(b.Drops, drop("A", 3), drop("B", 1000))
		b.Flows = append(b.Flows, record.Flow{
			Endpoints: record.Endpoints{Proto: "tcp", Owner: record.Owner{Comm: "nginx"}}, HostPackets: 5, HostBytes: 500, PacketsIn: 5, BytesIn: 500,
		})
	}
	for _, seconds := range []int{60, 120} {
		if r := Compare(side(cfg, 60, second), side(cfg, seconds, second), cfg); len(r.Changes) > 0 || r.Same != 2 {
			t.Errorf("%d s: got %v and %d the same, want no change", seconds, told(r), r.Same)
		}
	}
}

// TestNoiseIsNoChange draws both stretches from one process, of many rates, lengths
// and clumps, and counts how often a change of rate is told.
func TestNoiseIsNoChange(t *testing.T) {
	const tries = 2000
	wrong, all := 0, 0
	for _, rate := range []float64{0.01, 0.1, 1, 10, 1000} {
		for _, clump := range []uint64{1, 20} {
			for _, seconds := range []int{30, 300} {
				for seed := range uint64(tries / 20) {
					r := rand.New(rand.NewPCG(seed, math.Float64bits(rate)))
					noise := func(_ int, b *record.Batch) {
						if n := clump * poisson(r, rate/float64(clump)); n > 0 {
							b.Drops = append(b.Drops, drop("A", n))
						}
					}
					all++
					for _, c := range Compare(side(Config{}, 60, noise), side(Config{}, seconds, noise), Config{}).Changes {
						if !c.Chance {
							wrong++
						}
					}
				}
			}
		}
	}
	if wrong > 0 {
		t.Errorf("got %d changes in %d comparisons of the same with the same, want none", wrong, all)
	}
}

// TestChangesAreFound is the other side of the coin.
func TestChangesAreFound(t *testing.T) {
	for name, c := range map[string]struct {
		before, after func(r *rand.Rand, i int) uint64
	}{
		"threefold":       {always(1), always(3)},
		"a spell":         {always(1), func(r *rand.Rand, i int) uint64 { return poisson(r, 1) + uint64(i/10%6/5)*poisson(r, 100) }},
		"tens, threefold": {tens(1), tens(3)},
		"twice as many":   {always(20), always(40)},
	} {
		missed := 0
		for seed := range uint64(20) {
			r := rand.New(rand.NewPCG(seed, 1))
			play := func(count func(*rand.Rand, int) uint64) func(int, *record.Batch) {
				return func(i int, b *record.Batch) { b.Drops = append(b.Drops, drop("A", count(r, i))) }
			}
			list := told(Compare(side(Config{}, 60, play(c.before)), side(Config{}, 60, play(c.after)), Config{}))
			if len(list) != 1 || list[0][:4] != "more" {
				missed++
			}
		}
		if missed > 1 {
			t.Errorf("%s: missed %d of 20", name, missed)
		}
	}
}

func always(rate float64) func(*rand.Rand, int) uint64 {
	return func(r *rand.Rand, _ int) uint64 { return poisson(r, rate) }
}

func tens(rate float64) func(*rand.Rand, int) uint64 {
	return func(r *rand.Rand, _ int) uint64 { return 10 * poisson(r, rate) }
}

// poisson draws a count of the mean, by Knuth's product.
func poisson(r *rand.Rand, mean float64) uint64 {
	n := uint64(0)
	for ; mean > 500; mean -= 500 {
		n += poisson(r, 500)
	}
	for p := r.Float64(); p > math.Exp(-mean); p *= r.Float64() {
		n++
	}
	return n
}

// TestNamespacesByName checks that a namespace made anew is the same one, and that
// one named by its process is, whatever that process's number.
func TestNamespacesByName(t *testing.T) {
	play := func(inode uint32, name string) *Side {
		return side(Config{}, 60, func(i int, b *record.Batch) {
			d := drop("A", 5)
			d.NetNS, d.NetNSName = inode, name
			if i == 0 {
				d.NetNSName = "" // not known yet
			}
			b.Drops = append(b.Drops, d)
		})
	}
	for _, c := range []struct {
		one, other string
		changes    int
	}{{"web", "web", 0}, {"web", "db", 2}, {"pid 7 redis", "pid 123 redis", 0}, {"", "", 2}} {
		if r := Compare(play(4026532001, c.one), play(4026532777, c.other), Config{}); len(r.Changes) != c.changes {
			t.Errorf("%q and %q: got %v, want %d changes", c.one, c.other, told(r), c.changes)
		}
	}
}

// TestTraffic checks that a packet counts once by flow, and on no more than one
// interface by owner.
func TestTraffic(t *testing.T) {
	web := record.Owner{PID: 7, Comm: "nginx", ContainerName: "shop"}
	flow := func(sport uint16, ifname string, host, in uint64, o record.Owner) record.Flow {
		return record.Flow{
			Endpoints: record.Endpoints{
				Proto: "tcp", IfName: ifname, SrcAddr: netip.MustParseAddr("10.0.0.5"), SrcPort: sport,
				DstAddr: netip.MustParseAddr("10.0.0.9"), DstPort: 443, Owner: o,
			},
			HostPackets: host / 100, HostBytes: host, PacketsIn: in / 100, BytesIn: in, Name: "shop.example.com",
		}
	}
	second := func(port uint16) func(int, *record.Batch) {
		return func(_ int, b *record.Batch) {
			b.Flows = append(b.Flows, flow(port, "eth0", 1000, 1000, record.Owner{}), flow(port, "veth1", 0, 1000, web), flow(port, "veth2", 0, 1000, web),
				record.Flow{Other: true, HostPackets: 1, HostBytes: 10, PacketsIn: 1, BytesIn: 10})
		}
	}
	for _, c := range []struct {
		selected bool
		want     []string
	}{
		{false, []string{"new flow 0 2000", "new flow 0 20", "new owner 0 2000"}},
		{true, []string{"new flow 0 4000", "new flow 0 20", "new owner 0 2000"}},
	} {
		cfg := Config{Selected: c.selected}
		r := Compare(side(cfg, 2, func(int, *record.Batch) {}), side(cfg, 2, second(40000)), cfg)
		if diff := cmp.Diff(c.want, told(r)); diff != "" {
			t.Errorf("selected %v (-want +got):\n%s", c.selected, diff)
		}
		first := r.Changes[0]
		if first.Name != "shop.example.com" || first.DstPort != 443 || r.Changes[2].Container != "shop" || !r.Changes[1].Other {
			t.Errorf("got %+v", r.Changes)
		}
	}
	// Other ports of the client are the same flow.
	if r := Compare(side(Config{}, 2, second(1)), side(Config{}, 2, second(2)), Config{}); len(r.Changes) > 0 {
		t.Errorf("got %v of another port of the client, want no change", told(r))
	}
}

func TestRows(t *testing.T) {
	cfg := Config{Rows: 3}
	r := Compare(side(cfg, 1, func(int, *record.Batch) {}), side(cfg, 1, func(_ int, b *record.Batch) {
		for i := range 10 {
			b.Flows = append(b.Flows, record.Flow{
				Endpoints: record.Endpoints{Proto: "tcp", DstPort: uint16(i)}, HostPackets: 1, HostBytes: uint64(100 + i),
			})
		}
	}), cfg)
	if diff := cmp.Diff([]string{"new flow 0 109", "new flow 0 108", "new flow 0 107"}, told(r)); diff != "" || r.Hidden != 7 {
		t.Errorf("got %d hidden, want 7; (-want +got):\n%s", r.Hidden, diff)
	}
}

// TestBounds checks that what has no room is counted, and nothing missing.
func TestBounds(t *testing.T) {
	s := newSums[int](100, false)
	for i := range 1000 {
		s.add(i, uint64(i%50+1), 1)
		if i%10 == 0 {
			s.roll()
		}
	}
	s.roll()
	packets := s.rest.packets
	for _, row := range s.rows {
		packets += row.packets
		if row.now != 0 || row.squares == 0 {
			t.Fatalf("got %+v, want a row that is over", row)
		}
	}
	if packets != 25_500 || len(s.rows) > 100 || s.folded != uint64(1000-len(s.rows)) {
		t.Errorf("got %d packets in %d rows, %d folded; want 25500 in 100 at most", packets, len(s.rows), s.folded)
	}
	side := side(Config{}, 1, func(_ int, b *record.Batch) {
		for i := range maxLosses + 1 {
			b.Drops = append(b.Drops, drop(fmt.Sprint(i), 1))
		}
	})
	if lost := side.Lost(); len(lost) != 1 || lost[0].Place != "diff_losses" || lost[0].Count == 0 {
		t.Errorf("got %v, want losses without room", lost)
	}
	if r := Compare(side, side, Config{}); len(r.Changes) != 0 {
		t.Errorf("got %d changes between a side and itself", len(r.Changes))
	}
}

// TestBenign checks that what harms nobody is no change, unless asked for.
func TestBenign(t *testing.T) {
	second := func(_ int, b *record.Batch) {
		d := drop("QUEUE_PURGE", 5)
		d.Verdict = record.Benign
		b.Drops = append(b.Drops, d)
	}
	for _, cfg := range []Config{{}, {All: true}} {
		r := Compare(side(cfg, 60, func(int, *record.Batch) {}), side(cfg, 60, second), cfg)
		if got := len(r.Changes) > 0; got != cfg.All {
			t.Errorf("All %v: got %v", cfg.All, told(r))
		}
	}
}

// TestSmallDifferences checks that what is certain and small is not told.
func TestSmallDifferences(t *testing.T) {
	play := func(packets, bytes uint64) *Side {
		return side(Config{}, 60, func(_ int, b *record.Batch) {
			b.Drops = append(b.Drops, drop("A", packets))
			b.Flows = append(b.Flows, record.Flow{HostPackets: 1, HostBytes: bytes})
		})
	}
	for _, c := range []struct {
		packets, bytes uint64
		want           []string
	}{{1400, 1050, nil}, {700, 1150, []string{"more flow 60000 69000"}}, {1600, 1000, []string{"more A 60000 96000"}}} {
		if diff := cmp.Diff(c.want, told(Compare(play(1000, 1000), play(c.packets, c.bytes), Config{}))); diff != "" {
			t.Errorf("%d packets and %d bytes (-want +got):\n%s", c.packets, c.bytes, diff)
		}
	}
}

// TestSplitBatches checks that an interval in several batches, as recordings have
// large ones, is one interval.
func TestSplitBatches(t *testing.T) {
	split, whole := NewSide(Config{}), NewSide(Config{})
	for i := range 60 {
		list := []record.Drop{drop("A", 3), drop("A", 4)}
		flows := []record.Flow{
			{Endpoints: record.Endpoints{IfName: "eth0", Owner: record.Owner{Comm: "nginx"}}, PacketsIn: 1, BytesIn: 100},
			{Endpoints: record.Endpoints{IfName: "eth1", Owner: record.Owner{Comm: "nginx"}}, PacketsIn: 1, BytesIn: 100},
		}
		_ = whole.Batch(&record.Batch{Start: at(i), End: at(i + 1), Drops: list, Flows: flows})
		for n := range list {
			_ = split.Batch(&record.Batch{Start: at(i), End: at(i + 1), Drops: list[n : n+1], Flows: flows[n : n+1]})
		}
	}
	for _, s := range []*Side{split, whole} {
		_ = s.Close()
		if s.Span != time.Minute || s.Intervals != 60 {
			t.Errorf("got %v in %d intervals, want a minute in 60", s.Span, s.Intervals)
		}
	}
	for key, want := range whole.losses.rows {
		if got := split.losses.rows[key]; *got != *want {
			t.Errorf("got %+v, want %+v", *got, *want)
		}
	}
	if got := split.owners.rows[ownerKey{comm: "nginx"}].bytes; got != 6000 {
		t.Errorf("got %d bytes of nginx, want 6000", got)
	}
}

// TestLostIsTold checks that what netfate lost in the batches adds up by kind.
func TestLostIsTold(t *testing.T) {
	s := side(Config{}, 3, func(i int, b *record.Batch) {
		b.Lost = []record.Lost{{Place: "drop_table", Reason: "full", Count: 2}, {Place: "drop_ring", Reason: "full", Count: uint64(i)}}
	})
	want := []record.Lost{{Place: "drop_table", Reason: "full", Count: 6}, {Place: "drop_ring", Reason: "full", Count: 3}}
	if diff := cmp.Diff(want, s.Lost()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	many := side(Config{}, maxLost+10, func(i int, b *record.Batch) {
		b.Lost = []record.Lost{{Place: fmt.Sprint(i), Count: 1}}
	}).Lost()
	if len(many) != maxLost || many[maxLost-1].Count != 11 {
		t.Errorf("got %d kinds, want %d, the last with the rest", len(many), maxLost)
	}
}
