package record

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

// kinds returns a new zero record of every kind.
func kinds() []any {
	return []any{new(Drop), new(Flow), new(Alert), new(Change), new(Entry), new(Lost)}
}

// fill sets every field of rec to a value of its own that is not zero.
func fill(t *testing.T, rec any) {
	t.Helper()
	fields := Fields(rec)
	for i := range fields {
		f := &fields[i]
		v := f.value(rec)
		n := uint64(i + 1)
		switch x := v.Addr().Interface().(type) {
		case *time.Time:
			*x = time.Date(2026, 1, 2, 3, 4, 5, i+1, time.UTC)
		case *netip.Addr:
			*x = netip.AddrFrom4([4]byte{192, 0, 2, byte(n)})
			if i%2 == 0 {
				*x = netip.MustParseAddr("fe80::1%eth0").WithZone(fmt.Sprintf("eth%d", n))
			}
		case *[]string:
			*x = []string{"kfree_skb_reason+0x1", fmt.Sprintf("tcp_v4_rcv+%#x", n)}
		case *[]byte:
			*x = []byte{0, 0xff, byte(n)}
		case **uint32:
			*x = new(uint32)
			**x = uint32(n)
		case **uint64:
			*x = new(uint64)
			**x = n
		default:
			switch v.Kind() {
			case reflect.String:
				v.SetString(fmt.Sprintf("“%s” \\ \x1b[31m\u202e %d\n", f.Name, n))
			case reflect.Bool:
				v.SetBool(true)
			case reflect.Uint16, reflect.Uint32, reflect.Uint64:
				v.SetUint(1<<v.Type().Bits() - n)
			case reflect.Int64:
				v.SetInt(-1<<62 + int64(n))
			default:
				t.Fatalf("%s: do not know how to fill a %s", f.Name, v.Type())
			}
		}
	}
	// A field without a rec tag would be lost on the way through a file.
	rv := reflect.ValueOf(rec).Elem()
	for _, sf := range reflect.VisibleFields(rv.Type()) {
		if !sf.Anonymous && rv.FieldByIndex(sf.Index).IsZero() {
			t.Fatalf("%T.%s: has no rec tag", rec, sf.Name)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	for _, rec := range kinds() {
		t.Run(reflect.TypeOf(rec).Elem().Name(), func(t *testing.T) {
			fill(t, rec)
			fields := Fields(rec)
			full := AppendJSON(nil, fields, rec, true)
			var indented bytes.Buffer
			if err := json.Indent(&indented, full, "", "\t"); err != nil {
				t.Fatalf("indent: %v", err)
			}
			for name, text := range map[string][]byte{
				"full":   full,
				"sparse": AppendSparseJSON(nil, fields, rec),
				// What others have reformatted takes the general way.
				"indented": indented.Bytes(),
			} {
				back := reflect.New(reflect.TypeOf(rec).Elem()).Interface()
				if err := ParseJSON(text, fields, back); err != nil {
					t.Errorf("%s: %v", name, err)
					continue
				}
				if !reflect.DeepEqual(back, rec) {
					again := AppendJSON(nil, fields, back, true)
					t.Errorf("%s: (-want +got)\n%s", name, cmp.Diff(members(t, full), members(t, again)))
				}
			}
		})
	}
}

// members returns the members of a JSON object as text.
func members(t *testing.T, object []byte) map[string]string {
	t.Helper()
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(object, &raw); err != nil {
		t.Fatalf("not JSON: %v: %s", err, object)
	}
	text := map[string]string{}
	for name, value := range raw {
		text[name] = string(value)
	}
	return text
}

// TestStandardDecoder lets encoding/json judge what AppendJSON writes.
func TestStandardDecoder(t *testing.T) {
	for _, rec := range kinds() {
		fields := Fields(rec)
		if got := string(AppendSparseJSON(nil, fields, rec)); got != "{}" {
			t.Errorf("%T: got %s for a sparse zero record, want {}", rec, got)
		}
		empty := members(t, AppendJSON(nil, fields, rec, true))
		fill(t, rec)
		full := members(t, AppendJSON(nil, fields, rec, true))
		for _, f := range fields {
			want := "null"
			switch {
			case f.Type == "bool":
				want = "false"
			case f.Role == Measure:
				want = "0"
			}
			if got := empty[f.Name]; got != want {
				t.Errorf("%T.%s: got %s for a zero record, want %s", rec, f.Name, got, want)
			}
			if got, ok := full[f.Name]; !ok || got == "null" {
				t.Errorf("%T.%s: got %q for a full record, want a value", rec, f.Name, got)
			}
		}
		if len(full) != len(fields) || len(empty) != len(fields) {
			t.Errorf("%T: got %d and %d members, want %d", rec, len(full), len(empty), len(fields))
		}
	}
}

// TestHarmlessText checks that no name a process gives itself reaches a
// terminal as anything but text.
func TestHarmlessText(t *testing.T) {
	names := []string{"\x1b]0;title\x07", "a\u202eb", "\u009b31m", "\x7f", "\xff\xfe", "\u2028", "\U000e0001", "tab\tline\nquote\"back\\", "日本 ü 🙂", "<&>"}
	fields := Fields(Drop{})
	for _, name := range names {
		rec := &Drop{}
		rec.Comm = name
		line := AppendJSON(nil, fields, rec, false)
		for _, r := range string(line) {
			if !unicode.IsPrint(r) {
				t.Errorf("%q: got %q in %s", name, r, line)
			}
		}
		var back Drop
		if err := ParseJSON(line, fields, &back); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		if want := string([]rune(name)); back.Comm != want {
			t.Errorf("got %q, want %q", back.Comm, want)
		}
	}
}

func sampleDrop() *Drop {
	uid := uint32(0)
	return &Drop{
		Endpoints: Endpoints{
			Time: time.Date(2026, 11, 22, 10, 0, 0, 5, time.UTC), Host: "web1", NetNS: 4026531840, IfName: "eth0", Proto: "udp",
			SrcAddr: netip.MustParseAddr("192.0.2.1"), SrcPort: 5353, DstAddr: netip.MustParseAddr("2001:db8::1"), DstPort: 53,
			Owner: Owner{PID: 7, Comm: "named", UID: &uid, Cgroup: "/system.slice/named.service"},
		},
		Reason: "SOCKET_RCVBUFF", Subsystem: "core", Location: "udp_queue_rcv_one_skb+0x1a", Verdict: Resource,
		Packets: 3, Bytes: 3126, Buffers: 3, Direction: In, Packet: []byte{0xca, 0xfe}, Stack: []string{"a+0x1", "b+0x2"},
	}
}

func TestDropLine(t *testing.T) {
	const want = `{"time":"2026-11-22T10:00:00.000000005Z","host":"web1","netns":4026531840,"netns_name":null,"ifname":"eth0",` +
		`"proto":"udp","src_addr":"192.0.2.1","src_port":5353,"dst_addr":"2001:db8::1","dst_port":53,` +
		`"pid":7,"comm":"named","uid":0,"cgroup":"/system.slice/named.service","container":null,"container_name":null,"pod":null,` +
		`"pod_namespace":null,"reason":"SOCKET_RCVBUFF","subsystem":"core","location":"udp_queue_rcv_one_skb+0x1a","verdict":"resource",` +
		`"packets":3,"bytes":3126,"buffers":3,"length":null,"tcp_flags":null,"direction":"in","socket_state":null,` +
		`"stack":["a+0x1","b+0x2"],"rule":null,"inner_proto":null,"inner_src_addr":null,"inner_src_port":null,` +
		`"inner_dst_addr":null,"inner_dst_port":null,"name":null,"sample":false}`
	fields := Fields(Drop{})
	if got := string(AppendJSON(nil, fields, sampleDrop(), false)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	hidden := strings.TrimSuffix(want, "}") + `,"packet_hex":"cafe","packet_link":null,"packet_length":null}`
	if got := string(AppendJSON(nil, fields, sampleDrop(), true)); got != hidden {
		t.Errorf("hidden: got  %s\nwant %s", got, hidden)
	}
	const sparse = `{"time":"2026-11-22T10:00:00.000000005Z","host":"web1","netns":4026531840,"ifname":"eth0","proto":"udp",` +
		`"src_addr":"192.0.2.1","src_port":5353,"dst_addr":"2001:db8::1","dst_port":53,"pid":7,"comm":"named","uid":0,` +
		`"cgroup":"/system.slice/named.service","reason":"SOCKET_RCVBUFF","subsystem":"core","location":"udp_queue_rcv_one_skb+0x1a",` +
		`"verdict":"resource","packets":3,"bytes":3126,"buffers":3,"direction":"in","stack":["a+0x1","b+0x2"],"packet_hex":"cafe"}`
	if got := string(AppendSparseJSON(nil, fields, sampleDrop())); got != sparse {
		t.Errorf("sparse: got  %s\nwant %s", got, sparse)
	}
}

func TestText(t *testing.T) {
	rec := sampleDrop()
	fields := Fields(rec)
	got := map[string]string{}
	for i := range fields {
		if text := fields[i].Text(rec); text != "" {
			got[fields[i].Name] = text
		}
	}
	want := map[string]string{
		"time": "2026-11-22T10:00:00.000000005Z", "host": "web1", "netns": "4026531840", "ifname": "eth0", "proto": "udp",
		"src_addr": "192.0.2.1", "src_port": "5353", "dst_addr": "2001:db8::1", "dst_port": "53",
		"pid": "7", "comm": "named", "uid": "0", "cgroup": "/system.slice/named.service",
		"reason": "SOCKET_RCVBUFF", "subsystem": "core", "location": "udp_queue_rcv_one_skb+0x1a", "verdict": "resource",
		"packets": "3", "bytes": "3126", "buffers": "3", "direction": "in", "stack": "a+0x1;b+0x2", "sample": "false", "packet_hex": "cafe",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	lost := Fields(Lost{})
	if got := lost[3].Text(&Lost{}); got != "0" {
		t.Errorf("a measure of zero: got %q, want 0", got)
	}
}

func TestParseJSON(t *testing.T) {
	fields := Fields(Drop{})
	parse := func(text string) error { return ParseJSON([]byte(text), fields, &Drop{}) }
	for _, text := range []string{
		`{}`, ` {"pid": 1} `, `{"from_the_future":{"a":[1]},"pid":1}`, `{"pid":null}`, `{"packets":18446744073709551615}`,
		`{"comm":"\u0041\ud83d\ude42"}`, `{"src_port":65535,"pid":4294967295}`, `{"stack":[]}`, `{"dst_port":1,"src_port":2}`,
	} {
		if err := parse(text); err != nil {
			t.Errorf("%s: got %v, want nil", text, err)
		}
	}
	for text, want := range map[string]string{
		``:                                 "parse record",
		`[]`:                               "parse record",
		`{"pid":1`:                         "parse record",
		`{"pid":1}}`:                       "parse record",
		`{"pid":"1"}`:                      "field pid",
		`{"pid":-1}`:                       "field pid",
		`{"pid":1.5}`:                      "field pid",
		`{"src_port":65536}`:               "field src_port",
		`{"uid":4294967296}`:               "field uid",
		`{"src_addr":"192.0.2.256"}`:       "field src_addr",
		`{"time":"yesterday"}`:             "field time",
		`{"packet_hex":"abc"}`:             "field packet_hex",
		`{"sample":1}`:                     "field sample",
		`{"stack":["a",1]}`:                "field stack",
		`{"packets":99999999999999999999}`: "field packets",
	} {
		if err := parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want an error with %q", text, err, want)
		}
	}
}

// TestDeclarations holds the schema to its rules: names fit for SQL, every
// field explained, units where there is something to count.
func TestDeclarations(t *testing.T) {
	name := regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
	for _, rec := range kinds() {
		seen := map[string]bool{}
		times := 0
		for _, f := range Fields(rec) {
			id := fmt.Sprintf("%T.%s", rec, f.Name)
			if seen[f.Name] {
				t.Errorf("%s: declared twice", id)
			}
			seen[f.Name] = true
			if !name.MatchString(f.Name) {
				t.Errorf("%s: not snake_case", id)
			}
			if !strings.HasSuffix(f.Doc, ".") && !strings.HasSuffix(f.Doc, "…") || strings.ContainsAny(f.Doc, "|\n") {
				t.Errorf("%s: doc %q, want a sentence that fits a table", id, f.Doc)
			}
			switch f.Role {
			case TimeRole:
				times++
			case Measure:
				if f.Type != "uint" && f.Type != "int" {
					t.Errorf("%s: a measure of type %s", id, f.Type)
				}
			case Dimension:
			default:
				t.Errorf("%s: role %q", id, f.Role)
			}
			if strings.HasSuffix(f.Name, "_us") != (f.Unit == "us") {
				t.Errorf("%s: unit %q, want a duration to say it in its name", id, f.Unit)
			}
		}
		if times != 1 {
			t.Errorf("%T: got %d fields of role time, want 1", rec, times)
		}
	}
}

func TestVerdicts(t *testing.T) {
	want := []Verdict{"loss", "resource", "refused", "policy", "invalid", "benign"}
	if diff := cmp.Diff(want, Verdicts()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// FuzzParseJSON checks that whatever is accepted is written back as text that
// reads as the same record.
func FuzzParseJSON(f *testing.F) {
	fields := Fields(Drop{})
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"dst_port":1, "src_port":2,"uid":0,"sample":true,"stack":["a","b"],"time":"2026-01-01T00:00:00+01:00"}`))
	f.Add([]byte(`{"comm":"\ud800\u0000\"","src_addr":"fe80::1%eth0","packet_hex":"00FF","verdict":"loss"}`))
	f.Add(AppendJSON(nil, fields, sampleDrop(), true))
	f.Add(AppendSparseJSON(nil, fields, sampleDrop()))
	f.Fuzz(func(t *testing.T, data []byte) {
		var first Drop
		if ParseJSON(data, fields, &first) != nil {
			return
		}
		if !json.Valid(data) {
			t.Fatalf("accepted what is not JSON: %q", data)
		}
		for _, hidden := range [][]byte{AppendJSON(nil, fields, &first, true), AppendSparseJSON(nil, fields, &first)} {
			var second Drop
			if err := ParseJSON(hidden, fields, &second); err != nil {
				t.Fatalf("read back %s: %v", hidden, err)
			}
			want, got := AppendJSON(nil, fields, &first, true), AppendJSON(nil, fields, &second, true)
			if !bytes.Equal(want, got) {
				t.Fatalf("got  %s\nwant %s", got, want)
			}
		}
	})
}
