package counting

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/test/need"
)

// keysARun is how many keys one run of the program counts.
const keysARun = 16

// counter is the program of testdata and what drains its tables.
type counter struct {
	coll   *ebpf.Collection
	table  *Table[decode.FlowKey, decode.FlowCount]
	errors *Errors
}

// load compiles and loads the program with room for so many flows and
// remainders in each generation.
func load(t *testing.T, room, rest uint32) *counter {
	t.Helper()
	need.Root(t)
	object := filepath.Join(t.TempDir(), "count.o")
	out, err := exec.Command("clang-19", "-target", "bpf", "-D__TARGET_ARCH_x86", "-O2", "-g", "-mcpu=v3", "-Wall", "-Werror",
		"-I../../bpf", "-c", "testdata/count.bpf.c", "-o", object).CombinedOutput()
	if err != nil {
		t.Fatalf("clang-19: %v\n%s", err, out)
	}
	spec, err := ebpf.LoadCollectionSpec(object)
	if err != nil {
		t.Fatal(err)
	}
	for name := range spec.Programs {
		if name != "count_keys" {
			delete(spec.Programs, name)
		}
	}
	if spec.Maps["flow_cache"].MaxEntries, err = CacheEntries(); err != nil {
		t.Fatal(err)
	}
	for _, gen := range []string{"0", "1"} {
		spec.Maps["flows_"+gen].MaxEntries, spec.Maps["flow_rest_"+gen].MaxEntries = room, rest
	}
	if err := spec.Variables["have_sk_storage"].Set(false); err != nil {
		t.Fatal(err)
	}
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		t.Fatalf("load: %+v", err)
	}
	t.Cleanup(coll.Close)
	table, err := New[decode.FlowKey, decode.FlowCount](Maps{
		Cache:      coll.Maps["flow_cache"],
		Table:      [2]*ebpf.Map{coll.Maps["flows_0"], coll.Maps["flows_1"]},
		Rest:       [2]*ebpf.Map{coll.Maps["flow_rest_0"], coll.Maps["flow_rest_1"]},
		Generation: coll.Variables["generation"],
	}, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := table.Close(); err != nil {
			t.Error(err)
		}
	})
	return &counter{coll, table, NewErrors("test", coll.Maps["errors"], []*ebpf.Program{coll.Programs["count_keys"]}, Skipped)}
}

// count runs the program on one CPU until stop, for random keys below limit,
// and returns how many packets of each key it counted. Nothing else runs the
// program there, so that it cannot be interrupted by itself, as in tracepoints.
func (c *counter) count(cpu int, limit uint32, runs *atomic.Int64, stop *atomic.Bool) (map[uint32]uint64, error) {
	runtime.LockOSThread() // and never unlock: the thread ends with its affinity
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("pin to CPU %d: %w", cpu, err)
	}
	r := rand.New(rand.NewPCG(1, uint64(cpu)))
	counted := map[uint32]uint64{}
	args := make([]byte, 8)
	for !stop.Load() {
		first := r.Uint32N(limit - keysARun)
		binary.NativeEndian.PutUint32(args, first)
		if _, err := c.coll.Programs["count_keys"].Run(&ebpf.RunOptions{Context: args}); err != nil {
			return nil, fmt.Errorf("run on CPU %d: %w", cpu, err)
		}
		runs.Add(1)
		for i := range uint32(keysARun) {
			counted[first+i]++
		}
	}
	return counted, nil
}

// cpus returns those that this process may run on.
func cpus(t *testing.T) (all []int) {
	t.Helper()
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		t.Fatal(err)
	}
	for cpu := range 1024 {
		if set.IsSet(cpu) {
			all = append(all, cpu)
		}
	}
	return all
}

// TestDrainLosesNothing counts on every CPU while another thread drains as fast
// as it can: the sum of all drains is what was counted, key by key where there
// was room.
func TestDrainLosesNothing(t *testing.T) {
	for _, c := range []struct {
		name       string
		room, rest uint32
		full, lost bool // whether tables and remainders overflow
		keys       uint32
		single     bool // as on kernels without batch operations
	}{
		{"room for all", 65536, 4096, false, false, 2000, false},
		{"few keys, all in the cache", 65536, 4096, false, false, 40, false},
		{"a table too small", 64, 4096, true, false, 2000, false},
		{"both too small", 64, 64, true, true, 2000, false},
		{"room for all, entry by entry", 65536, 4096, false, false, 2000, true},
		{"both too small, entry by entry", 64, 64, true, true, 2000, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			counter := load(t, c.room, c.rest)
			counter.table.single = c.single
			want, got := counter.race(t, c.keys)
			losses := counter.losses(t)
			var sent, seen uint64
			for key, n := range want {
				sent += n
				seen += got[key]
				if !c.lost && got[key] != n {
					t.Errorf("key %d: got %d packets, want %d", key, got[key], n)
				}
			}
			if seen+losses["remainder full"] != sent {
				t.Errorf("got %d packets and %d counted lost, want %d", seen, losses["remainder full"], sent)
			}
			if (losses["table full"] > 0) != c.full || (losses["remainder full"] > 0) != c.lost {
				t.Errorf("got losses %v, want a full table: %v, a full remainder: %v", losses, c.full, c.lost)
			}
			t.Logf("%d packets of %d keys", sent, len(want))
		})
	}
}

// While programs count in it, a table is read so often at least, and until the
// programs have run so often.
const drains, enough = 20, 5000

// race counts and drains at once, and returns what was counted and what was
// drained, by key.
func (c *counter) race(t *testing.T, limit uint32) (want, got map[uint32]uint64) {
	t.Helper()
	want, got = map[uint32]uint64{}, map[uint32]uint64{}
	var runs atomic.Int64
	var stop atomic.Bool
	var mu sync.Mutex
	var workers sync.WaitGroup
	for _, cpu := range cpus(t) {
		workers.Go(func() {
			counted, err := c.count(cpu, limit, &runs, &stop)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
				stop.Store(true)
			}
			for key, n := range counted {
				want[key] += n
			}
		})
	}
	drain := func() {
		err := c.table.Drain(func(k *decode.FlowKey, n *decode.FlowCount) {
			got[k.IfIndex] += n.Packets
			if n.Bytes != 100*n.Packets || n.Buffers != n.Packets || n.BufferBytes != 86*n.Packets || n.First == 0 || n.Last == 0 {
				t.Errorf("key %d: got %+v, want 100 bytes a packet, and times", k.IfIndex, *n)
			}
		})
		if err != nil {
			t.Errorf("drain: %v", err)
			stop.Store(true)
		}
	}
	times := 0
	for ; !stop.Load() && (times < drains || runs.Load() < enough); times++ {
		drain()
	}
	stop.Store(true)
	workers.Wait()
	drain() // one a generation, when all is quiet
	drain()
	t.Logf("%d runs in %d drains", runs.Load(), times)
	return want, got
}

// losses returns what the program could not keep, by reason.
func (c *counter) losses(t *testing.T) map[string]uint64 {
	t.Helper()
	all, err := c.errors.Since()
	if err != nil {
		t.Fatal(err)
	}
	by := map[string]uint64{}
	for _, l := range all {
		by[l.Reason] += l.Count
		if l.Place != "test" || l.Effect == "" {
			t.Errorf("got loss %+v, want a place and an effect", l)
		}
	}
	if again, err := c.errors.Since(); err != nil || len(again) > 0 {
		t.Errorf("a second time: got %v, error %v; want nothing", again, err)
	}
	return by
}

// prefix is a key of a map that refuses to be read and deleted in batches.
type prefix struct {
	Bits, Data uint32
}

// TestDrainWithoutBatches drains a map of a kind for which no kernel has the
// batch operation, twice: it is found out, and all entries come once.
func TestDrainWithoutBatches(t *testing.T) {
	need.Root(t)
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.LPMTrie, KeySize: 8, ValueSize: 8, MaxEntries: 1000, Flags: unix.BPF_F_NO_PREALLOC})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	table := &Table[prefix, number]{keys: make([]prefix, batch), values: make([]number, batch)}
	for _, entries := range []uint32{500, 0, 700} {
		want, got := map[prefix]number{}, map[prefix]number{}
		for i := range entries {
			k := prefix{32, i * 7}
			want[k] = number(i)
			if err := m.Put(k, number(i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := table.drainTable(m, func(k *prefix, n *number) { got[*k] += *n }); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d entries (-want +got):\n%s", entries, diff)
		}
		if !table.single {
			t.Error("the kernel took a batch: the test proves nothing")
		}
	}
}

type number uint64

func (n number) Empty() bool { return n == 0 }

// TestDrainEmpty drains what was never counted in.
func TestDrainEmpty(t *testing.T) {
	c := load(t, 64, 64)
	for range 4 {
		if err := c.table.Drain(func(k *decode.FlowKey, n *decode.FlowCount) { t.Errorf("got %+v %+v of nothing", *k, *n) }); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDrainWithoutCache drains tables that no cache is in front of.
func TestDrainWithoutCache(t *testing.T) {
	c := load(t, 64, 64)
	if _, err := c.coll.Programs["count_keys"].Run(&ebpf.RunOptions{Context: make([]byte, 8)}); err != nil {
		t.Fatal(err)
	}
	m := c.coll.Maps
	table, err := New[decode.FlowKey, decode.FlowCount](Maps{
		Table: [2]*ebpf.Map{m["flows_0"], m["flows_1"]}, Rest: [2]*ebpf.Map{m["flow_rest_0"], m["flow_rest_1"]},
		Generation: c.coll.Variables["generation"],
	}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := m["flows_0"].Put(decode.FlowKey{IfIndex: 7}, decode.FlowCount{Packets: 5, Buffers: 5}); err != nil {
		t.Fatal(err)
	}
	got := map[uint32]uint64{}
	for range 2 {
		if err := table.Drain(func(k *decode.FlowKey, n *decode.FlowCount) { got[k.IfIndex] += n.Packets }); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(map[uint32]uint64{7: 5}, got); diff != "" {
		t.Errorf("packets by key (-want +got):\n%s", diff)
	}
	if err := table.Close(); err != nil {
		t.Error(err)
	}
}

// TestNewRefusesAnotherSlot is told of an object that is of another version.
func TestNewRefusesAnotherSlot(t *testing.T) {
	c := load(t, 64, 64)
	if _, err := New[decode.DropKey, decode.DropCount](Maps{Cache: c.coll.Maps["flow_cache"]}, 1); err == nil || !strings.Contains(err.Error(), "112 bytes, want 120") {
		t.Errorf("got error %v, want the sizes", err)
	}
}

// TestSites holds the sites against enum site in abi.h.
func TestSites(t *testing.T) {
	text, err := os.ReadFile("../../bpf/lib/abi.h")
	if err != nil {
		t.Fatal(err)
	}
	body := regexp.MustCompile(`(?s)enum site \{(.*?)\};`).FindSubmatch(text)
	if body == nil {
		t.Fatal("no enum site in abi.h")
	}
	var names []string
	for _, m := range regexp.MustCompile(`(?m)^\s*SITE_(\w+),`).FindAllSubmatch(body[1], -1) {
		names = append(names, string(m[1]))
	}
	want := make([]string, sites+1)
	for name, site := range map[string]Site{
		"TABLE_FULL": TableFull, "LOST": Lost, "RING_FULL": RingFull, "READ": Read, "OWNER_CREATE": OwnerCreate,
		"PROCESS": ProcessKeep, "BOUND": BoundKeep, "STACK": Stack, "CACHE": Cache, "CONN": Conn, "CONN_RING": ConnRing, "PACKETS": Packets,
		"TALK": Talk, "PLAIN": Plain, "CALL": Call,
		"URL_FULL": URLFull, "URL_CUT": URLCut, "URL_LOST": URLLost, "URL_MANY": URLMany, "URL_ORDER": URLOrder, "URL_TWICE": URLTwice, "FRAME": Frame, "MAX": sites,
	} {
		want[site] = name
	}
	if diff := cmp.Diff(names, want); diff != "" {
		t.Errorf("enum site (-C +Go):\n%s", diff)
	}
	for s := range sites {
		if reason, effect := s.text(); effect == "" || strings.HasPrefix(reason, "site ") {
			t.Errorf("site %d: got reason %q, effect %q; want both in words", s, reason, effect)
		}
	}
}

// TestShape holds the cache's shape against the kernel side's.
func TestShape(t *testing.T) {
	if Slots != decode.CacheSlots || Hooks != decode.CacheHooks {
		t.Errorf("got %d slots, %d hooks; want %d, %d", Slots, Hooks, decode.CacheSlots, decode.CacheHooks)
	}
}
