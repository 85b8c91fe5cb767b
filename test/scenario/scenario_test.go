package scenario

import (
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
	"github.com/netfate/netfate/test/witness"
)

// TestRecipes plays every recipe and judges what netfate said about it. What
// is wrong counts, unless the kernel was not looking: see package witness.
func TestRecipes(t *testing.T) {
	need.Root(t)
	known := reasonNames(t)
	recipes := Recipes()
	const tries = 5
	for left := tries - 1; len(recipes) > 0; left-- {
		w := witness.Watch(t)
		plays, rows, skipped := perform(t, recipes)
		excuse := w.Excuse(t, skipped)
		recipes = nil
		for _, p := range plays {
			wrong, missing := p.verdict(rows, known)
			if len(wrong) > 0 && p.failed == "" && excuse != "" && left > 0 {
				t.Logf("%s, so %s is played once more:\n%s", excuse, p.Name, strings.Join(wrong, "\n"))
				recipes = append(recipes, p.Recipe)
				continue
			}
			t.Run(p.Name, func(t *testing.T) {
				if p.failed != "" && p.Capability != "" {
					need.Capability(t, p.Capability)
				}
				for _, complaint := range wrong {
					t.Error(complaint)
				}
				if missing != "" {
					need.Reason(t, missing, known)
				}
			})
		}
	}
}

// perform sets recipes up, starts one netfate, plays all of them and returns
// what netfate said by namespace, and whether the kernel skipped its programs.
// The namespaces live until the test ends, so that no inode number means two of
// them.
func perform(t *testing.T, recipes []Recipe) (plays []*play, rows map[uint32][]record.Drop, skipped bool) {
	plays = make([]*play, 0, len(recipes))
	for _, r := range recipes {
		plays = append(plays, &play{Recipe: r, t: t})
	}
	together(4, plays, (*play).setUp)

	rows = map[uint32][]record.Drop{}
	fields := record.Fields(record.Drop{})
	w := startWatch(t, func(row []byte) error {
		var d record.Drop
		if err := record.ParseJSON(row, fields, &d); err != nil {
			return err
		}
		if !d.Sample {
			rows[d.NetNS] = append(rows[d.NetNS], d)
		}
		return nil
	}, "drops")
	together(12, plays, (*play).provoke)
	w.stop()
	return plays, rows, w.skipped()
}

// play is one recipe on its way from setup to judgement. It is the TB of its
// lab: a failure ends the play and not the test.
type play struct {
	Recipe
	t      *testing.T
	lab    *netlab.Lab
	at     *netlab.NetNS
	step   func() int
	count  int
	failed string
}

func (p *play) Helper()                         { p.t.Helper() }
func (p *play) Cleanup(f func())                { p.t.Cleanup(f) }
func (p *play) Logf(format string, args ...any) { p.t.Logf(p.Name+": "+format, args...) }
func (p *play) Fatalf(format string, args ...any) {
	p.failed = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func (p *play) setUp() {
	p.lab = netlab.New(p)
	p.at, p.step = p.Setup(p.lab)
}

func (p *play) provoke() {
	if p.failed == "" {
		p.count = p.step()
	}
}

// together runs f for every play, some at a time.
func together(width int, plays []*play, f func(*play)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, width)
	for _, p := range plays {
		slots <- struct{}{}
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer func() { <-slots }()
			f(p)
		}()
	}
	wg.Wait()
}

// verdict returns what is wrong with the play, or the reason that this kernel
// is missing where it frees such packets without a word.
func (p *play) verdict(rows map[uint32][]record.Drop, known map[string]bool) (wrong []string, missing string) {
	if p.failed != "" {
		return []string{p.failed}, ""
	}
	if missing := p.unknown(known); missing != "" {
		wrong, silent := p.judgeBlind(rows)
		if !silent {
			missing = ""
		}
		return wrong, missing
	}
	return p.judge(rows, known), ""
}

// unknown returns what the running kernel lacks to tell this loss by its
// reason: a reason that came with a later release. "" if it lacks nothing.
func (p *play) unknown(known map[string]bool) string {
	if p.Since != "" && !known[p.Since] {
		return p.Since
	}
	if len(p.Reasons) > 0 && !slices.ContainsFunc(p.Reasons, func(name string) bool { return known[name] }) {
		return strings.Join(p.Reasons, " or ")
	}
	return ""
}

// judge returns what is wrong with the rows of the play's namespaces.
func (p *play) judge(rows map[uint32][]record.Drop, known map[string]bool) []string {
	var wrong []string
	reasons := slices.DeleteFunc(slices.Clone(p.Reasons), func(name string) bool { return !known[name] })
	got := 0
	spaces := p.lab.Inodes()
	if p.Placeless {
		for _, d := range rows[0] {
			if p.expects(&d, reasons) && len(p.compare(&d)) == 0 {
				got += int(d.Packets)
				if d.Verdict != p.Verdict {
					wrong = append(wrong, fmt.Sprintf("got verdict %q, want %q: %s", d.Verdict, p.Verdict, describe(&d)))
				}
			}
		}
	}
	for short, inode := range spaces {
		for _, d := range rows[inode] {
			expected := inode == p.at.Inode && p.expects(&d, reasons)
			if expected {
				got += int(d.Packets)
			}
			switch {
			case expected && d.Verdict == p.Verdict:
				wrong = append(wrong, p.compare(&d)...)
			case expected:
				wrong = append(wrong, fmt.Sprintf("got verdict %q, want %q: %s", d.Verdict, p.Verdict, describe(&d)))
			case d.Verdict != record.Benign:
				wrong = append(wrong, fmt.Sprintf("got a loss in %s that nobody provoked: %s", short, describe(&d)))
			}
		}
	}
	switch {
	case len(reasons) == 0:
	case p.count == 0:
		wrong = append(wrong, fmt.Sprintf("the recipe lost nothing for %v", reasons))
	case p.count == Some && got == 0:
		wrong = append(wrong, fmt.Sprintf("got no packets for %v, want some", reasons))
	case p.count != Some && got != p.count:
		wrong = append(wrong, fmt.Sprintf("got %d packets for %v, want %d", got, reasons, p.count))
	}
	if len(wrong) > 0 {
		wrong = append(wrong, "all rows of its namespaces:\n"+p.listing(rows))
	}
	return wrong
}

// judgeBlind judges a play whose reason this kernel does not have: netfate has to
// show the packets all the same, by protocol, addresses and direction, and a loss
// as something else than benign, which a malformed packet may pass for where the
// place alone tells: as a message that was read. What it calls NOT_SPECIFIED may be
// anything at that place, and proves nothing. silent is true if the kernel frees them without
// a word, as it did in many places before it had a reason for them.
func (p *play) judgeBlind(rows map[uint32][]record.Drop) (wrong []string, silent bool) {
	got, benign := 0, 0
	for _, d := range slices.Concat(rows[0], rows[p.at.Inode]) {
		if d.Reason == "NOT_SPECIFIED" || d.NetNS == 0 && !p.Placeless || p.Proto == "" || len(p.compare(&d)) > 0 {
			continue
		}
		got += int(d.Packets)
		if d.Verdict == record.Benign {
			benign += int(d.Packets)
		}
	}
	if got == 0 || p.Verdict == record.Benign {
		return nil, got == 0
	}
	if p.count != Some && got < p.count || benign > 0 && p.Verdict != record.Invalid {
		wrong = append(wrong, fmt.Sprintf("got %d packets of which %d are benign, want %d losses; all rows of its namespaces:\n%s", got, benign, p.count, p.listing(rows)))
	}
	return wrong, false
}

// expects reports whether the row is of the reasons and places of the recipe,
// and of its protocol: benign traffic beside a loss may have its reason too.
func (p *play) expects(d *record.Drop, reasons []string) bool {
	if !slices.Contains(reasons, d.Reason) {
		return false
	}
	if p.Verdict == record.Benign && p.Proto == "" {
		return true
	}
	place, _, _ := strings.Cut(d.Location, "+")
	return len(p.Places) == 0 || slices.Contains(p.Places, place)
}

// compare checks the rest of a row that is otherwise as expected.
func (p *play) compare(d *record.Drop) []string {
	var wrong []string
	differ := func(what string, got, want any) {
		wrong = append(wrong, fmt.Sprintf("got %s %v, want %v: %s", what, got, want, describe(d)))
	}
	if p.Proto != "" && d.Proto != p.Proto {
		differ("protocol", d.Proto, p.Proto)
	}
	if !matches(p.Src, d.SrcAddr, d.SrcPort) {
		differ("source", netip.AddrPortFrom(d.SrcAddr, d.SrcPort), p.Src)
	}
	if !matches(p.Dst, d.DstAddr, d.DstPort) {
		differ("destination", netip.AddrPortFrom(d.DstAddr, d.DstPort), p.Dst)
	}
	if p.Direction != "" && d.Direction != p.Direction {
		differ("direction", d.Direction, p.Direction)
	}
	self, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		return append(wrong, err.Error())
	}
	comm := strings.TrimSpace(string(self))
	switch {
	case p.Owner == Nobody && d.Known():
		differ("owner", fmt.Sprintf("%s (%d)", d.Comm, d.PID), "nobody")
	case p.Owner == Self && (d.Comm != comm || d.PID != uint32(os.Getpid())):
		differ("owner", fmt.Sprintf("%s (%d)", d.Comm, d.PID), fmt.Sprintf("%s (%d)", comm, os.Getpid()))
	case p.Owner == Child && (d.Comm != comm || d.PID == 0 || d.PID == uint32(os.Getpid())):
		differ("owner", fmt.Sprintf("%s (%d)", d.Comm, d.PID), comm+" in a process of its own")
	}
	return wrong
}

// matches reports whether an endpoint is the one wanted: nothing, an address,
// or an address and a port.
func matches(want string, addr netip.Addr, port uint16) bool {
	if want == "" {
		return true
	}
	if a, err := netip.ParseAddr(want); err == nil {
		return a == addr.Unmap()
	}
	return netip.MustParseAddrPort(want) == netip.AddrPortFrom(addr.Unmap(), port)
}

func describe(d *record.Drop) string {
	return fmt.Sprintf("%d × %s at %s, verdict %s, %s %v > %v, %s, %s, owner %s (%d)", d.Packets, d.Reason, d.Location, d.Verdict,
		d.Proto, netip.AddrPortFrom(d.SrcAddr, d.SrcPort), netip.AddrPortFrom(d.DstAddr, d.DstPort), d.Direction, d.IfName, d.Comm, d.PID)
}

func (p *play) listing(rows map[uint32][]record.Drop) string {
	var out []string
	for short, inode := range p.lab.Inodes() {
		for _, d := range rows[inode] {
			out = append(out, "\t"+short+": "+describe(&d))
		}
	}
	slices.SortFunc(out, cmp.Compare[string])
	return strings.Join(out, "\n")
}

// reasonNames returns the running kernel's reasons; one without has none.
func reasonNames(t *testing.T) map[string]bool {
	t.Helper()
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		t.Fatalf("read kernel BTF: %v", err)
	}
	var enum *btf.Enum
	if err := spec.TypeByName("skb_drop_reason", &enum); err != nil {
		if err := need.Of(t, "drop_reasons").Excuse(err); err != nil {
			t.Fatal(err)
		}
		return nil
	}
	names := map[string]bool{}
	for _, value := range enum.Values {
		names[strings.TrimPrefix(value.Name, "SKB_DROP_REASON_")] = true
	}
	return names
}
