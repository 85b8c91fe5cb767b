package identity

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// script is a source that answers as it is told.
type script struct {
	name    string
	listing Listing
	err     error
	asked   atomic.Int64
}

func (s *script) String() string { return s.name }

func (s *script) List(context.Context) (Listing, error) {
	s.asked.Add(1)
	return s.listing, s.err
}

func containers(of map[string]Named) Listing { return Listing{Containers: of} }

func TestNames(t *testing.T) {
	runtime := &script{name: "runtime", listing: containers(map[string]Named{"aa": {Container: "web"}, "bb": {Container: "api", Pod: "api-1", PodNamespace: "shop"}})}
	pods := &script{name: "pods", listing: Listing{Pods: map[string]Named{"uid-1": {Pod: "web-1", PodNamespace: "shop"}}}}
	table := New(nil, runtime, pods)
	if n, final := table.Name("aa", ""); final || n != (Named{}) {
		t.Errorf("before anybody was asked: got %+v, final %v", n, final)
	}
	table.Refresh(t.Context())
	for _, c := range []struct {
		id, pod string
		want    Named
		final   bool
	}{
		{"aa", "", Named{Container: "web"}, true},
		{"aa", "uid-1", Named{"web", "web-1", "shop"}, true},
		{"bb", "uid-1", Named{"api", "api-1", "shop"}, true},
		{"cc", "uid-1", Named{"", "web-1", "shop"}, false},
		{"cc", "uid-2", Named{}, false},
	} {
		if got, final := table.Name(c.id, c.pod); got != c.want || final != c.final {
			t.Errorf("%s of %q: got %+v, final %v; want %+v, %v", c.id, c.pod, got, final, c.want, c.final)
		}
	}
	for range tries {
		table.Refresh(t.Context())
	}
	if _, final := table.Name("cc", ""); !final {
		t.Errorf("a container that %d lists did not have is still asked for", tries)
	}
	// Two sources know one thing each.
	pods.listing.Containers = map[string]Named{"aa": {Pod: "web-1", PodNamespace: "shop"}}
	table.Refresh(t.Context())
	if got, _ := table.Name("aa", ""); got != (Named{"web", "web-1", "shop"}) {
		t.Errorf("of two sources: got %+v", got)
	}
}

func TestNobody(t *testing.T) {
	table := New(nil)
	table.Run(t.Context()) // returns
	if _, final := table.Name("aa", ""); !final {
		t.Error("a name is waited for that nobody is asked for")
	}
}

// A fault is said once, until there is another.
func TestFaults(t *testing.T) {
	var said []string
	s := &script{name: "docker at /x", err: errors.New("it hangs")}
	other := &script{name: "cri at /y", listing: containers(map[string]Named{"aa": {Container: "web"}})}
	table := New(func(text string) { said = append(said, text) }, s, other)
	for _, err := range []error{s.err, s.err, errors.New("it is gone"), nil, errors.New("it is gone")} {
		s.err = err
		table.Refresh(t.Context())
	}
	want := []string{
		"ask docker at /x for the names of containers: it hangs",
		"ask docker at /x for the names of containers: it is gone",
		"ask docker at /x for the names of containers: it is gone",
	}
	if diff := cmp.Diff(want, said); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n, _ := table.Name("aa", ""); n.Container != "web" {
		t.Errorf("got %+v from the source that answers", n)
	}
}

// Sources are asked at once, each minute, and a second after a name is missing, but
// not more often.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{name: "runtime"}
		table := New(nil, s)
		ctx, cancel := context.WithCancel(t.Context())
		go table.Run(ctx)
		after := func(d time.Duration, want int) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			if got := s.asked.Load(); got != int64(want) {
				t.Errorf("asked %d times, want %d", got, want)
			}
		}
		after(0, 1)
		after(30*time.Second, 1)
		after(32*time.Second, 2)
		table.Name("aa", "")
		after(2*time.Second, 3)
		after(30*time.Second, 3)
		for i := range 500 {
			table.Name(fmt.Sprint(i), "")
			time.Sleep(10 * time.Millisecond)
		}
		synctest.Wait()
		if got := s.asked.Load() - 3; got < 4 || got > 6 {
			t.Errorf("asked %d times in 5 s, want once a second", got)
		}
		cancel()
		synctest.Wait()
	})
}
