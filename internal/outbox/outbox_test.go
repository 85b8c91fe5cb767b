package outbox

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestBounds has messages come while the first one cannot be sent.
func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var sent []string
		fault := errors.New("away")
		b := New(Config{Name: "x", Target: "y", Bytes: 10, Send: func(_ context.Context, m *Message) error {
			mu.Lock()
			defer mu.Unlock()
			if fault == nil {
				sent = append(sent, string(m.Body))
			}
			return fault
		}})
		for i, body := range []string{"first", "aaaaa", "bbbbb", "c"} { // the first is in hand, then there is room for ten
			b.Put(Message{Body: []byte(body), Rows: uint64(i + 1)})
			synctest.Wait()
		}
		if s := b.Status(); s.Waiting != 6 || s.Sent != 0 || len(s.Lost) != 1 || s.Lost[0].Count != 4 || s.Lost[0].Reason != "the queue is full" || s.Fault != "away" {
			t.Errorf("while it is away: got %+v", s)
		}
		mu.Lock()
		fault = nil
		mu.Unlock()
		time.Sleep(lastPause)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if s := b.Status(); s.Waiting != 0 || s.Sent != 6 || s.Fault != "" || fmt.Sprint(sent) != "[first aaaaa bbbbb]" {
			t.Errorf("afterwards: got %+v, sent %v", s, sent)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestGivingUp has one message refused, and one that never gets through.
func TestGivingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		tries := map[string]int{}
		b := New(Config{Name: "x", Bytes: 100, Patience: time.Minute, Send: func(_ context.Context, m *Message) error {
			mu.Lock()
			defer mu.Unlock()
			tries[string(m.Body)]++
			switch string(m.Body) {
			case "bad":
				return fmt.Errorf("%w: too old", ErrRefused)
			case "partly":
				return &Partly{Rows: 3, Why: "too old"}
			case "later":
				if tries["later"] == 1 {
					return &Later{errors.New("busy"), 20 * time.Second}
				}
			case "never":
				return errors.New("away")
			}
			return nil
		}})
		for _, body := range []string{"bad", "never", "good"} {
			b.Put(Message{Body: []byte(body), Rows: 1})
		}
		b.Put(Message{Body: []byte("partly"), Rows: 10})
		time.Sleep(2 * time.Minute)
		b.Put(Message{Body: []byte("later"), Rows: 1})
		time.Sleep(19 * time.Second)
		synctest.Wait()
		mu.Lock()
		if tries["later"] != 1 {
			t.Errorf("got %d tries before it was asked to come again", tries["later"])
		}
		mu.Unlock()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		s := b.Status()
		if s.Sent != 9 || s.Waiting != 0 || len(s.Lost) != 3 || s.Lost[2].Count != 3 || s.Lost[0].Reason != "refused" || s.Lost[1].Reason != "cannot be sent" {
			t.Errorf("got %+v", s)
		}
		// After 0.1, 0.2 … 6.4 s and then each 10 s.
		if tries["bad"] != 1 || tries["good"] != 1 || tries["never"] < 10 || tries["never"] > 20 {
			t.Errorf("got tries %v", tries)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestCloseEnds with a receiver that hangs.
func TestCloseEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Config{Name: "x", Bytes: 100, Flush: 2 * time.Second, Send: func(ctx context.Context, _ *Message) error {
			<-ctx.Done()
			return ctx.Err()
		}})
		for range 3 {
			b.Put(Message{Body: []byte("m"), Rows: 1})
		}
		b.Lose("not understood", 2, "…")
		begin := time.Now()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took != 2*time.Second {
			t.Errorf("close took %v", took)
		}
		if s := b.Status(); s.Waiting != 0 || len(s.Lost) != 2 || s.Lost[0].Count+s.Lost[1].Count != 5 {
			t.Errorf("got %+v", s)
		}
	})
}
