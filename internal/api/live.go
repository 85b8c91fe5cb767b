package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/record"
)

const (
	// waitingBatches is how many intervals wait for a client before it is dropped.
	waitingBatches = 16
	// maxEventRows bounds the rows of one event, some 1 MB; how many more there were
	// is told in its lost.
	maxEventRows = 2000
	// writeTime is how long a client may take for what one interval brought.
	writeTime = 10 * time.Second
)

// hub hands what happens on to those who follow it. It is a sink: events are
// written once, when somebody follows their kind, and shared by all.
type hub struct {
	max     int
	waiting int // batches that wait for one client
	lost    *losses

	mu        sync.Mutex
	followers map[*follower]struct{}
	closed    bool
}

// follower is one client.
type follower struct {
	kinds []string
	ch    chan [][]byte // closed when it is dropped, or all is over
}

func newHub(most int, lost *losses) *hub {
	return &hub{max: most, waiting: waitingBatches, lost: lost, followers: map[*follower]struct{}{}}
}

// join adds a client, nil if there are too many.
func (h *hub) join(kinds []string) *follower {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || len(h.followers) >= h.max {
		return nil
	}
	f := &follower{kinds: kinds, ch: make(chan [][]byte, h.waiting)}
	h.followers[f] = struct{}{}
	return f
}

// leave takes a client off, and reports whether it was still there.
func (h *hub) leave(f *follower) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, ok := h.followers[f]
	if ok {
		delete(h.followers, f)
		close(f.ch)
	}
	return ok
}

func (h *hub) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.followers)
}

// wanted lists the kinds that somebody follows.
func (h *hub) wanted() (kinds []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for f := range h.followers {
		for _, kind := range f.kinds {
			if !slices.Contains(kinds, kind) {
				kinds = append(kinds, kind)
			}
		}
	}
	return kinds
}

// Batch implements agent.Sink: it never waits for a client.
func (h *hub) Batch(b *record.Batch) error {
	for _, l := range b.Lost {
		h.lost.add(l.Place, l.Reason, l.Count, l.Effect)
	}
	events := map[string][]byte{}
	for _, kind := range h.wanted() {
		if event := event(b, kind); event != nil {
			events[kind] = event
		}
	}
	tick := []byte(fmt.Sprintf("event: tick\ndata: {\"time\":%q}\n\n", b.End.UTC().Format(time.RFC3339Nano)))
	h.mu.Lock()
	defer h.mu.Unlock()
	for f := range h.followers {
		var frames [][]byte
		for _, kind := range f.kinds {
			if events[kind] != nil {
				frames = append(frames, events[kind])
			}
		}
		select {
		case f.ch <- append(frames, tick):
		default:
			h.slow()
			delete(h.followers, f)
			close(f.ch)
		}
	}
	return nil
}

// slow counts a client that is dropped.
func (h *hub) slow() {
	h.lost.add("api_events", "a client did not keep up", 1, "so often a client was dropped; it may come again")
}

// Close implements agent.Sink.
func (h *hub) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for f := range h.followers {
		delete(h.followers, f)
		close(f.ch)
	}
	return nil
}

// event returns the server-sent event of a kind, nil if there is nothing to tell.
func event(b *record.Batch, kind string) []byte {
	n, at := history.Of(b, kind)
	if n == 0 {
		return nil
	}
	fields := history.Fields(kind)
	out := []byte("event: " + kind + "\ndata: {\"rows\":[")
	for i := range min(n, maxEventRows) {
		if i > 0 {
			out = append(out, ',')
		}
		out = record.AppendJSON(out, fields, at(i), false) // on one line, as events want it
	}
	out = append(out, "],\"lost\":["...)
	lost := b.Lost
	if n > maxEventRows {
		lost = append(slices.Clone(lost), record.Lost{
			Time: b.End, Place: "api_events", Reason: "more rows than an event has room for", Count: uint64(n - maxEventRows),
			Effect: "these rows are in the history, not in the event",
		})
	}
	fields = history.Fields(history.Lost)
	for i := range lost {
		if i > 0 {
			out = append(out, ',')
		}
		out = record.AppendJSON(out, fields, &lost[i], false)
	}
	return append(out, "]}\n\n"...)
}

type streamInput struct {
	Kinds []string `query:"kinds" maxItems:"16" doc:"Kinds to follow, with commas between them; all if it is empty."`
}

// stream answers with what happens until the client goes.
func (s *Server) stream(_ context.Context, in *streamInput) (*huma.StreamResponse, error) {
	kinds := in.Kinds
	if len(kinds) == 0 {
		kinds = history.Kinds()
	}
	for i, kind := range kinds {
		if history.Fields(kind) == nil || slices.Contains(kinds[:i], kind) {
			return nil, bad("kinds", kind, fmt.Errorf("no kind, or twice; there are %s", strings.Join(history.Kinds(), ", ")))
		}
	}
	f := s.events.join(kinds)
	if f == nil {
		s.lost.add("api_events", "too many clients", 1, "these clients were sent away")
		return nil, huma.Error503ServiceUnavailable("too many clients follow events; api.clients bounds them")
	}
	return &huma.StreamResponse{Body: func(c huma.Context) {
		defer s.events.leave(f)
		r, w := humago.Unwrap(c)
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("X-Accel-Buffering", "no") // nginx would wait for more
		if errors.Is(pass(r.Context(), w, f.ch), os.ErrDeadlineExceeded) && s.events.leave(f) {
			s.events.slow()
		}
	}}, nil
}

// pass writes what comes, until the client goes, is too slow, or it is over.
func pass(ctx context.Context, w http.ResponseWriter, ch <-chan [][]byte) error {
	out := http.NewResponseController(w)
	// Said at once, so that a client knows that it is connected.
	frames := [][]byte{[]byte(": netfate\n\n")}
	for {
		if err := out.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
			return err
		}
		for _, frame := range frames {
			if _, err := w.Write(frame); err != nil {
				return err
			}
		}
		if err := out.Flush(); err != nil {
			return err
		}
		var ok bool
		select {
		case <-ctx.Done():
			return ctx.Err()
		case frames, ok = <-ch:
			if !ok {
				return nil
			}
		}
	}
}
