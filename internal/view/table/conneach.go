package table

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/netfate/netfate/internal/record"
)

// wantedConn reports whether a row is one that o asks for.
func (o *Options) wantedConn(c *record.Conn) bool {
	switch {
	case o.Listeners:
		return c.Event == record.ConnListens
	case o.Failed:
		return broken(c)
	case o.Live:
		return c.Event == record.ConnOpen
	}
	return c.Event != record.ConnListens && c.Event != record.ConnOpen
}

// broken reports whether a connection failed, or ended with an error.
func broken(c *record.Conn) bool {
	return c.Event == record.ConnFailed || c.Event == record.ConnClosed && c.Error != ""
}

// connRows is connections as JSON or CSV.
type connRows struct {
	rows  *rows
	notes notes
	o     Options
}

func (v *connRows) Batch(b *record.Batch) error {
	v.rows.begin()
	for i := range b.Conns {
		if c := &b.Conns[i]; v.o.wantedConn(c) {
			v.rows.add(c)
		}
	}
	v.notes.batch(b.Lost)
	return v.rows.flush()
}

func (v *connRows) Close() error {
	v.rows.begin()
	v.notes.close()
	return v.rows.flush()
}

// connEach shows what happens to connections, one line an event.
type connEach struct {
	out   io.Writer
	notes notes
	o     Options
	seen  [3]uint64 // opened, failed, closed: all there were, shown or not
	began bool      // something was watched
}

func (v *connEach) Batch(b *record.Batch) error {
	v.began = true
	var text strings.Builder
	if v.o.Screen != nil {
		v.o.Width, _ = v.o.Screen.size()
	}
	for i := range b.Conns {
		c := &b.Conns[i]
		switch c.Event {
		case record.ConnOpened:
			v.seen[0]++
		case record.ConnFailed:
			v.seen[1]++
		case record.ConnClosed:
			v.seen[2]++
		}
		if v.o.wantedConn(c) {
			text.WriteString(connLine(c, &v.o))
			text.WriteByte('\n')
		}
	}
	v.notes.batch(b.Lost)
	if text.Len() == 0 {
		return nil
	}
	if _, err := io.WriteString(v.out, text.String()); err != nil {
		return fmt.Errorf("write connections: %w", err)
	}
	return nil
}

// Close says how many there were.
func (v *connEach) Close() error {
	if v.began {
		v.notes.say(fmt.Sprintf("connections: %d opened, %d failed, %d closed", v.seen[0], v.seen[1], v.seen[2]))
	}
	v.notes.close()
	return nil
}

// connLine draws one event, the most telling first: what does not fit the width
// is cut at the end.
func connLine(c *record.Conn, o *Options) string {
	g := o.signs()
	head := c.Time.UTC().Format("15:04:05.000000") + " "
	mark := pad(string(c.Event), 7, false)
	parts := []string{namedFlow(&c.Endpoints, c.Name, c.Side != record.Server, &g)}
	add := func(s string) {
		if s != "" && s != "-" {
			parts = append(parts, s)
		}
	}
	if c.Error != "" {
		add(strings.ReplaceAll(g.clean(c.Error), "_", " "))
	}
	switch c.Event {
	case record.ConnOpened:
		if c.ConnectMicros > 0 {
			add("connected in " + took(uint64(c.ConnectMicros)))
		}
	case record.ConnFailed:
		if c.ConnectMicros > 0 {
			add("after " + took(uint64(c.ConnectMicros)))
		}
	default:
		add(ended(c, &g))
	}
	if c.Retransmits > 0 {
		add(fmt.Sprintf("%d of %d segments resent", c.Retransmits, c.SegmentsOut))
	}
	add(ownerName(&c.Owner, &g))
	add(string(c.Side))
	add(g.clean(containerName(&c.Owner)))
	add(g.clean(netnsName(&c.Endpoints)))
	body := strings.Join(parts, g.dot)
	if o.Width > 0 {
		body = g.cutEnd(body, max(o.Width-width(head)-width(mark)-1, 0))
	}
	if o.Colour && broken(c) {
		mark = "\x1b[" + paint(rank(record.Loss)) + "m" + mark + "\x1b[0m"
	}
	return strings.TrimRight(head+mark+" "+body, " ")
}

// ended is "by peer, 1.2 s, in 50 kB, out 1.0 kB, rtt 0.3 ms".
func ended(c *record.Conn, g *signs) string {
	var parts []string
	if c.ClosedBy != "" {
		parts = append(parts, "by "+strings.ReplaceAll(g.clean(c.ClosedBy), "_", " "))
	}
	lived := took(c.DurationMicros)
	if d := time.Duration(c.DurationMicros) * time.Microsecond; d >= 2*time.Minute {
		lived = lasting(d)
	}
	if c.Older {
		lived = "older than this watch"
	}
	parts = append(parts, lived, "in "+size(c.BytesIn), "out "+size(c.BytesOut))
	if c.RTTMicros > 0 {
		parts = append(parts, "rtt "+took(uint64(c.RTTMicros)))
	}
	return strings.Join(parts, ", ")
}
