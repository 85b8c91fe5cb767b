package agent

import (
	"context"
	"os"
	"syscall"
	"time"

	"github.com/netfate/netfate/internal/evidence"
	"github.com/netfate/netfate/internal/ledger"
)

const (
	// proofAge is how old a fact about a loss may be: most are settings.
	proofAge = 10 * time.Second
	// proofTime is how long in an interval facts of one more loss are begun to be
	// read, proofEach how long those of one may take. What is not read by then has
	// those of before, or none until the next interval.
	proofTime = 200 * time.Millisecond
	proofEach = time.Second
	// maxProofs bounds the losses whose facts are kept.
	maxProofs = 4096
)

// proofs are the live facts about losses that the ledger tells. It belongs to the
// pump.
type proofs struct {
	known map[proofKey]proof
	home  uint32 // the namespace of this process
}

type proofKey struct {
	netns        uint32
	what, ifname string
}

type proof struct {
	facts []evidence.Fact
	read  time.Time
}

// ownNamespace is the number of this process's network namespace; 0 if it cannot be
// read.
func ownNamespace() uint32 {
	info, err := os.Stat("/proc/self/ns/net")
	if err != nil {
		return 0
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0
	}
	return uint32(st.Ino)
}

// begin returns what reads facts for the interval that ends now.
func (p *proofs) begin(ctx context.Context, now time.Time, path func(netns uint32) (string, bool)) func(ledger.Question) []evidence.Fact {
	for k, v := range p.known {
		if now.Sub(v.read) > proofAge {
			delete(p.known, k)
		}
	}
	if p.known == nil {
		p.known = map[proofKey]proof{}
	}
	var spent time.Duration
	return func(q ledger.Question) []evidence.Fact {
		k := proofKey{q.NetNS, q.What, q.Subject.IfName}
		if v, ok := p.known[k]; ok || ctx.Err() != nil || spent > proofTime || len(p.known) == maxProofs {
			return v.facts
		}
		if q.NetNS != 0 {
			file, ok := path(q.NetNS)
			if !ok {
				return nil // it is gone
			}
			q.Subject.NetNSPath = file
		}
		began := time.Now()
		each, cancel := context.WithTimeout(ctx, proofEach)
		defer cancel()
		v := proof{evidence.Collect(each, q.Keys, q.Subject), now}
		spent += time.Since(began)
		if each.Err() == nil { // else some are missing
			p.known[k] = v
		}
		return v.facts
	}
}
