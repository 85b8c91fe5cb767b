package api

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/record"
)

// TestEvents follows two kinds and reads what a batch brings, twice.
func TestEvents(t *testing.T) {
	s := newServer(t, func(c *Config) { c.API.Listen = []string{"unix:" + filepath.Join(t.TempDir(), "s")} })
	stop := serve(t, s)
	defer stop()
	body := follow(t, s, "/events?kinds=flows,drops")
	defer body.Close()
	in := bufio.NewReader(body)
	if line, err := in.ReadString('\n'); err != nil || line != ": netfate\n" {
		t.Fatalf("got %q, %v first", line, err)
	}
	for range 2 {
		if err := s.events.Batch(minute()); err != nil {
			t.Fatal(err)
		}
		var events []string
		for told := 0; told < 3; {
			line, err := in.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if name, ok := strings.CutPrefix(line, "event: "); ok {
				events = append(events, strings.TrimSpace(name))
			}
			data, ok := strings.CutPrefix(line, "data: ")
			if !ok {
				continue
			}
			told++
			var got struct {
				Time string
				Rows []map[string]any
				Lost []map[string]any
			}
			if err := json.Unmarshal([]byte(data), &got); err != nil {
				t.Fatalf("%v in %s", err, data)
			}
			switch events[len(events)-1] {
			case "tick":
				if got.Time != "2026-11-30T12:00:10Z" {
					t.Errorf("got a tick of %s", got.Time)
				}
			case "flows":
				if len(got.Rows) != 3 || got.Rows[0]["comm"] != "nginx" || got.Lost[0]["place"] != "drop_ring" {
					t.Errorf("got %s", data)
				}
			}
		}
		if !slices.Equal(events, []string{"flows", "drops", "tick"}) {
			t.Errorf("got %q", events)
		}
	}
	stop()
	if _, err := in.ReadString('x'); err == nil {
		t.Error("events go on after the end")
	}
}

// follow asks for events and returns once the server has taken the client.
func follow(t *testing.T, s *Server, target string) (body interface {
	Read([]byte) (int, error)
	Close() error
}) {
	t.Helper()
	addr := s.Addrs()[0]
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, addr.Network(), addr.String())
	}}
	t.Cleanup(tr.CloseIdleConnections)
	r, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, "http://netfate"+prefix+target, nil)
	if err != nil {
		t.Fatal(err)
	}
	w, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	if w.StatusCode != 200 || w.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("got %d, %s", w.StatusCode, w.Header)
	}
	return w.Body
}

// TestSlowClients has 200 clients follow over a real socket, a quarter of which never
// read: those are dropped and counted, and nobody else waits for them.
func TestSlowClients(t *testing.T) {
	const all, slow, batches, waiting = 200, 50, 8, 4
	s := newServer(t, func(c *Config) { c.API.Listen = []string{"unix:" + filepath.Join(t.TempDir(), "s")} })
	s.events.waiting = waiting
	defer serve(t, s)()
	var ticks sync.WaitGroup
	ready := make(chan struct{}, all)
	got := make([]int, all)
	for i := range all {
		body := follow(t, s, "/events?kinds=flows")
		defer body.Close()
		if i < slow {
			continue
		}
		ticks.Go(func() {
			in := bufio.NewReaderSize(body, 1<<16)
			for {
				line, err := in.ReadString('\n')
				if err != nil {
					return
				}
				if line == "event: tick\n" {
					got[i]++
					ready <- struct{}{}
				}
			}
		})
	}
	if n := s.events.count(); n != all {
		t.Fatalf("got %d clients, want %d", n, all)
	}
	big := minute()
	for len(big.Flows) < 300 { // more than a socket holds
		big.Flows = append(big.Flows, big.Flows[0])
	}
	for range batches {
		if err := s.events.Batch(big); err != nil {
			t.Fatal(err)
		}
		for range all - slow {
			<-ready
		}
	}
	var dropped uint64
	for _, l := range s.lost.list() {
		if l.Place == "api_events" {
			dropped = l.Count
		}
	}
	if n := s.events.count(); n != all-slow || dropped != slow {
		t.Errorf("got %d clients left and %d dropped, want %d and %d", n, dropped, all-slow, slow)
	}
	if err := s.events.Close(); err != nil {
		t.Fatal(err)
	}
	ticks.Wait()
	for i := slow; i < all; i++ {
		if got[i] != batches {
			t.Errorf("client %d: got %d ticks, want each of %d", i, got[i], batches)
		}
	}
}

func TestTooManyFollow(t *testing.T) {
	s := newServer(t, func(c *Config) { c.API.Clients = 1 })
	if s.events.join([]string{history.Flows}) == nil {
		t.Fatal("the first is sent away")
	}
	if w := request(s, http.MethodGet, prefix+"/events", nil); w.Code != http.StatusServiceUnavailable {
		t.Errorf("the second: got %d", w.Code)
	}
	if err := s.events.Close(); err != nil {
		t.Fatal(err)
	}
	if s.events.join(nil) != nil {
		t.Error("one came after the end")
	}
}

// TestLargeEvents cuts an event and says by how much.
func TestLargeEvents(t *testing.T) {
	b := minute()
	for len(b.Flows) < maxEventRows+7 {
		b.Flows = append(b.Flows, b.Flows[0])
	}
	_, data, _ := strings.Cut(strings.TrimSpace(string(event(b, history.Flows))), "data: ")
	var got struct {
		Rows []json.RawMessage
		Lost []struct {
			Place string
			Count int
		}
	}
	if err := json.Unmarshal([]byte(data), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Rows) != maxEventRows || len(got.Lost) != 2 || got.Lost[1].Count != 7 {
		t.Errorf("got %d rows, lost %v", len(got.Rows), got.Lost)
	}
	if len(b.Lost) != 1 {
		t.Error("the batch was changed")
	}
	if event(&record.Batch{}, history.Flows) != nil {
		t.Error("an event of nothing")
	}
}

// TestPumpNeverWaits hands out batches that nobody takes.
func TestPumpNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(1, newLosses())
		f := h.join([]string{history.Flows})
		for range waitingBatches + 1 {
			if err := h.Batch(minute()); err != nil {
				t.Fatal(err)
			}
		}
		n := 0
		for range f.ch {
			n++
		}
		if n != waitingBatches || h.count() != 0 {
			t.Errorf("got %d batches and %d followers, want %d and none", n, h.count(), waitingBatches)
		}
		h.leave(f) // it notices later
	})
}
