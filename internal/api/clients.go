package api

import (
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"
)

// maxClients is how many are told apart; the one that was silent the longest may
// begin anew.
const maxClients = 4096

// clients bounds how often each may ask.
type clients struct {
	mu    sync.Mutex
	rate  rate.Limit
	burst int
	known *simplelru.LRU[string, *rate.Limiter]
}

func newClients() *clients {
	known, err := simplelru.NewLRU[string, *rate.Limiter](maxClients, nil)
	if err != nil {
		panic(err) // only a size below 1 is an error
	}
	return &clients{known: known}
}

// limit sets how often: so many a second on the average, and at once.
func (c *clients) limit(perSecond float64, burst int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rate, c.burst = rate.Limit(perSecond), burst
	c.known.Purge()
}

func (c *clients) allow(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	l, ok := c.known.Get(name)
	if !ok {
		l = rate.NewLimiter(c.rate, c.burst)
		c.known.Add(name, l)
	}
	return l.Allow()
}
