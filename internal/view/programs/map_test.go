package programs

import (
	"encoding/binary"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/bpfmap"
	"github.com/netfate/netfate/internal/inventory"
)

func mapInt(name string, size uint32) *btf.Int { return &btf.Int{Name: name, Size: size} }

func mapCount() *btf.Struct {
	return &btf.Struct{Name: "count", Size: 16, Members: []btf.Member{
		{Name: "packets", Type: mapInt("__u64", 8)}, {Name: "bytes", Offset: 64, Type: mapInt("__u64", 8)},
	}}
}

func mapU32(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

func mapCounts(packets, bytes uint64) []byte {
	return binary.NativeEndian.AppendUint64(binary.NativeEndian.AppendUint64(nil, packets), bytes)
}

// mapEntries are those of a map by port, on two CPUs.
func mapEntries() []*bpfmap.Entry {
	port, count := mapInt("__u32", 4), mapCount()
	return []*bpfmap.Entry{
		{Key: mapU32(80), KeyType: port, ValueType: count, Values: [][]byte{mapCounts(1, 100), mapCounts(2, 200)}},
		{Key: mapU32(8080), KeyType: port, ValueType: count, Values: [][]byte{mapCounts(1<<63, 0), mapCounts(0, 5)}},
	}
}

func TestMapDump(t *testing.T) {
	for _, c := range []struct {
		name string
		o    MapOptions
		want string
	}{
		{"table", MapOptions{Format: "table"}, `
 KEY              PACKETS  BYTES
  80                    3    300
8080  9223372036854775808      5
`},
		{"split", MapOptions{Format: "table", Split: true, Width: 20}, `
 KEY  CPU          ~
  80    0          ~
  80    1          ~
8080    0  92233720~
8080    1          ~
`},
		{"json", MapOptions{Format: "json"}, `
{"key":80,"value":{"packets":3,"bytes":300}}
{"key":8080,"value":{"packets":9223372036854775808,"bytes":5}}
`},
		{"json split", MapOptions{Format: "json", Split: true}, `
{"key":80,"values":[{"cpu":0,"value":{"packets":1,"bytes":100}},{"cpu":1,"value":{"packets":2,"bytes":200}}]}
{"key":8080,"values":[{"cpu":0,"value":{"packets":9223372036854775808,"bytes":0}},{"cpu":1,"value":{"packets":0,"bytes":5}}]}
`},
		{"csv", MapOptions{Format: "csv"}, `
key,value.packets,value.bytes
80,3,300
8080,9223372036854775808,5
`},
		{"mixed", MapOptions{Format: "table", Mixed: true}, `
 KEY  VALUE
  80  {packets=3 bytes=300}
8080  {packets=9223372036854775808 bytes=5}
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			d := NewMapDump(&out, c.o)
			for _, e := range mapEntries() {
				if err := d.Add(e); err != nil {
					t.Fatal(err)
				}
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(strings.TrimPrefix(c.want, "\n"), out.String()); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

// TestMapDumpStreams checks that rows beyond those that are measured are written,
// each once, and that untyped ones are hex.
func TestMapDumpStreams(t *testing.T) {
	var out strings.Builder
	d := NewMapDump(&out, MapOptions{Format: "table"})
	for i := range uint32(sampleRows + 10) {
		if err := d.Add(&bpfmap.Entry{Key: mapU32(i), Values: [][]byte{mapU32(i)}}); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := strings.Count(out.String(), "\n"), sampleRows+11; got != want {
		t.Errorf("got %d lines before Close, want %d", got, want)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	if got, want := len(lines), sampleRows+12; got != want {
		t.Errorf("got %d lines, want %d", got, want)
	}
	if got, want := lines[2], "0x01000000  0x01000000"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func mapSample() *bpfmap.Sample {
	count := mapCount()
	numbers := bpfmap.Numbers(count)
	return &bpfmap.Sample{
		Time: time.Date(2026, 3, 14, 3, 0, 0, 0, time.UTC), Elapsed: time.Second, Keys: 12, Moving: 2, Hidden: 10, Rest: 1.25,
		Report: bpfmap.Report{Changed: true},
		Rows: []bpfmap.Row{
			{
				Key: mapU32(80), KeyType: mapInt("__u32", 4), Value: mapCounts(30, 3000), ValueType: count, CPU: -1,
				Numbers: numbers, Delta: []int64{10, 1000}, Rate: []float64{10, 1000}, Changed: true,
			},
			{Key: mapU32(443), KeyType: mapInt("__u32", 4), Value: mapCounts(1, 2), ValueType: count, CPU: -1, Numbers: numbers},
		},
	}
}

func TestMapWatch(t *testing.T) {
	w := MapWatch{Name: "ports"}
	want := []string{
		"ports  03:00:00  12 keys, 2 changed in 1s",
		"KEY  PACKETS  /s  BYTES    /s",
		" 80       30  10   3000  1000",
		"443        1   -      2     -",
		"10 more not shown, together 1.2/s",
		ChangedNote,
	}
	if d := cmp.Diff(want, w.Lines(mapSample())); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	w.Width = 20
	for _, line := range w.Lines(mapSample()) {
		if len(line) > 20 {
			t.Errorf("got %q, want at most 20 columns", line)
		}
	}
}

func TestWriteWatchJSON(t *testing.T) {
	var out strings.Builder
	if err := WriteWatchJSON(&out, mapSample()); err != nil {
		t.Fatal(err)
	}
	want := `{"time":"2026-03-14T03:00:00Z","key":80,"value":{"packets":30,"bytes":3000},"delta":{"packets":10,"bytes":1000},"rate":{"packets":10,"bytes":1000}}
{"time":"2026-03-14T03:00:00Z","key":443,"value":{"packets":1,"bytes":2},"delta":null,"rate":null}
`
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestWriteMapList(t *testing.T) {
	maps := []MapRow{
		{Info: bpfmap.Info{ID: 7, Type: "hash", Name: "flows", KeySize: 8, ValueSize: 16, MaxEntries: 1000, Memory: 90112, Pins: []string{"/sys/fs/bpf/a", "/sys/fs/bpf/\x1b[2J"}},
			Programs: []uint32{3, 5}, Owners: []inventory.Owner{{PID: 12, Comm: "agent"}}},
		{Info: bpfmap.Info{ID: 120, Type: "ringbuf", MaxEntries: 4096}},
	}
	var out strings.Builder
	if err := WriteMapList(&out, maps, "table", 0); err != nil {
		t.Fatal(err)
	}
	want := ` ID  TYPE     NAME   KEY  VALUE   MAX  MEMORY  PROGRAMS  OWNERS     PINS
  7  hash     flows    8     16  1000  88.0ki  3 5       12(agent)  /sys/fs/bpf/a "/sys/fs/bpf/\x1b[2J"
120  ringbuf  -        0      0  4096       0  -         -          -
`
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	for _, format := range []string{"json", "csv"} {
		out.Reset()
		if err := WriteMapList(&out, maps, format, 0); err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(out.String(), "\n")
		if format == "json" && (!json.Valid([]byte(first)) || !strings.Contains(first, `"max_entries":1000`)) {
			t.Errorf("got %s", first)
		}
		if got, want := strings.Count(out.String(), "\n"), map[string]int{"json": 2, "csv": 3}[format]; got != want {
			t.Errorf("%s: got %d lines, want %d", format, got, want)
		}
	}
}
