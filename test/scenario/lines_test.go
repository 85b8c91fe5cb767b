package scenario

import (
	"strings"
	"sync"
)

// lines collects what a process prints while others read it; a talkative
// process keeps only its first 64 kB.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write implements io.Writer.
func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.text.Len() < 64<<10 {
		l.text.Write(b)
	}
	return len(b), nil
}

// String returns what was printed so far.
func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
