package netlab

import (
	"fmt"
	"os"
	"sync"
)

// Run calls f with a TB for programs that are no tests, cleans up when f
// returns, fails or panics, and returns what f's Fatalf said. Only the
// goroutine that runs f may call Fatalf.
func Run(f func(TB)) (err error) {
	s := &stage{}
	defer func() {
		s.tearDown()
		if r := recover(); r != nil {
			failed, ok := r.(failure)
			if !ok {
				panic(r)
			}
			err = failed
		}
	}()
	f(s)
	return nil
}

type failure string

func (f failure) Error() string { return string(f) }

// stage is the TB of a program.
type stage struct {
	mu       sync.Mutex
	cleanups []func()
}

func (s *stage) Helper() {}

func (s *stage) Fatalf(format string, args ...any) { panic(failure(fmt.Sprintf(format, args...))) }

func (s *stage) Logf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

func (s *stage) Cleanup(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cleanups = append(s.cleanups, f)
}

func (s *stage) tearDown() {
	s.mu.Lock()
	list := s.cleanups
	s.cleanups = nil
	s.mu.Unlock()
	for i := len(list) - 1; i >= 0; i-- {
		list[i]()
	}
}
