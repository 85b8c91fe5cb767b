package kernels

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/netfate/netfate/internal/filter"
	"github.com/netfate/netfate/internal/hook"
	"github.com/netfate/netfate/internal/kernel"
	"github.com/netfate/netfate/test/need"
)

const budgetFile = "budget.json"

// verified is what the verifier took for a program.
type verified struct {
	Instructions int `json:"instructions"`
	States       int `json:"states"` // all that it made
	Peak         int `json:"peak"`   // kept at once
}

// tenth is how much more than on record a program may take: in percent.
const tenth = 10

// expression is a long filter, as somebody writes who looks for a fault.
const expression = "(host 10.9.8.1 or host 10.9.8.2 or net 10.20.0.0/16 or ip6 net fd00::/8) and not port 22 and " +
	"(tcp[tcpflags] & (tcp-syn|tcp-rst) != 0 or udp portrange 4000-5000 or icmp or vlan 7)"

// TestVerifierBudget loads each program of each sensor by itself and compares
// what the verifier took with what is on record: a tenth more fails. Programs
// that cannot be loaded here, for what they hang on or call, are not on record.
func TestVerifierBudget(t *testing.T) {
	need.Root(t)
	types, spec, err := kernel.LoadTypes()
	if err != nil {
		t.Fatal(err)
	}
	args, err := kernel.KfreeSKBArgs(spec)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := filter.Programs(t.Context(), expression)
	if err != nil {
		t.Fatal(err)
	}
	g := recorded(t)
	found := map[string]verified{}
	for _, object := range []string{"drop", "flow", "owner", "conn", "dns", "http", "tls", "urls", "packet"} {
		for _, name := range programs(t, object) {
			if v, ok := verify(t, types, object, name, args, nil); ok {
				found[object+"/"+name] = v
				t.Logf("%s/%s: %+v", object, name, v)
			}
		}
	}
	for _, name := range []string{"drop/kfree_skb", "flow/net_dev_start_xmit"} {
		object, program := name[:4], name[5:]
		v, ok := verify(t, types, object, program, args, pair)
		if !ok {
			t.Errorf("%s does not load with a filter", name)
		}
		found[name+" with a filter"] = v
	}
	g.compare(t, budgetFile, asJSON(t, found), func(want, _ string) {
		var then map[string]verified
		fromJSON(t, want, &then)
		for _, name := range slices.Sorted(maps.Keys(then)) {
			now, ok := found[name]
			switch {
			case !ok && g.strict:
				t.Errorf("%s: is on record and does not load", name)
			case !ok || !g.strict:
			case over(now.Instructions, then[name].Instructions), over(now.States, then[name].States):
				t.Errorf("%s: the verifier took %+v, on record are %+v; if it must be so: go run ./test/vm/matrix -update SERIES", name, now, then[name])
			}
		}
		for name := range found {
			if _, ok := then[name]; !ok && g.strict {
				t.Errorf("%s: is not on record: go run ./test/vm/matrix -update SERIES", name)
			}
		}
	})
}

// over reports whether now is more than a tenth, and more than noise, above then.
func over(now, then int) bool { return now > then+max(then*tenth/100, 16) }

// objectFile is a sensor's object for this machine.
func objectFile(object string) string {
	arch := map[string]string{"amd64": "x86", "arm64": "arm64"}[runtime.GOARCH]
	return fmt.Sprintf("../../internal/sensor/%s/bpf_%s_bpfel.o", object, arch)
}

func programs(t *testing.T, object string) []string {
	t.Helper()
	spec, err := ebpf.LoadCollectionSpec(objectFile(object))
	if err != nil {
		t.Fatal(err)
	}
	return slices.Sorted(maps.Keys(spec.Programs))
}

// verify loads one program as its sensor would, the ways that owners are kept
// tried in the sensors' order; false if none loads.
func verify(t *testing.T, types *kernel.Types, object, name string, args kernel.FreeArgs, pair *filter.Pair) (verified, bool) {
	t.Helper()
	var errs []error
	for _, way := range []map[string]any{{}, {"have_sk_storage": false, "have_sk_table": true}} {
		spec, err := ebpf.LoadCollectionSpec(objectFile(object))
		if err != nil {
			t.Fatal(err)
		}
		maps.DeleteFunc(spec.Programs, func(other string, _ *ebpf.ProgramSpec) bool { return other != name })
		if object == "drop" {
			way = maps.Clone(way)
			way["location_arg"], way["reason_arg"], way["rx_sk_arg"] = position(args.Location), position(args.Reason), position(args.RxSK)
		}
		for variable, value := range way {
			if spec.Variables[variable] == nil {
				continue
			}
			if err := hook.SetVariable(spec, variable, value); err != nil {
				t.Fatal(err)
			}
		}
		if err := hook.InstallFilter(spec, pair); err != nil {
			t.Fatal(err)
		}
		coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Cache: types, Programs: ebpf.ProgramOptions{LogLevel: ebpf.LogLevelStats}})
		if err != nil {
			errs = append(errs, err)
			continue
		}
		defer coll.Close()
		return parse(t, coll.Programs[name].VerifierLog), true
	}
	t.Logf("%s/%s cannot be loaded here: %v", object, name, errors.Join(errs...))
	return verified{}, false
}

// position is how the drop programs take an argument's position.
func position(arg int) uint32 { return uint32(max(arg, 0)) }

// parse reads the last line of a verifier's log.
func parse(t *testing.T, log string) (v verified) {
	t.Helper()
	m := regexp.MustCompile(`processed (\d+) insns .* total_states (\d+) peak_states (\d+)`).FindStringSubmatch(log)
	if m == nil {
		t.Fatalf("no statistics in the verifier's log: %q", log)
	}
	for i, to := range []*int{&v.Instructions, &v.States, &v.Peak} {
		n, err := strconv.Atoi(m[i+1])
		if err != nil {
			t.Fatal(err)
		}
		*to = n
	}
	return v
}

// TestBudgetCanFail holds the comparison to what it is for.
func TestBudgetCanFail(t *testing.T) {
	f := func(now, then int, want bool) {
		t.Helper()
		if got := over(now, then); got != want {
			t.Errorf("%d where %d is on record: got %v, want %v", now, then, got, want)
		}
	}
	f(4000, 4000, false)
	f(4400, 4000, false)
	f(4401, 4000, true)
	f(30, 20, false)
	f(37, 20, true)
	if v := parse(t, "stack depth 344\nprocessed 42666 insns (limit 1000000) max_states_per_insn 19 total_states 2141 peak_states 943 mark_read 0\n"); v != (verified{42666, 2141, 943}) {
		t.Errorf("got %+v", v)
	}
	if os.Getenv("NETFATE_VM") != "" && recorded(t).dir == "" && !*update {
		t.Errorf("nothing is on record of %s, a kernel of the matrix", os.Getenv("NETFATE_VM"))
	}
}
