package netlab

import (
	"fmt"
	"os"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"
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

// RunInterruptible is Run for programs that do not look for signals themselves:
// SIGINT and SIGTERM clean up and end the program.
func RunInterruptible(f func(TB)) error {
	return Run(func(tb TB) {
		s := tb.(*stage)
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, unix.SIGINT, unix.SIGTERM)
		defer signal.Stop(signals)
		over := make(chan struct{})
		defer close(over)
		go func() {
			select {
			case sig := <-signals:
				s.tearDown()
				os.Exit(128 + int(sig.(unix.Signal)))
			case <-over:
			}
		}()
		f(tb)
	})
}

type failure string

func (f failure) Error() string { return string(f) }

// stage is the TB of a program.
type stage struct {
	mu       sync.Mutex
	cleanups []func()
	tearing  sync.Mutex // held by the one that cleans up
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
	s.tearing.Lock()
	defer s.tearing.Unlock()
	s.mu.Lock()
	list := s.cleanups
	s.cleanups = nil
	s.mu.Unlock()
	for i := len(list) - 1; i >= 0; i-- {
		list[i]()
	}
}
