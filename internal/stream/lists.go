package stream

import "time"

// Flush ends connections that had no packet since before; the zero time ends
// all. What waits for missing bytes is delivered first, with its gaps.
func (a *Assembler) Flush(before time.Time) {
	for c := a.live.oldest; c != nil && (before.IsZero() || c.last.Before(before)); c = a.live.oldest {
		a.forget(c, c.last)
	}
	for c := a.closed.oldest; c != nil && (before.IsZero() || c.last.Before(before)); c = a.closed.oldest {
		a.forget(c, c.last)
	}
}

// expire ends at most one silent connection and forgets one closed one, which
// keeps pace: a packet begins one connection at most.
func (a *Assembler) expire(now time.Time) {
	if c := a.live.oldest; c != nil && now.Sub(c.last) > a.limits.Idle {
		a.forget(c, c.last)
	}
	if c := a.closed.oldest; c != nil && now.Sub(c.last) > linger {
		a.forget(c, c.last)
	}
}

// retire keeps of a connection that has ended only that it was there.
func (a *Assembler) retire(c *conn) {
	a.live.remove(c)
	c.reader = nil
	a.toClosed(c)
}

func (a *Assembler) toClosed(c *conn) {
	if a.closed.len >= a.limits.Conns {
		a.forget(a.closed.oldest, c.last)
	}
	a.closed.push(c)
}

// forget ends a connection, if nothing else has, and removes it.
func (a *Assembler) forget(c *conn, at time.Time) {
	delete(a.conns, c.key)
	if c.reader == nil {
		a.closed.remove(c)
		return
	}
	a.live.remove(c)
	a.finish(c, Up, Flushed, at)
}

// list is connections by when they were last heard of.
type list struct {
	oldest, newest *conn
	len            int
}

func (l *list) push(c *conn) {
	c.prev, c.next = l.newest, nil
	if l.newest != nil {
		l.newest.next = c
	} else {
		l.oldest = c
	}
	l.newest = c
	l.len++
}

func (l *list) remove(c *conn) {
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		l.oldest = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	} else {
		l.newest = c.prev
	}
	c.prev, c.next = nil, nil
	l.len--
}

func (l *list) touch(c *conn) {
	if l.newest != c {
		l.remove(c)
		l.push(c)
	}
}
