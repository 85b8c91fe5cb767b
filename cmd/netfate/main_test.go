package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/internal/recording"
	"github.com/netfate/netfate/internal/view/table"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"netfate": main})
}

// TestStories plays the program as a user would; testdata/*.txtar.
func TestStories(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			if err := writeLookups(filepath.Join(env.WorkDir, "lookups.pcap"), lookups()...); err != nil {
				return err
			}
			said, err := refused()
			if err != nil {
				return err
			}
			if err := writeSpeech(filepath.Join(env.WorkDir, "tls.pcap"), said...); err != nil {
				return err
			}
			if err := writeSpeech(filepath.Join(env.WorkDir, "shop.pcap"), shop()...); err != nil {
				return err
			}
			for name, batches := range map[string][]record.Batch{"night.nfr": night(), "morning.nfr": morning(), "empty.nfr": nil} {
				if err := writeRecording(filepath.Join(env.WorkDir, name), batches); err != nil {
					return err
				}
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
		Condition: func(name string) (bool, error) {
			if name != "history" {
				return false, fmt.Errorf("there is no condition %q", name)
			}
			return hasHistory(t.TempDir())
		},
	})
}

// exits CODE [nobody] COMMAND…: runs it, without privileges if nobody is to, and
// holds its exit code against CODE. Its output goes to the files stdout and
// stderr.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	command := args[1:]
	if command[0] == "nobody" {
		command = command[1:]
		if os.Geteuid() == 0 {
			command = append([]string{"unshare", "--user"}, command...)
		}
	}
	err = ts.Exec(command[0], command[1:]...)
	ts.Check(os.WriteFile(ts.MkAbs("stdout"), []byte(ts.ReadFile("stdout")), 0o644))
	ts.Check(os.WriteFile(ts.MkAbs("stderr"), []byte(ts.ReadFile("stderr")), 0o644))
	got := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("got exit code %d, want %d", got, want)
	}
}

// night is what a recording of a small host could hold.
func night() []record.Batch {
	at := time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)
	uid := uint32(33)
	web := record.Owner{PID: 812, Comm: "nginx", UID: &uid}
	rnd := rand.New(rand.NewPCG(1, 2))
	var batches []record.Batch
	for i := range 3 {
		b := record.Batch{Start: at, End: at.Add(time.Second)}
		at = b.End
		ends := func(src, dst string, port uint16, o record.Owner) record.Endpoints {
			return record.Endpoints{
				Time: b.End, Host: "web1", NetNS: 4026531840, NetNSName: "host", IfName: "eth0", Proto: "tcp",
				SrcAddr: netip.MustParseAddr(src), SrcPort: uint16(40000 + i), DstAddr: netip.MustParseAddr(dst), DstPort: port, Owner: o,
			}
		}
		b.Drops = append(b.Drops,
			record.Drop{
				Endpoints: ends("198.51.100.7", "192.0.2.1", 22, record.Owner{}), Reason: "NETFILTER_DROP", Subsystem: "core",
				Location: "nft_do_chain+0x40e", Verdict: record.Policy, Packets: 3, Bytes: 180, Buffers: 3, Direction: record.In,
			},
			record.Drop{
				Endpoints: ends("198.51.100.7", "192.0.2.1", 443, web), Reason: "TCP_OFOMERGE", Subsystem: "core",
				Location: "tcp_data_queue_ofo+0x1", Verdict: record.Benign, Packets: 1, Bytes: 60, Buffers: 1, Direction: record.In,
			})
		seen := uint64(3)
		for _, e := range []record.Entry{
			{Station: "ip", Layer: record.RoutingLayer, Line: record.Came, What: "from the layer below", Packets: 1000},
			{Station: "ip", Layer: record.NetfilterLayer, Line: record.LostLine, What: "NETFILTER_DROP", Packets: 3, Seen: &seen, Verdict: record.Policy},
			{Station: "ip", Layer: record.RoutingLayer, Line: record.Remainder, Packets: -2},
			{Station: "total", Layer: record.TotalLayer, Line: record.Came, What: "received", Packets: 1000},
			{Station: "total", Layer: record.TotalLayer, Line: record.Remainder, Packets: -2},
		} {
			e.Time, e.Start, e.Host, e.Scope, e.NetNS, e.NetNSName = b.End, b.Start, "web1", record.NetNSScope, 4026531840, "host"
			e.Direction, e.Unit = record.In, "buffers"
			b.Ledger = append(b.Ledger, e)
		}
		b.Samples = append(b.Samples, b.Drops[0])
		b.Samples[0].Sample, b.Samples[0].Packet, b.Samples[0].PacketLink, b.Samples[0].PacketLength = true, []byte{0x45, 0}, "ip", 60
		for range 4 {
			n := uint64(rnd.IntN(1000))
			f := record.Flow{
				Endpoints: ends("198.51.100."+strconv.Itoa(rnd.IntN(200)), "192.0.2.1", 443, web), Start: b.Start, End: b.End,
				Direction: record.In, PacketsIn: n, BytesIn: n * 100, PacketsOut: n, BytesOut: n * 1400,
				HostPackets: 2 * n, HostBytes: n * 1500, TCPFlags: "SPA",
			}
			b.Flows = append(b.Flows, f)
		}
		b.Conns = append(b.Conns,
			record.Conn{Endpoints: ends("10.0.0.5", "10.0.0.9", 443, web), Event: record.ConnOpened, Side: record.Client, Start: b.Start, ConnectMicros: 850},
			record.Conn{Endpoints: ends("10.0.0.5", "10.0.0.9", 81, web), Event: record.ConnFailed, Side: record.Client, Start: b.Start, Error: "refused"})
		b.Queries = append(b.Queries, record.Query{
			Endpoints: ends("10.0.0.5", "10.0.0.53", 53, web), Protocol: "dns", QName: "db.example.com", QType: "A", RCode: "NOERROR",
			Answers: []string{"10.0.0.9"}, LatencyMicros: 900, Server: "10.0.0.53",
		})
		b.Lost = append(b.Lost, record.Lost{Time: b.End, Place: "drops", Reason: "ring full", Count: 2, Effect: "not shown one by one"})
		batches = append(batches, b)
	}
	return batches
}

// morning is the same host five hours later, for twice as long: the firewall is
// gone, a socket is full, a backup runs, and what the web server sends is larger.
func morning() []record.Batch {
	var batches []record.Batch
	for i := range 2 * len(night()) {
		b := night()[i%3]
		b.Start = time.Date(2026, 11, 22, 8, 0, i, 0, time.UTC)
		b.End = b.Start.Add(time.Second)
		b.Drops = b.Drops[1:]
		full := b.Drops[0]
		full.Reason, full.Location, full.Verdict, full.Packets, full.Bytes = "SOCKET_RCVBUFF", "udp_queue_rcv_one_skb+0x2f4", record.Resource, 50, 5000
		for i := range b.Flows {
			b.Flows[i].HostBytes, b.Flows[i].BytesOut = 3*b.Flows[i].HostBytes, 3*b.Flows[i].BytesOut
		}
		backup := b.Flows[0]
		backup.DstPort, backup.Comm, backup.Name = 873, "rsync", "backup.example.com"
		backup.SrcAddr, backup.HostPackets, backup.HostBytes, backup.BytesOut = netip.MustParseAddr("198.51.100.250"), 1e5, 1e8, 1e8
		b.Drops, b.Flows = append(b.Drops, full), append(b.Flows, backup)
		batches = append(batches, b)
	}
	return batches
}

func writeRecording(path string, batches []record.Batch) error {
	var file bytes.Buffer
	header := recording.Header{Host: "web1"}
	if len(batches) > 0 {
		header.Start = batches[0].Start
	}
	w, err := recording.NewWriter(&file, header, recording.Limits{})
	if err != nil {
		return err
	}
	for i := range batches {
		if err := w.Batch(&batches[i]); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return os.WriteFile(path, file.Bytes(), 0o644)
}

// TestRecordingPrintsTheSame checks that every view prints from a recording
// what it printed from the batches that were recorded.
func TestRecordingPrintsTheSame(t *testing.T) {
	path := filepath.Join(t.TempDir(), "night.nfr")
	if err := writeRecording(path, night()); err != nil {
		t.Fatal(err)
	}
	views := map[string]func(out, notes *bytes.Buffer, o table.Options) (table.View, error){
		"drops": func(out, notes *bytes.Buffer, o table.Options) (table.View, error) {
			return table.NewDrops(out, notes, o)
		},
		"flows": func(out, notes *bytes.Buffer, o table.Options) (table.View, error) {
			return table.NewFlows(out, notes, o)
		},
		"conns": func(out, notes *bytes.Buffer, o table.Options) (table.View, error) {
			if o.Format != table.Table {
				o.By = ""
			}
			return table.NewConns(out, notes, o)
		},
	}
	for name, open := range views {
		for _, format := range []table.Format{table.Table, table.JSON, table.CSV} {
			for _, o := range []table.Options{{}, {All: true}, {Each: name == "drops"}, {By: "process"}, {Rows: 1, Width: 80}} {
				if o.By != "" && name == "drops" {
					continue
				}
				o.Format = format
				live := show(t, open, o, func(view table.View) {
					for _, b := range night() {
						if err := view.Batch(&b); err != nil {
							t.Fatal(err)
						}
					}
				})
				read := show(t, open, o, func(view table.View) { replay(t, path, view) })
				if diff := cmp.Diff(live, read); diff != "" {
					t.Errorf("%s %+v: got from the recording (+), live (-):\n%s", name, o, diff)
				}
			}
		}
	}
}

func show(t *testing.T, open func(out, notes *bytes.Buffer, o table.Options) (table.View, error), o table.Options, feed func(table.View)) string {
	t.Helper()
	var out, notes bytes.Buffer
	view, err := open(&out, &notes, o)
	if err != nil {
		t.Fatal(err)
	}
	feed(view)
	if err := view.Close(); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s\n-- notes\n%s", &out, &notes)
}

func replay(t *testing.T, path string, view table.View) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r, err := recording.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for {
		b, err := r.Next()
		if err != nil {
			break
		}
		if err := view.Batch(b); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.Read().Batches; got != 3 {
		t.Fatalf("got %d batches from the recording, want 3", got)
	}
}
