package decode

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"
)

// header is what both sides are made from.
const header = "../../bpf/lib/abi.h"

// mirrors returns the Go struct of each struct in abi.h. A slot is a key and a
// count side by side, which internal/counting reads as such.
func mirrors() map[string]reflect.Type {
	return map[string]reflect.Type{
		"tuple":       reflect.TypeFor[Tuple](),
		"owner":       reflect.TypeFor[OwnerRef](),
		"process_key": reflect.TypeFor[ProcessKey](),
		"process":     reflect.TypeFor[Process](),
		"bound_key":   reflect.TypeFor[BoundKey](),
		"open_socket": reflect.TypeFor[OpenSocket](),
		"flow_key":    reflect.TypeFor[FlowKey](),
		"flow_count":  reflect.TypeFor[FlowCount](),
		"flow_slot": reflect.TypeFor[struct {
			Key   FlowKey
			Count FlowCount
		}](),
		"drop_key":   reflect.TypeFor[DropKey](),
		"drop_count": reflect.TypeFor[DropCount](),
		"drop_slot": reflect.TypeFor[struct {
			Key   DropKey
			Count DropCount
		}](),
		"drop_event": reflect.TypeFor[DropEvent](),
		"conn":       reflect.TypeFor[Conn](),
		"conn_event": reflect.TypeFor[ConnEvent](),

		"packet_event": reflect.TypeFor[PacketEvent](),
		"frame_event":  reflect.TypeFor[FrameEvent](),
		"device_key":   reflect.TypeFor[DeviceKey](),
		"url_key":      reflect.TypeFor[URLKey](),
		"url_count":    reflect.TypeFor[URLCount](),
	}
}

// otherNames are members that Go spells out.
func otherNames() map[string]string {
	return map[string]string{
		"saddr": "src", "daddr": "dst", "sport": "srcport", "dport": "dstport",
		"sk_state": "socketstate", "sk_rcvbuf": "rcvbuf", "sk_rmem": "rmem",
	}
}

// place is where a member lies. Both languages' structs become lists of it.
type place struct {
	Name         string
	Offset, Size int
	Kind         string
}

// spelled returns a member's name without case and underscores; padding, which
// Go calls _, is pad.
func spelled(name string) string {
	if other, ok := otherNames()[name]; ok {
		return other
	}
	if name == "_" {
		return "pad"
	}
	return strings.ToLower(strings.ReplaceAll(name, "_", ""))
}

func fromC(t *testing.T, s *btf.Struct) (all []place) {
	t.Helper()
	for _, m := range s.Members {
		size, err := btf.Sizeof(m.Type)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, place{spelled(m.Name), int(m.Offset.Bytes()), size, kindC(t, m.Type)})
	}
	return all
}

// kindC says what a member is: u8 to u64, s32, the name of a struct, and […]
// around what an array is of.
func kindC(t *testing.T, typ btf.Type) string {
	t.Helper()
	switch typ := btf.UnderlyingType(typ).(type) {
	case *btf.Int:
		sign := "u"
		if typ.Encoding == btf.Signed {
			sign = "s"
		}
		return sign + strconv.Itoa(int(typ.Size)*8)
	case *btf.Array:
		return fmt.Sprintf("[%d]%s", typ.Nelems, kindC(t, typ.Type))
	case *btf.Struct:
		return typ.Name
	default:
		t.Fatalf("a member is a %T, which has no mirror", typ)
		return ""
	}
}

func fromGo(t *testing.T, s reflect.Type) (all []place) {
	t.Helper()
	for f := range s.Fields() {
		all = append(all, place{spelled(f.Name), int(f.Offset), int(f.Type.Size()), kindGo(t, f.Type)})
	}
	return all
}

func kindGo(t *testing.T, typ reflect.Type) string {
	t.Helper()
	switch typ.Kind() {
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "u" + strconv.Itoa(typ.Bits())
	case reflect.Int32, reflect.Int64:
		return "s" + strconv.Itoa(typ.Bits())
	case reflect.Array:
		return fmt.Sprintf("[%d]%s", typ.Len(), kindGo(t, typ.Elem()))
	}
	for name, mirror := range mirrors() {
		if mirror == typ {
			return name
		}
	}
	t.Fatalf("%v is nothing that C could write", typ)
	return ""
}

// compare holds a struct of C against its mirror.
func compare(t *testing.T, where string, s *btf.Struct) {
	t.Helper()
	mirror, ok := mirrors()[s.Name]
	if !ok {
		t.Errorf("%s: struct %s has no mirror in Go", where, s.Name)
		return
	}
	if diff := cmp.Diff(fromC(t, s), fromGo(t, mirror)); diff != "" {
		t.Errorf("%s: struct %s and %v differ (-C +Go):\n%s", where, s.Name, mirror, diff)
	}
	if int(s.Size) != int(mirror.Size()) {
		t.Errorf("%s: struct %s: got %d bytes in Go, want %d", where, s.Name, mirror.Size(), s.Size)
	}
}

// declared returns the names after a keyword at the beginning of lines of
// abi.h.
func declared(t *testing.T, keyword string) (names []string) {
	t.Helper()
	text, err := os.ReadFile(header)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^`+keyword+` (\w+) \{`).FindAllStringSubmatch(string(text), -1) {
		names = append(names, m[1])
	}
	if len(names) == 0 {
		t.Fatalf("no %s is declared in %s: the pattern is wrong", keyword, header)
	}
	return names
}

// compiled returns the types of abi.h as clang lays them out. A type that
// nothing uses has no BTF, so every one gets a variable.
func compiled(t *testing.T) *btf.Spec {
	t.Helper()
	source := []byte(`typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef int __s32;
typedef unsigned long long __u64;
typedef long long __s64;
#include "abi.h"
`)
	for _, name := range declared(t, "struct") {
		source = fmt.Appendf(source, "struct %s the_%s = {};\n", name, name)
	}
	for _, name := range declared(t, "enum") {
		source = fmt.Appendf(source, "enum %s the_%s = 1;\n", name, name)
	}
	object := filepath.Join(t.TempDir(), "abi.o")
	cmd := exec.Command("clang-19", "-target", "bpf", "-O2", "-g", "-Wall", "-Werror",
		"-I"+filepath.Dir(header), "-x", "c", "-c", "-", "-o", object)
	cmd.Stdin = bytes.NewReader(source)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("clang-19: %v\n%s", err, out)
	}
	spec, err := btf.LoadSpec(object)
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// TestABIOfHeader holds every struct of abi.h against its mirror, and every
// mirror against abi.h.
func TestABIOfHeader(t *testing.T) {
	spec := compiled(t)
	seen := map[string]bool{}
	for _, name := range declared(t, "struct") {
		var s *btf.Struct
		if err := spec.TypeByName(name, &s); err != nil {
			t.Fatalf("struct %s: %v", name, err)
		}
		compare(t, header, s)
		seen[name] = true
	}
	for name := range mirrors() {
		if !seen[name] {
			t.Errorf("the mirror of struct %s has nothing in %s to mirror", name, header)
		}
	}
}

// TestABIOfObjects holds the structs in the BTF of each committed object, of
// both architectures, against their mirrors.
func TestABIOfObjects(t *testing.T) {
	objects, err := filepath.Glob("../sensor/*/bpf_*_bpfel.o")
	if err != nil {
		t.Fatal(err)
	}
	compared := map[string]int{}
	for _, object := range objects {
		spec, err := btf.LoadSpec(object)
		if err != nil {
			t.Fatalf("%s: %v", object, err)
		}
		for name := range mirrors() {
			var s *btf.Struct
			if spec.TypeByName(name, &s) != nil {
				continue // this object does not use it
			}
			compare(t, object, s)
			compared[name]++
		}
	}
	// What lies in maps is in BTF; what only goes through the ring and the
	// iterator is not, and is held by TestABIOfHeader.
	for _, name := range []string{
		"tuple", "owner", "process_key", "process", "bound_key", "flow_key", "flow_count", "flow_slot",
		"drop_key", "drop_count", "drop_slot", "conn",
		"url_key", "url_count",
	} {
		if compared[name] < 2 {
			t.Errorf("struct %s: found in %d objects, want one for each architecture at least", name, compared[name])
		}
	}
}

// TestABIOfEnums holds the flags. enum site is internal/counting's.
func TestABIOfEnums(t *testing.T) {
	want := map[string]map[string]uint64{
		"flow_flag": {"FLOW_TX": FlowTX, "FLOW_BORN": FlowBorn, "FLOW_OTHER": FlowOther, "FLOW_SOFT": FlowSoft},
		"drop_flag": {
			"DROP_IN": DropIn, "DROP_OUT": DropOut, "DROP_FORWARD": DropForward, "DROP_DIRECTION": DropDirection, "DROP_OTHER": DropOther,
		},
		"conn_role": {"CONN_CLIENT": ConnClient, "CONN_SERVER": ConnServer, "CONN_LISTENER": ConnListener},
		"conn_flag": {
			"CONN_OLDER": ConnOlder, "CONN_RST_IN": ConnRSTIn, "CONN_RST_OUT": ConnRSTOut,
			"CONN_FIN_OUT": ConnFINOut, "CONN_FIN_IN": ConnFINIn, "CONN_ALL_ACKED": ConnAllAcked,
		},
		"conn_end":    {"CONN_END_LOCAL": ConnEndLocal, "CONN_END_PEER": ConnEndPeer, "CONN_END_BOTH": ConnEndBoth},
		"packet_flag": {"PACKET_OUT": PacketOut, "PACKET_PLAIN": PacketPlain, "PACKET_CLIENT": PacketClient, "PACKET_SERVER": PacketServer},
		"conn_what":   {"CONN_OPENED": ConnOpened, "CONN_FAILED": ConnFailed, "CONN_CLOSED": ConnClosed, "CONN_OPEN": ConnOpen},
	}
	spec := compiled(t)
	for _, name := range declared(t, "enum") {
		if name == "site" {
			continue
		}
		var e *btf.Enum
		if err := spec.TypeByName(name, &e); err != nil {
			t.Fatalf("enum %s: %v", name, err)
		}
		got := map[string]uint64{}
		for _, v := range e.Values {
			got[v.Name] = v.Value
		}
		if diff := cmp.Diff(got, want[name]); diff != "" {
			t.Errorf("enum %s (-C +Go):\n%s", name, diff)
		}
	}
}

// TestABIOfSizes holds the numbers that abi.h defines.
func TestABIOfSizes(t *testing.T) {
	text, err := os.ReadFile(header)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{
		"ADDR_LEN": AddrLen, "COMM_LEN": CommLen, "PACKET_LEN": PacketLen, "STACK_LEN": StackLen, "CACHE_HOOKS": CacheHooks,
		"METHOD_LEN": MethodLen, "HOST_LEN": HostLen, "PATH_LEN": PathLen,
	}
	for name, value := range want {
		m := regexp.MustCompile(`(?m)^#define ` + name + ` (\d+)`).FindSubmatch(text)
		if m == nil {
			t.Errorf("%s: not in %s", name, header)
		} else if got := string(m[1]); got != strconv.Itoa(value) {
			t.Errorf("%s: got %d in Go, want %s", name, value, got)
		}
	}
	if got := regexp.MustCompile(`(?m)^#define CACHE_BITS (\d+)`).FindSubmatch(text); got == nil || "1<<"+string(got[1]) != fmt.Sprintf("1<<%d", bits(CacheSlots)) {
		t.Errorf("CacheSlots: got %d, want 1 << CACHE_BITS of %s", CacheSlots, header)
	}
}

func bits(n int) (b int) {
	for ; n > 1; n >>= 1 {
		b++
	}
	return b
}
