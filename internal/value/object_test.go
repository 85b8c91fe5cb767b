package value

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"
)

// source has values that clang lays out, so that what is expected of them is
// what a reader of the C expects, and no second decoder is asked.
const source = `
typedef unsigned char __u8; typedef unsigned short __u16; typedef unsigned int __u32; typedef unsigned long long __u64;
typedef signed char __s8; typedef long long __s64;
typedef __u16 __be16; typedef __u32 __be32;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define htons(x) __builtin_bswap16(x)
#define htonl(x) __builtin_bswap32(x)
#else
#define htons(x) (x)
#define htonl(x) (x)
#endif
struct in6_addr { union { __u8 u6_addr8[16]; __be16 u6_addr16[8]; __be32 u6_addr32[4]; } in6_u; };
enum state { CLOSED, OPEN = 7 };
enum verdict { DENY = -1, ALLOW = 1 };
enum large { SMALL = 1, LARGE = 1ULL << 40 };

struct all {
	char letter; __s8 small; _Bool yes; short s; int i; __s64 l; unsigned long long u; __u8 pad;
	enum state st; enum verdict v; enum large lg; enum state odd;
	int f : 3; unsigned g : 5; enum verdict h : 4; _Bool y : 1; __u64 big : 40;
	const volatile char comm[16];
	__be16 dport; __be32 saddr; __be32 seq; __u8 daddr[16]; struct in6_addr in6; __u8 mac[6]; __u8 raw[3];
	__u16 grid[2][3]; char names[2][4];
	float fl; double d; void *null; struct all *restrict next;
	union { __u32 word; __u8 bytes[4]; };
	struct { __u8 inner; struct { __u8 innermost; }; };
	union { __u32 v4; __u8 v6[4]; } key;
	struct pair { __u8 a; __u64 b; } pairs[2];
} sample = {
	.letter = 'a', .small = -2, .yes = 1, .s = -300, .i = -2147483647 - 1, .l = -5, .u = ~0ULL,
	.st = OPEN, .v = DENY, .lg = LARGE, .odd = 3,
	.f = -2, .g = 17, .h = DENY, .y = 1, .big = 1ULL << 39,
	.comm = "b\"sh\033",
	.dport = htons(443), .saddr = htonl(0x0a000001), .seq = htonl(5),
	.daddr = { [10] = 255, 255, 192, 0, 2, 1 }, .in6 = { .in6_u.u6_addr16 = { htons(0x2001), htons(0xdb8), [7] = htons(1) } },
	.mac = { 2, 0, 0, 0, 0, 0xfe }, .raw = { 1, 2, 3 },
	.grid = { { 1, 2, 3 }, { 4, 5, 6 } }, .names = { "abcd", "e" },
	.fl = 0.5f, .d = -1e100,
	.bytes = { 1, 1, 1, 1 }, .inner = 8, .innermost = 9,
	.key.v6 = { 2, 2, 2, 2 }, .pairs = { { 1, 2 }, { 3, 4 } },
};

struct tail { __u64 len; __u16 kind; char text[]; } with_tail = { 3, 5, "abcdefghi" };
`

const wantSample = `{"letter":97,"small":-2,"yes":true,"s":-300,"i":-2147483648,"l":-5,"u":18446744073709551615,"pad":0,` +
	`"st":"OPEN","v":"DENY","lg":"LARGE","odd":3,` +
	`"f":-2,"g":17,"h":"DENY","y":true,"big":549755813888,` +
	`"comm":"b\"sh\u001b",` +
	`"dport":443,"saddr":"10.0.0.1","seq":5,"daddr":"192.0.2.1","in6":"2001:db8::1","mac":"02:00:00:00:00:fe","raw":[1,2,3],` +
	`"grid":[[1,2,3],[4,5,6]],"names":["abcd","e"],` +
	`"fl":0.5,"d":-1e+100,"null":"0x0","next":"0x0",` +
	`"word":16843009,"bytes":[1,1,1,1],"inner":8,"innermost":9,` +
	`"key":{"v4":33686018,"v6":[2,2,2,2]},"pairs":[{"a":1,"b":2},{"a":3,"b":4}]}`

const wantSampleText = `{letter=97 small=-2 yes=true s=-300 i=-2147483648 l=-5 u=18446744073709551615 pad=0 ` +
	`st=OPEN v=DENY lg=LARGE odd=3 ` +
	`f=-2 g=17 h=DENY y=true big=549755813888 ` +
	`comm="b\"sh\x1b" ` +
	`dport=443 saddr=10.0.0.1 seq=5 daddr=192.0.2.1 in6=2001:db8::1 mac=02:00:00:00:00:fe raw=0x010203 ` +
	`grid=[[1 2 3] [4 5 6]] names=["abcd" "e"] ` +
	`fl=0.5 d=-1e+100 null=0x0 next=0x0 ` +
	`word=16843009 bytes=0x01010101 inner=8 innermost=9 ` +
	`key={v4=33686018 v6=0x02020202} pairs=[{a=1 b=2} {a=3 b=4}]}`

// variable returns the type of a variable of the object and its bytes in it.
func variable(t *testing.T, object, name string) (btf.Type, []byte) {
	t.Helper()
	spec, err := btf.LoadSpec(object)
	if err != nil {
		t.Fatal(err)
	}
	var v *btf.Var
	if err := spec.TypeByName(name, &v); err != nil {
		t.Fatal(err)
	}
	file, err := elf.Open(object)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	symbols, err := file.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range symbols {
		if s.Name == name {
			data, err := file.Sections[s.Section].Data()
			if err != nil {
				t.Fatal(err)
			}
			return v, data[s.Value : s.Value+s.Size]
		}
	}
	t.Fatalf("%s has no symbol", name)
	return nil, nil
}

func TestObject(t *testing.T) {
	dir := t.TempDir()
	file, object := filepath.Join(dir, "sample.bpf.c"), filepath.Join(dir, "sample.bpf.o")
	if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("clang-19", "-target", "bpf", "-O2", "-g", "-c", file, "-o", object).CombinedOutput()
	if err != nil {
		t.Fatalf("compile: %v\n%s", err, out)
	}

	typ, data := variable(t, object, "sample")
	if diff := cmp.Diff(wantSample, string(AppendJSON(nil, typ, data))); diff != "" {
		t.Errorf("JSON (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(wantSampleText, string(AppendText(nil, typ, data))); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
	parsed, err := Parse(typ, wantSample)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(data, parsed); diff != "" {
		t.Errorf("parsed (-want +got):\n%s", diff)
	}
	for n := range data { // no length panics
		AppendText(AppendJSON(nil, typ, data[:n]), typ, data[:n])
	}

	// The text begins in what would be padding.
	typ, data = variable(t, object, "with_tail")
	const wantTail = `{"len":3,"kind":5,"text":"abcdefghi"}`
	if got := string(AppendJSON(nil, typ, data)); got != wantTail {
		t.Errorf("got %s, want %s", got, wantTail)
	}
	parsed, err = Parse(typ, wantTail)
	if want := data[:len(data)-1]; err != nil || string(parsed) != string(want) { // without the NUL
		t.Errorf("parsed: got %x, error %v; want %x", parsed, err, want)
	}
}
