package eventtype

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"
)

const prelude = `#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
char LICENSE[] SEC("license") = "GPL";
#define RING(name) struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } name SEC(".maps")
#define PERF(name) struct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __uint(key_size, 4); __uint(value_size, 4); } name SEC(".maps")
`

// compile makes an object of C with the usual flags, and more.
func compile(t testing.TB, source string, more ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "prog.bpf.c")
	if err := os.WriteFile(path, []byte(prelude+source), 0o600); err != nil {
		t.Fatal(err)
	}
	triplet, err := exec.Command("gcc", "-dumpmachine").Output()
	if err != nil {
		t.Fatalf("ask gcc for the machine: %v", err)
	}
	object := filepath.Join(dir, "prog.o")
	args := append([]string{"-O2", "-g", "-target", "bpf", "-I/usr/include/" + strings.TrimSpace(string(triplet)), "-c", path, "-o", object}, more...)
	if out, err := exec.Command("clang-19", args...).CombinedOutput(); err != nil {
		t.Fatalf("compile: %v\n%s", err, out)
	}
	data, err := os.ReadFile(object)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func find(t *testing.T, object []byte, said map[string]string) (map[string]Event, error) {
	t.Helper()
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
	if err != nil {
		t.Fatal(err)
	}
	return Find(bytes.NewReader(object), spec, said)
}

const several = `
enum kind { OPEN = 1, CLOSE = 2 };
struct inner { __u16 a; __s8 b[4]; };
struct event {
	__u64 at;
	int pid;
	char comm[16];
	enum kind kind;
	struct inner in[2];
	unsigned low : 4, high : 12;
	union { __u32 v4; __u8 bytes[4]; };
	void *where;
	_Bool ok;
	double share;
};
struct other { __u64 x[3]; };
struct alike { __u64 y[3]; };
struct said { __u32 z; };
RING(inferred); RING(ambiguous); RING(varying); RING(unused); PERF(perf); RING(named);
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); __type(value, struct said); } declared SEC(".maps");

SEC("raw_tp/sys_enter") int p(void *ctx)
{
	struct event *e = bpf_ringbuf_reserve(&inferred, sizeof(*e), 0);
	struct other o = {};
	struct said s = { 1 };

	if (e) {
		e->at = bpf_ktime_get_ns();
		bpf_ringbuf_submit(e, 0);
	}
	bpf_ringbuf_output(&ambiguous, &o, sizeof(o), 0);
	bpf_ringbuf_output(&varying, &o, bpf_ktime_get_ns() & 7, 0);
	bpf_perf_event_output(ctx, &perf, BPF_F_CURRENT_CPU, &s, sizeof(s));
	bpf_ringbuf_output(&declared, &s, sizeof(s), 0);
	bpf_ringbuf_output(&named, &o, sizeof(o), 0);
	return 0;
}
SEC("raw_tp/sys_exit") int q(struct alike *ctx)
{
	struct alike a = *ctx;

	bpf_ringbuf_output(&ambiguous, &a, sizeof(a), 0);
	return unused_is_used();
}
`

func TestFind(t *testing.T) {
	source := strings.Replace(several, "return unused_is_used();", "bpf_ringbuf_query(&unused, 0);\n\treturn 0;", 1)
	got, err := find(t, compile(t, source), map[string]string{"named": "struct alike"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		name, typ, source, note string
		size                    int
	}{
		{"inferred", "event", Inferred, "the only one of", 80},
		{"ambiguous", "", "", "alike or other", 24},
		{"varying", "", "", "different sizes", 0},
		{"unused", "", "", "no program submits", 0},
		{"perf", "said", Inferred, "the only one of 4 bytes", 4},
		{"declared", "said", Declared, "", 4},
		{"named", "alike", Said, "", 24},
	} {
		e := got[want.name]
		name := ""
		if e.Type != nil {
			name = e.Type.TypeName()
		}
		if name != want.typ || e.Source != want.source || e.Size != want.size || !strings.Contains(e.Note, want.note) {
			t.Errorf("%s: got type %q by %q, %d bytes, note %q; want %q by %q, %d bytes, note %q",
				want.name, name, e.Source, e.Size, e.Note, want.typ, want.source, want.size, want.note)
		}
	}
	if diff := cmp.Diff([]string{"alike", "other"}, got["ambiguous"].Candidates); diff != "" {
		t.Errorf("candidates (-want +got):\n%s", diff)
	}
	event, ok := got["inferred"].Type.(*btf.Struct)
	if !ok {
		t.Fatalf("got %v, want a struct", got["inferred"].Type)
	}
	var members []string
	for _, m := range event.Members {
		members = append(members, m.Name)
	}
	if diff := cmp.Diff([]string{"at", "pid", "comm", "kind", "in", "low", "high", "", "where", "ok", "share"}, members); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
	for i, want := range map[int]btf.Member{5: {Offset: 352, BitfieldSize: 4}, 6: {Offset: 356, BitfieldSize: 12}, 7: {Offset: 384}} {
		if m := event.Members[i]; m.Offset != want.Offset || m.BitfieldSize != want.BitfieldSize {
			t.Errorf("member %s: got bits %d at %d, want %d at %d", m.Name, m.BitfieldSize, m.Offset, want.BitfieldSize, want.Offset)
		}
	}
	if size, err := btf.Sizeof(event); err != nil || size != 80 {
		t.Errorf("got a size of %d, %v; want 80", size, err)
	}
}

// TestIterator tells rows that an iterator writes by their struct; one that prints
// text has none.
func TestIterator(t *testing.T) {
	object := compile(t, `
struct seq_file;
struct meta { struct seq_file *seq; };
struct ctx { struct meta *meta; };
struct row { int pid; char comm[16]; };
SEC("iter/task") int rows(struct ctx *ctx)
{
	struct row r = {};

	bpf_seq_write(ctx->meta->seq, &r, sizeof(r));
	return 0;
}
SEC("iter/task") int text(struct ctx *ctx)
{
	static const char line[] = "x";

	bpf_seq_printf(ctx->meta->seq, line, sizeof(line), 0, 0);
	return 0;
}
`)
	got, err := find(t, object, nil)
	if err != nil {
		t.Fatal(err)
	}
	if e := got["rows"]; e.Type == nil || e.Type.TypeName() != "row" || e.Size != 20 || e.Source != Inferred {
		t.Errorf("got %+v, want struct row of 20 bytes", e)
	}
	if e, ok := got["text"]; ok {
		t.Errorf("got %+v of an iterator that prints text, want nothing", e)
	}
	if got, err = find(t, object, map[string]string{"rows": "meta"}); err != nil || got["rows"].Type.TypeName() != "meta" || got["rows"].Size != 8 {
		t.Errorf("--event rows=meta: got %+v, %v", got["rows"], err)
	}
}

func TestFindErrors(t *testing.T) {
	object := compile(t, `RING(events);
SEC("raw_tp/sys_enter") int p(void *ctx) { int n = 1; bpf_ringbuf_output(&events, &n, sizeof(n), 0); return 0; }`)
	for said, want := range map[string]string{"nothing": "there is no ring buffer", "events": "no struct of that name"} {
		if _, err := find(t, object, map[string]string{said: "nope"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("--event %s=nope: got %v, want %q", said, err, want)
		}
	}
}

// TestWithoutDWARF has BTF and no DWARF: the user is told how to get types.
func TestWithoutDWARF(t *testing.T) {
	object := compile(t, `RING(events); struct e { __u64 a, b; };
SEC("raw_tp/sys_enter") int p(void *ctx) { struct e e = {}; bpf_ringbuf_output(&events, &e, sizeof(e), 0); return 0; }`)
	path := filepath.Join(t.TempDir(), "stripped.o")
	if err := os.WriteFile(path, object, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("llvm-strip-19", "-g", path).CombinedOutput(); err != nil {
		t.Fatalf("strip: %v\n%s", err, out)
	}
	stripped, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := find(t, stripped, nil)
	if err != nil || got["events"].Type != nil || got["events"].Size != 16 || !strings.Contains(got["events"].Note, "-g") {
		t.Errorf("got %+v, %v; want 16 bytes, no type, and a note to compile with -g", got["events"], err)
	}
}

// TestSizesOfBranches has a size and a map that branches choose, and functions
// that are told what to submit: the last instruction above the call knows neither.
func TestSizesOfBranches(t *testing.T) {
	got, err := find(t, compile(t, `RING(sizes); RING(left); RING(right); RING(told);
struct small { __u32 a; }; struct large { __u64 a, b, c; };
static __attribute__((noinline)) int tell(void *data, __u64 n) { return bpf_ringbuf_output(&told, data, n, 0); }
SEC("raw_tp/sys_enter") int p(void *ctx)
{
	struct large l = { 1, 2, 3 };
	__u64 now = bpf_ktime_get_ns();
	__u64 size = now & 1 ? sizeof(struct small) : sizeof(struct large);

	bpf_ringbuf_output(&sizes, &l, size, 0);
	asm volatile("" : "+r"(now));
	bpf_ringbuf_output(now & 2 ? (void *)&left : (void *)&right, &l, sizeof(l), 0);
	return tell(&l, sizeof(l)) + tell(&l, now & 7);
}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, size := range map[string]int{"sizes": 0, "told": 0, "left": 24, "right": 24} {
		if got[name].Size != size || (got[name].Type != nil) != (size > 0) {
			t.Errorf("%s: got %d bytes of %v, want %d", name, got[name].Size, got[name].Type, size)
		}
	}
}

// TestHonestLines has tables of version 5 that claim more files than they have.
func TestHonestLines(t *testing.T) {
	head := "\x40\x00\x00\x00\x05\x00\x08\x00\x20\x00\x00\x00\x08\x01\x01\xfb\x0e\x01" // no opcodes
	dirs := "\x01\x01\x1f\x01aaaa"                                                     // one, by line_strp
	for lines, want := range map[string]bool{
		"\x40\x00\x00\x00\x04\x00":                                true,
		head + dirs + "\x02\x01\x1f\x02\x0f\x01bbbb\x00":          true,
		head + dirs + "\x02\x01\x1f\x02\x0f\x02bbbb\x00":          false,
		head + dirs + "\x00\x01":                                  false,
		head + dirs + "\x01\x01\x1f\xff\xff\xff\xff\x0fbbbb":      false,
		head + "\x01\x01\x1f\xff\xff\xff\xff\xff\xff\xff\xff\x01": false,
		head + dirs + "\x01\x01\x7f\x01bbbb":                      false,
		head:                                                      false, "": false, "\xff\xff\xff\xff\x05\x00": false,
	} {
		if got := honestLines([]byte(lines), 0, binary.LittleEndian); got != want {
			t.Errorf("%q: got %v, want %v", lines, got, want)
		}
	}
	if honestLines(nil, -1, binary.LittleEndian) || honestLines(nil, 1, binary.LittleEndian) {
		t.Error("got that a table out of bounds is honest")
	}
}

// FuzzFind reads whole objects that are broken. The library's parser of ELF and
// BTF has panicked on such before; that is for its caller to catch (the loader
// does), and not what is tested.
func FuzzFind(f *testing.F) {
	f.Add(compile(f, strings.Replace(several, "return unused_is_used();", "return 0;", 1)), "inferred", "event")
	f.Add(compile(f, `RING(r); SEC("raw_tp/x") int p(void *ctx) { bpf_ringbuf_output(&r, &ctx, 8, 0); return 0; }`), "r", "x")
	f.Fuzz(func(t *testing.T, object []byte, name, said string) {
		spec := parse(object)
		if spec == nil {
			return
		}
		for _, said := range []map[string]string{nil, {name: said}} {
			found, err := Find(bytes.NewReader(object), spec, said)
			if err != nil && said == nil {
				t.Fatalf("got %v, want that an object alone is no error", err)
			}
			for name, e := range found {
				if (e.Type == nil) != (e.Source == "") {
					t.Fatalf("%s: got type %v by %q", name, e.Type, e.Source)
				}
			}
		}
	})
}

func parse(object []byte) (spec *ebpf.CollectionSpec) {
	defer func() {
		if recover() != nil {
			spec = nil
		}
	}()
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
	if err != nil {
		return nil
	}
	return spec
}

// FuzzStructs reads DWARF of broken objects: whatever they hold, it must come
// back.
func FuzzStructs(f *testing.F) {
	f.Add(compile(f, strings.Replace(several, "return unused_is_used();", "return 0;", 1)), "event")
	f.Add([]byte("\x7fELF"), "x")
	f.Fuzz(func(t *testing.T, object []byte, name string) {
		d := readStructs(bytes.NewReader(object))
		if d.missing {
			return
		}
		for _, names := range d.names {
			for _, n := range append(names, name) {
				if typ, err := d.named(n); err == nil && typ != nil {
					if _, err := btf.Sizeof(typ); err != nil {
						t.Logf("%s: %v", n, err)
					}
				}
			}
		}
	})
}
