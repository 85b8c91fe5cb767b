package recording

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/klauspost/compress/zstd"

	"github.com/netfate/netfate/internal/record"
)

var sameBatch = cmp.Options{cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })}

func start() time.Time { return time.Date(2026, 3, 14, 3, 0, 0, 0, time.UTC) }

func header() Header {
	return Header{Host: "web1", Kernel: "6.18.0", Netfate: "0.1", Start: start(), Filter: "udp port 53", IntervalUS: 1e6}
}

// batch makes a batch like a live one: n drops, n samples, 4n flows.
func batch(seed uint64, n int) *record.Batch {
	rng := rand.New(rand.NewPCG(seed, 1))
	uid := uint32(33)
	b := &record.Batch{Start: start().Add(time.Duration(seed) * time.Second), End: start().Add(time.Duration(seed+1) * time.Second)}
	ends := func(i int) record.Endpoints {
		return record.Endpoints{
			Time: b.End, Host: "web1", NetNS: 4026531840, NetNSName: "host", IfName: "eth0", Proto: "tcp",
			SrcAddr: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), SrcPort: uint16(rng.UintN(60000) + 1024),
			DstAddr: netip.MustParseAddr("2001:db8::9"), DstPort: 443,
			Owner: record.Owner{PID: uint32(rng.UintN(40000) + 1), Comm: "nginx", UID: &uid, Cgroup: "/system.slice/nginx.service"},
		}
	}
	for i := range n {
		d := record.Drop{
			Endpoints: ends(i), Reason: "SOCKET_RCVBUFF", Subsystem: "core", Location: "tcp_data_queue+0x2a1",
			Verdict: record.Resource, Packets: rng.Uint64N(1000), Bytes: rng.Uint64N(1e6), Buffers: rng.Uint64N(1000),
			Direction: record.In, SocketState: "established",
		}
		b.Drops = append(b.Drops, d)
		d.Sample, d.Packets, d.Length, d.TCPFlags, d.Stack = true, 1, 1514, "PA", []string{"tcp_data_queue+0x2a1", "tcp_v4_rcv+0x91"}
		d.Packet = make([]byte, 128)
		for j := range d.Packet {
			d.Packet[j] = byte(rng.Uint32())
		}
		b.Samples = append(b.Samples, d)
		seen := rng.Uint64N(9)
		b.Ledger = append(b.Ledger, record.Entry{
			Time: b.End, Start: b.Start, Host: "web1", Scope: record.NetNSScope, NetNS: 4026531840, Direction: record.In, Layer: record.TransportLayer,
			Line: record.Remainder, Packets: rng.Int64N(9) - 4, Seen: &seen,
		})
		for range 4 {
			in, out := rng.Uint64N(1e4), rng.Uint64N(1e4)
			b.Flows = append(b.Flows, record.Flow{
				Endpoints: ends(i), Start: b.Start, End: b.End, Direction: record.In, PacketsIn: in, BytesIn: in * 900,
				PacketsOut: out, BytesOut: out * 900, BuffersIn: in / 2, BufferBytesIn: in * 870, BuffersOut: out, BufferBytesOut: out * 900,
				HostPackets: in + out, HostBytes: (in + out) * 900, TCPFlags: "SPA", RTTMicros: 1200, Name: "example.org",
			})
		}
	}
	return b
}

// texts are the batches as text, which compare far faster than by
// cmp, for the tests that do it thousands of times.
func texts(t testing.TB, batches []*record.Batch) []string {
	t.Helper()
	w := &Writer{kinds: newKinds()}
	var out []string
	for _, b := range batches {
		text, err := w.appendBatch(nil, b)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(text))
	}
	return out
}

func write(t testing.TB, limits Limits, batches ...*record.Batch) []byte {
	t.Helper()
	var buf bytes.Buffer
	w, err := NewWriter(&buf, header(), limits)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range batches {
		if err := w.Batch(b); err != nil && !errors.Is(err, ErrFull) {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func readAll(data []byte) (batches []*record.Batch, note string, err error) {
	// Hide the concrete type, so that nothing takes a shortcut over it.
	r, err := Open(struct{ io.Reader }{bytes.NewReader(data)})
	if err != nil {
		return nil, "", err
	}
	defer r.Close()
	for {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			return batches, r.Note(), nil
		}
		if err != nil {
			return batches, r.Note(), err
		}
		batches = append(batches, b)
	}
}

func plain(t testing.TB, data []byte) []byte {
	t.Helper()
	dec, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	text, err := dec.DecodeAll(data, nil)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestRoundTrip(t *testing.T) {
	hostile := batch(3, 2)
	hostile.Drops[0].Comm = "a\x1b[31m\"\\\n\u202e\U000e0001<&>é世"
	hostile.Drops[0].Stack = []string{"plain", "with \"quote\""}
	hostile.Samples[0].SrcAddr = netip.MustParseAddr("fe80::1%a\"b")
	hostile.Flows[0].Other, hostile.Flows[0].Drops = true, 1<<64-1
	root := uint32(0)
	hostile.Flows[1].UID = &root
	hostile.Lost = []record.Lost{{Time: hostile.End, Place: "drop_ring", Reason: "full", Count: 12, Effect: "samples are missing"}}
	want := []*record.Batch{batch(0, 3), {Start: start(), End: start().Add(time.Second)}, batch(2, 1), hostile}
	data := write(t, Limits{}, want...)
	for name, file := range map[string][]byte{"zstd": data, "plain text": plain(t, data)} {
		got, note, err := readAll(file)
		if err != nil || note != "" {
			t.Fatalf("%s: got error %v, note %q", name, err, note)
		}
		if d := cmp.Diff(want, got, sameBatch); d != "" {
			t.Errorf("%s: read differs from written (-want +got):\n%s", name, d)
		}
	}
	r, err := Open(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	wantHeader := header()
	wantHeader.Magic, wantHeader.Version = Magic, Version
	if d := cmp.Diff(wantHeader, r.Header()); d != "" {
		t.Errorf("header (-want +got):\n%s", d)
	}
}

// Cut anywhere, a recording reads up to its last whole batch and says so.
func TestCut(t *testing.T) {
	batches := []*record.Batch{batch(0, 1), batch(1, 1), batch(2, 1)}
	data, want := write(t, Limits{}, batches...), texts(t, batches)
	last := 0
	for n := range data {
		got, note, err := readAll(data[:n])
		if err != nil {
			if !errors.Is(err, ErrNotRecording) || last > 0 {
				t.Fatalf("cut at %d of %d: got error %v", n, len(data), err)
			}
			continue
		}
		if !strings.Contains(note, "cut off") {
			t.Fatalf("cut at %d of %d: got note %q, want it to say that it is cut off", n, len(data), note)
		}
		if len(got) < last || len(got) > len(want) {
			t.Fatalf("cut at %d: got %d batches after %d", n, len(got), last)
		}
		last = len(got)
		if d := cmp.Diff(want[:last], texts(t, got), cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("cut at %d (-want +got):\n%s", n, d)
		}
	}
	if last != len(want) {
		t.Errorf("got %d batches of a recording without its trailer, want %d", last, len(want))
	}
}

// A flipped bit is told, or at worst hits what no checksum covers and changes
// nothing; it never gives other numbers.
func TestDamage(t *testing.T) {
	batches := []*record.Batch{batch(0, 1), batch(1, 1)}
	data, want := write(t, Limits{}, batches...), texts(t, batches)
	for i := range data {
		bad := bytes.Clone(data)
		bad[i] ^= 1 << (i % 8)
		got, _, err := readAll(bad)
		if len(got) > len(want) {
			t.Fatalf("bit flipped in byte %d: got %d batches, want at most %d", i, len(got), len(want))
		}
		if d := cmp.Diff(want[:len(got)], texts(t, got), cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("bit flipped in byte %d, error %v: numbers changed (-want +got):\n%s", i, err, d)
		}
	}
}

func TestLimits(t *testing.T) {
	many := make([]*record.Batch, 20)
	for i := range many {
		many[i] = batch(uint64(i), 5)
	}
	for name, limits := range map[string]Limits{"bytes": {Bytes: 16 << 10}, "duration": {Duration: 7 * time.Second}} {
		var buf bytes.Buffer
		w, err := NewWriter(&buf, header(), limits)
		if err != nil {
			t.Fatal(err)
		}
		var full *FullError
		for _, b := range many {
			if err = w.Batch(b); err == nil && full != nil {
				t.Fatalf("%s: a batch was taken after the recording was full", name)
			}
			errors.As(err, &full)
		}
		if !errors.Is(err, ErrFull) || full == nil || full.Bound != name {
			t.Fatalf("%s: got error %v, want ErrFull", name, err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if w.Written().Batches+w.Refused().Batches != 20 || w.Written().Flows+w.Refused().Flows != 20*20 {
			t.Errorf("%s: got %+v written and %+v refused, want 20 batches and 400 flows together", name, w.Written(), w.Refused())
		}
		if limits.Bytes > 0 && int64(buf.Len()) > limits.Bytes {
			t.Errorf("got %d bytes, want at most %d", buf.Len(), limits.Bytes)
		}
		if int64(buf.Len()) != w.Size() {
			t.Errorf("%s: got size %d, want %d", name, w.Size(), buf.Len())
		}
		got, note, err := readAll(buf.Bytes())
		if err != nil || !strings.Contains(note, "stopped by its bound on "+name) {
			t.Errorf("%s: got note %q, error %v", name, note, err)
		}
		if uint64(len(got)) != w.Written().Batches || (name == "duration" && len(got) != 7) {
			t.Errorf("%s: read %d batches, wrote %d", name, len(got), w.Written().Batches)
		}
	}
	if _, err := NewWriter(io.Discard, header(), Limits{Bytes: 100}); err == nil {
		t.Error("got no error for a bound below the header")
	}
}

// A batch too large for one frame is split, and its halves add up.
func TestHalves(t *testing.T) {
	b := batch(0, 4)
	var buf bytes.Buffer
	w, err := NewWriter(&buf, header(), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.halves(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got, _, err := readAll(buf.Bytes())
	if err != nil || len(got) != 2 {
		t.Fatalf("got %d batches, error %v, want 2", len(got), err)
	}
	if d := cmp.Diff(b.Flows, append(got[0].Flows, got[1].Flows...), sameBatch); d != "" {
		t.Errorf("flows (-want +got):\n%s", d)
	}
}

type failing struct{ after int }

func (f *failing) Write(p []byte) (int, error) {
	if f.after--; f.after < 0 {
		return 0, errors.New("no space left on device")
	}
	return len(p), nil
}

func TestWriteFails(t *testing.T) {
	w, err := NewWriter(&failing{after: 2}, header(), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Batch(batch(0, 1)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := w.Batch(batch(1, 1)); err == nil || !strings.Contains(err.Error(), "no space left") {
			t.Errorf("got %v, want the error of the write", err)
		}
	}
	if err := w.Close(); err != nil {
		t.Errorf("got %v from Close, want nil: the failure was told", err)
	}
}

func TestRefuses(t *testing.T) {
	head := `{"magic":"netfate-recording","version":1}` + "\n"
	cases := []struct{ name, text, want string }{
		{"empty", "", "not a netfate recording"},
		{"pcap", "\xd4\xc3\xb2\xa1\x02\x00\x04\x00", "not a netfate recording"},
		{"other json", `{"a":1}` + "\n", "not a netfate recording"},
		{"newer", `{"magic":"netfate-recording","version":2,"netfate":"9.0"}` + "\n", "the one that wrote it (9.0)"},
		{"no object", head + "hello\n", "not an object of one member"},
		{"stray", head + `{"drop":{}}` + "\n", "stands outside its batch"},
		{"nested", head + `{"batch":{"drops":1}}` + "\n" + `{"batch":{}}` + "\n", "inside a batch"},
		{"surplus", head + `{"batch":{"drops":1,"flows":1}}` + "\n" + `{"drop":{}}` + "\n" + `{"drop":{}}` + "\n" + `{"flow":{}}` + "\n", "more lines of a kind"},
		{"bad type", head + `{"batch":{"drops":1}}` + "\n" + `{"drop":{"packets":"x"}}` + "\n", "field packets"},
		{"bad json", head + `{"batch":{"drops":1}}` + "\n" + `{"drop":{"packets":}}` + "\n", "parse record"},
		{"negative", head + `{"batch":{"drops":-1}}` + "\n", "batch line"},
		{"lost batch", head + `{"trailer":{"batches":1}}` + "\n", "parts of it are missing"},
		{"joined", head + `{"trailer":{}}` + "\n" + head, "joined with cat"},
		{"long line", head + `{"batch":{"drops":1}}` + "\n" + `{"drop":{"comm":"` + strings.Repeat("a", maxLine) + `"}}` + "\n", "longer than"},
	}
	for _, c := range cases {
		if _, _, err := readAll([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got error %v, want %q", c.name, err, c.want)
		}
	}
}

func TestUnknownKind(t *testing.T) {
	text := `{"magic":"netfate-recording","version":1,"more":true}` + "\n" +
		`{"batch":{"drops":1,"smells":1}}` + "\n" + `{"drop":{"packets":3,"colour":"red"}}` + "\n" + `{"smell":{}}` + "\n" +
		`{"trailer":{"batches":1,"drops":1,"smells":1}}` + "\n"
	got, note, err := readAll([]byte(text))
	if err != nil || len(got) != 1 || got[0].Drops[0].Packets != 3 || !strings.Contains(note, "1 lines are of kinds") {
		t.Errorf("got %v, note %q, error %v", got, note, err)
	}
}

// A small file that claims or unfolds to much must not take memory.
func TestHostileSize(t *testing.T) {
	head := `{"magic":"netfate-recording","version":1}` + "\n"
	claim := head + `{"batch":{"drops":18446744073709551615}}` + "\n" + `{"drop":{}}` + "\n"
	if _, note, err := readAll([]byte(claim)); err != nil || note == "" {
		t.Errorf("got note %q, error %v for a batch that claims too much", note, err)
	}
	enc, err := zstd.NewWriter(nil, zstd.WithWindowSize(16<<20))
	if err != nil {
		t.Fatal(err)
	}
	defer enc.Close()
	// A frame whose window is larger than we allow.
	var big bytes.Buffer
	enc.Reset(&big)
	if _, err := io.WriteString(enc, head); err != nil {
		t.Fatal(err)
	}
	if _, err := enc.Write(bytes.Repeat([]byte{' '}, 17<<20)); err != nil {
		t.Fatal(err)
	}
	if err := enc.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := readAll(big.Bytes()); !errors.Is(err, zstd.ErrWindowSizeExceeded) {
		t.Errorf("got %v, want ErrWindowSizeExceeded", err)
	}
	if size := max(reflect.TypeFor[record.Drop]().Size(), reflect.TypeFor[record.Flow]().Size()); size > recordCost {
		t.Errorf("a record takes %d bytes, recordCost says %d", size, recordCost)
	}
}

func FuzzReader(f *testing.F) {
	data := write(f, Limits{}, batch(0, 2), batch(1, 1))
	f.Add(data)
	f.Add(plain(f, data))
	f.Add(data[:len(data)/2])
	f.Add([]byte(`{"magic":"netfate-recording","version":1}` + "\n" + `{"batch":{"drops":1}}` + "\n" + `{"drop":{"stack":["a\u0000"],"uid":0}}` + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		first, _, _ := readAll(data)
		// Whatever was read can be written and read again, the same.
		var buf bytes.Buffer
		w, err := NewWriter(&buf, header(), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		var kept []*record.Batch
		for _, b := range first {
			if w.Batch(b) == nil {
				kept = append(kept, b)
			}
		}
		if err := w.Close(); err != nil {
			return // a time beyond the year 9999
		}
		again, _, err := readAll(buf.Bytes())
		if err != nil {
			t.Fatalf("read what was written: %v", err)
		}
		if d := cmp.Diff(kept, again, sameBatch); d != "" {
			t.Fatalf("written again differs (-first +again):\n%s", d)
		}
	})
}

// ParseJSON has a fast way for what we write and a general one, which a
// leading space forces: both must read the same.
func FuzzParse(f *testing.F) {
	fields := newKinds().drop
	for _, s := range batch(0, 2).Samples {
		s.Comm = "a\x1b\"\\\u202e\xff"
		f.Add(record.AppendSparseJSON(nil, fields, &s))
		f.Add(record.AppendJSON(nil, fields, &s, true))
	}
	f.Add([]byte(`{"time":"2026-03-14T03:00:00.5Z","stack":[],"sample":true,"uid":4294967296}`))
	f.Add([]byte(`{"comm":"a","comm":null}`))
	f.Add([]byte(`{"time":"2026-03-14T03:00:00,500000000Z"}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var fast, general record.Drop
		errFast := record.ParseJSON(data, fields, &fast)
		errGeneral := record.ParseJSON(append([]byte{' '}, data...), fields, &general)
		if (errFast == nil) != (errGeneral == nil) {
			t.Fatalf("%q: got error %v, in the general way %v", data, errFast, errGeneral)
		}
		if errFast != nil {
			return
		}
		got, want := record.AppendJSON(nil, fields, &fast, true), record.AppendJSON(nil, fields, &general, true)
		if !bytes.Equal(got, want) {
			t.Fatalf("%q: got\n%s\nin the general way\n%s", data, got, want)
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	batches := make([]*record.Batch, 8)
	for i := range batches {
		batches[i] = batch(uint64(i), 1000)
	}
	w, err := NewWriter(io.Discard, header(), Limits{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	rows := 0
	for i := 0; b.Loop(); i++ {
		if err := w.Batch(batches[i%8]); err != nil {
			b.Fatal(err)
		}
		rows += 6000
	}
	b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric(float64(w.Size())/float64(rows), "bytes/row")
}

func BenchmarkRead(b *testing.B) {
	batches := make([]*record.Batch, 8)
	for i := range batches {
		batches[i] = batch(uint64(i), 1000)
	}
	data := write(b, Limits{}, batches...)
	b.ReportAllocs()
	rows := 0
	for b.Loop() {
		got, _, err := readAll(data)
		if err != nil || len(got) != 8 {
			b.Fatal(fmt.Errorf("read %d batches: %w", len(got), err))
		}
		rows += 8 * 6000
	}
	b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
}
