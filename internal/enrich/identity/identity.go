// Package identity asks those who started containers what they call them:
// container runtimes, by their sockets, and the kubelet or the API server of
// Kubernetes. It only reads, and does without whoever does not answer.
//
// A name is given from memory at once; what is not known is asked for in
// [Table.Run], a goroutine of its own, so that a runtime that hangs keeps
// nobody. Only internal/agent and commands import it.
package identity

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	// keep is how many containers, and pods, are remembered, some 200 bytes each: a
	// host has some hundred. Those that the next list has and that are asked for come
	// back, so that nothing is lost but time.
	keep = 16_384
	// tries is how many lists a container may be missing from before it counts as
	// one that nobody names: the first may have been made before it was started.
	tries = 3
	// again is the time between two lists when nothing new is asked for, since
	// containers are renamed, and soon that when something is.
	again = time.Minute
	soon  = time.Second
	// patience bounds one list of one source.
	patience = 5 * time.Second
)

// Named is what a container is called. What nobody told is empty.
type Named struct {
	Container    string
	Pod          string
	PodNamespace string
}

// Listing is what a source knows: containers by their full ids, pods by their
// uids.
type Listing struct {
	Containers map[string]Named
	Pods       map[string]Named
}

// Source is one of those who know containers.
type Source interface {
	// List asks for all that it has now.
	List(ctx context.Context) (Listing, error)
	// String is what it is called in messages.
	String() string
}

// Table has the names of containers. Its methods may be called at the same time.
type Table struct {
	sources []Source
	say     func(sentence string)
	wake    chan struct{}

	mu         sync.Mutex // held for map operations only
	containers *simplelru.LRU[string, Named]
	pods       *simplelru.LRU[string, Named]
	missing    *simplelru.LRU[string, int] // from how many lists each is missing
	faults     map[Source]string           // those that did not answer the last time
}

// New returns a table that knows nothing and has asked nobody. It says, if say is not
// nil, why a source does not answer, once until it does or the reason is another.
func New(say func(sentence string), sources ...Source) *Table {
	if say == nil {
		say = func(string) {}
	}
	t := &Table{sources: sources, say: say, wake: make(chan struct{}, 1), faults: map[Source]string{}}
	t.containers, _ = simplelru.NewLRU[string, Named](keep, nil) // errs on sizes below 1 only
	t.pods, _ = simplelru.NewLRU[string, Named](keep, nil)
	t.missing, _ = simplelru.NewLRU[string, int](keep, nil)
	return t
}

// Name returns what a container is called, given its full id and the uid of its
// pod, which may be empty. False says that it is being asked for.
func (t *Table) Name(id, pod string) (Named, bool) {
	if len(t.sources) == 0 {
		return Named{}, true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	n, known := t.containers.Get(id)
	if n.Pod == "" && pod != "" {
		if p, ok := t.pods.Get(pod); ok {
			n.Pod, n.PodNamespace = p.Pod, p.PodNamespace
		}
	}
	if known {
		return n, true
	}
	missed, asked := t.missing.Get(id)
	if missed >= tries {
		return n, true
	}
	if !asked {
		t.missing.Add(id, 0)
	}
	select {
	case t.wake <- struct{}{}:
	default: // it is awake
	}
	return n, false
}

// Run asks the sources until ctx is done: at once, again when a name is asked for
// that is not known, and each minute.
func (t *Table) Run(ctx context.Context) {
	if len(t.sources) == 0 {
		return
	}
	for {
		t.Refresh(ctx)
		if !pause(ctx, soon) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-t.wake:
		case <-time.After(again):
		}
	}
}

// pause waits, and reports false when ctx is done before.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// Refresh asks every source once. Only one may run at a time.
func (t *Table) Refresh(ctx context.Context) {
	t.mu.Lock()
	waiting := t.missing.Keys() // those that the lists may have, or not
	t.mu.Unlock()
	for _, s := range t.sources {
		l, err := t.ask(ctx, s)
		if ctx.Err() != nil {
			return
		}
		fault := ""
		if err != nil {
			fault = fmt.Sprintf("ask %s for the names of containers: %v", s, err)
		}
		if fault != t.faults[s] && fault != "" {
			t.say(fault)
		}
		t.faults[s] = fault
		t.learn(l)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, id := range waiting {
		if n, ok := t.missing.Peek(id); ok && n < tries {
			t.missing.Add(id, n+1)
		}
	}
}

func (t *Table) ask(ctx context.Context, s Source) (Listing, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return s.List(ctx)
}

func (t *Table) learn(l Listing) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, n := range l.Containers {
		if old, ok := t.containers.Peek(id); ok {
			n = joined(n, old)
		}
		t.containers.Add(id, n)
		t.missing.Remove(id)
	}
	for uid, n := range l.Pods {
		t.pods.Add(uid, n)
	}
}

// joined is what two sources say of one container: a runtime may know no pods.
func joined(n, old Named) Named {
	if n.Container == "" {
		n.Container = old.Container
	}
	if n.Pod == "" {
		n.Pod, n.PodNamespace = old.Pod, old.PodNamespace
	}
	return n
}
