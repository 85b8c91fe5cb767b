package main

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/record"
)

func TestParseMoment(t *testing.T) {
	now := time.Date(2026, 11, 30, 9, 30, 0, 0, time.UTC)
	at := func(month time.Month, day, hour, minute int) time.Time {
		return time.Date(2026, month, day, hour, minute, 0, 0, time.UTC)
	}
	for text, want := range map[string]time.Time{
		"": {}, "03:00": at(11, 30, 3, 0), "23:59": at(11, 29, 23, 59), "09:30:00": now, "-30m": at(11, 30, 9, 0), "-7d": at(11, 23, 9, 30),
		"2026-11-30T03:00": at(11, 30, 3, 0), "2026-11-01": at(11, 1, 0, 0), "2026-11-30T03:00:00+01:00": at(11, 30, 2, 0),
	} {
		if got, err := parseMoment(text, now, time.Time{}); err != nil || !got.Equal(want) {
			t.Errorf("%q: got %v, error %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"yesterday", "25:00", "-", "-5", "--5m", "30m", "-1x", "2026-13-01"} {
		if got, err := parseMoment(text, now, now); err == nil {
			t.Errorf("%q: got %v, want an error", text, got)
		}
	}
}

// What the history gives back adds up to what it was given.
func TestPastAddsUp(t *testing.T) {
	dir := t.TempDir()
	if ok, err := hasHistory(dir); err != nil || !ok {
		return
	}
	path := filepath.Join(dir, "history.duckdb")
	sink, err := newHistorySink(path, true)
	if err != nil {
		t.Fatal(err)
	}
	batches := night()
	for i := range 7 {
		r := record.Request{HostName: "h", Path: "/", Status: 200, ResponseBytes: uint64(100 + i), LatencyMicros: 1000, OneIn: uint32(i % 3 * 4)}
		r.Time = batches[0].End
		batches[0].Requests = append(batches[0].Requests, r)
	}
	want := map[string]uint64{}
	for i := range batches {
		count(want, &batches[i])
		if err := sink.Batch(&batches[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
	q := query{path: path}
	// Also where a minute has more than one answer holds.
	small := func(ctx context.Context, statement string, l history.Limits) (history.Table, error) {
		t, err := q.ask(ctx, statement, l)
		if l.Rows == pastRows && !strings.Contains(statement, "hash(") {
			t.Cut = true
		}
		return t, err
	}
	for name, ask := range map[string]asker{"whole": q.ask, "in parts": small} {
		got := addUp(t, ask)
		for what, n := range want {
			if got[what] != n {
				t.Errorf("%s: %s: got %d, want %d", name, what, got[what], n)
			}
		}
	}
	if want["packets"] == 0 || want["requests"] < 7 || want["dropped"] == 0 {
		t.Errorf("the night has too little: %v", want)
	}
}

// addUp counts what the history gives back of all kinds.
func addUp(t *testing.T, ask asker) map[string]uint64 {
	t.Helper()
	got := map[string]uint64{}
	for _, kind := range history.Kinds() {
		s, err := openPast(t.Context(), ask, time.Unix(0, 0), time.Now().AddDate(10, 0, 0), kind)
		if err != nil {
			continue // there was nothing of the kind
		}
		for {
			b, err := s.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if kind != history.Lost {
				b.Lost = nil // they come with each kind
			}
			count(got, b)
		}
	}
	return got
}

func count(n map[string]uint64, b *record.Batch) {
	for i := range b.Flows {
		n["packets"] += b.Flows[i].PacketsIn + b.Flows[i].PacketsOut
		n["bytes"] += b.Flows[i].BytesIn + b.Flows[i].BytesOut
	}
	for i := range b.Drops {
		n["dropped"] += b.Drops[i].Packets
	}
	for i := range b.Requests {
		r := &b.Requests[i]
		n["requests"] += uint64(max(r.OneIn, 1))
		n["response bytes"] += uint64(max(r.OneIn, 1)) * r.ResponseBytes
	}
	for i := range b.Conns {
		if e := b.Conns[i].Event; e != record.ConnOpen && e != record.ConnListens {
			n["conns"]++
			n["payload"] += b.Conns[i].BytesIn + b.Conns[i].BytesOut
		}
	}
	n["queries"] += uint64(len(b.Queries))
	for i := range b.Ledger {
		n["ledger"] += uint64(b.Ledger[i].Packets)
	}
	for i := range b.Lost {
		n["lost"] += b.Lost[i].Count
	}
}
