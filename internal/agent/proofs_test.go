package agent

import (
	"context"
	"testing"
	"time"

	"github.com/netfate/netfate/internal/evidence"
	"github.com/netfate/netfate/internal/ledger"
)

// TestProofs: facts are read once, again when they are old, and not at all when
// there is no time or no namespace.
func TestProofs(t *testing.T) {
	var p proofs
	asked := 0
	own := func(uint32) (string, bool) { asked++; return "/proc/self/ns/net", true }
	now := time.Date(2026, 3, 14, 3, 0, 0, 0, time.UTC)
	ask := func(ctx context.Context, at time.Time, path func(uint32) (string, bool), what string) []evidence.Fact {
		return p.begin(ctx, at, path)(ledger.Question{NetNS: 7, What: what, Keys: []string{"sysctl:net.core.somaxconn"}})
	}
	ctx := t.Context()
	first := ask(ctx, now, own, "a")
	if len(first) != 1 || first[0].Unread || asked != 1 {
		t.Fatalf("got %+v, asked %d times; want somaxconn, asked once", first, asked)
	}
	if again := ask(ctx, now.Add(proofAge), own, "a"); len(again) != 1 || asked != 1 {
		t.Errorf("got %+v, asked %d times; want what is known, asked once", again, asked)
	}
	if ask(ctx, now.Add(proofAge+1), own, "a"); asked != 2 {
		t.Errorf("asked %d times, want it read again when it is old", asked)
	}
	if gone := ask(ctx, now, func(uint32) (string, bool) { return "", false }, "b"); gone != nil {
		t.Errorf("got %+v of a namespace that is gone", gone)
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	if none := ask(over, now, own, "c"); none != nil || asked != 2 {
		t.Errorf("got %+v without time, asked %d times", none, asked)
	}
	if p.home = ownNamespace(); p.home == 0 {
		t.Error("got no number of the own namespace")
	}
}
