package bpfmap

import (
	"context"
	"fmt"
	"os/exec"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/netfate/netfate/test/need"
)

// BenchmarkDump reads a hash map of a million entries in batches and key by key,
// and has bpftool do it, if there is one. The last line, ratio, tells how many
// times as fast the batches are.
//
//	go test -run '^$' -bench Dump ./internal/bpfmap
func BenchmarkDump(b *testing.B) {
	need.Root(b)
	const entries = 1_000_000
	raw, err := ebpf.NewMap(&ebpf.MapSpec{Name: "bench_dump", Type: ebpf.Hash, KeySize: 4, ValueSize: 8, MaxEntries: entries})
	if err != nil {
		b.Fatal(err)
	}
	m, err := New(raw)
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	fill(b, raw, entries)
	perDump := map[string]float64{}
	measure := func(b *testing.B, name string, pass func(*dump) error) {
		for b.Loop() {
			n := 0
			d := &dump{m: m, ctx: context.Background(), each: func(*Entry) error { n++; return nil }}
			d.entry.Values = make([][]byte, 1)
			if err := pass(d); err != nil {
				b.Fatal(err)
			}
			if n != entries {
				b.Fatalf("got %d entries, want %d", n, entries)
			}
		}
		perDump[name] = b.Elapsed().Seconds() / float64(b.N)
		b.ReportMetric(entries/perDump[name], "entries/s")
	}
	b.Run("batches", func(b *testing.B) {
		measure(b, "batches", func(d *dump) error {
			done, err := d.batches()
			if !done {
				return fmt.Errorf("no batches here: %w", err)
			}
			return err
		})
	})
	b.Run("keys", func(b *testing.B) { measure(b, "keys", (*dump).keys) })
	b.Run("bpftool", func(b *testing.B) { bpftool(b, m, perDump) })
	b.Run("ratio", func(b *testing.B) {
		for b.Loop() {
		}
		if perDump["batches"] == 0 || perDump["keys"] == 0 {
			b.Log("no ratio without the other two")
			return
		}
		ratio := perDump["keys"] / perDump["batches"]
		b.ReportMetric(ratio, "keys/batches")
		if t := perDump["bpftool"]; t > 0 {
			b.ReportMetric(t/perDump["batches"], "bpftool/batches")
		}
		if ratio < 5 {
			b.Errorf("batches are %.1f times as fast as key by key, want 5 at least", ratio)
		}
	})
}

// bpftool has bpftool print the map to nowhere, as JSON.
func bpftool(b *testing.B, m *Map, perDump map[string]float64) {
	path, err := exec.LookPath("bpftool")
	if err != nil {
		b.Fatal("bpftool is not installed: apt-get install bpftool")
	}
	for b.Loop() {
		cmd := exec.Command(path, "map", "dump", "-p", "id", m.id())
		cmd.Stdout = nil // /dev/null
		if err := cmd.Run(); err != nil {
			b.Fatal(err)
		}
	}
	perDump["bpftool"] = b.Elapsed().Seconds() / float64(b.N)
}
