package table

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/netfate/netfate/internal/alert"
	"github.com/netfate/netfate/internal/record"
)

// alerts shows what changes among losses, one line an alert.
type alerts struct {
	out    io.Writer
	notes  notes
	o      Options
	losses *alert.Losses
	rows   *rows // nil for text
	any    bool  // batch came
}

// NewAlerts is [NewDrops] for `netfate watch`: what losses finds in the batches,
// one line or record each. Between alerts it writes nothing but CSV's header.
func NewAlerts(out, errs io.Writer, o Options, losses *alert.Losses) (View, error) {
	v := &alerts{out: out, notes: newNotes(errs, &o), o: o, losses: losses}
	switch o.Format {
	case Table, "":
	case JSON, CSV:
		v.rows = newRows(out, o.Format, record.Alert{})
	default:
		return nil, badFormat(o.Format)
	}
	return v, nil
}

func (v *alerts) Batch(b *record.Batch) error {
	found := v.losses.Batch(b)
	v.any = true
	v.notes.batch(b.Lost)
	v.notes.batch(v.losses.Lost())
	return v.show(found)
}

// Close says what was not told, and that there was no time to tell anything.
func (v *alerts) Close() error {
	err := v.show(v.losses.Close())
	v.notes.batch(v.losses.Lost())
	if n := v.losses.Held(); n > 0 {
		v.notes.say(plural(n, "alert") + " held back, of places that came and went too often")
	}
	if v.any && v.losses.Learning() {
		v.notes.say("it ended while it was learning what is usual; a shorter --learn alerts sooner")
	}
	v.notes.close()
	return err
}

func (v *alerts) show(found []record.Alert) error {
	if v.rows != nil {
		v.rows.begin()
		for i := range found {
			v.rows.add(&found[i])
		}
		return v.rows.flush()
	}
	for i := range found {
		if _, err := io.WriteString(v.out, alertLine(&found[i], &v.o)+"\n"); err != nil {
			return fmt.Errorf("write alerts: %w", err)
		}
	}
	return nil
}

// alertLine is "2026-03-14 03:00:05 new  loss     NEIGH_FAILED at neigh_invalidate
// on web/eth0: 3 packets in 1 s · the next hop … · netfate drops …". It is cut
// nowhere: it is to be read later, too.
func alertLine(a *record.Alert, o *Options) string {
	g := o.signs()
	event := pad(g.clean(a.Event), 4, false)
	if o.Colour {
		event = "\x1b[" + paint(rank(a.Verdict)) + "m" + event + "\x1b[0m"
	}
	text := g.clean(a.Reason)
	if a.Reason == "" {
		text = "(no reason)" // kernels before 5.17
	}
	if a.Subsystem != "" && a.Subsystem != "core" {
		text = g.clean(a.Subsystem) + ":" + text
	}
	if a.Location != "" {
		text += " at " + g.clean(a.Location)
	}
	where := place(&record.Endpoints{NetNS: a.NetNS, NetNSName: a.NetNSName, IfName: a.IfName})
	if where != "-" {
		text += " on " + g.clean(where)
	}
	parts := []string{text + ": " + alertNumbers(a)}
	if a.Held > 0 {
		parts = append(parts, plural(a.Held, "alert")+" held back before")
	}
	for _, s := range []string{a.Why, a.Command} {
		if s != "" {
			parts = append(parts, g.escape(s))
		}
	}
	return a.Time.UTC().Format("2006-01-02 15:04:05") + " " + event + " " + pad(g.clean(string(a.Verdict)), 8, false) + " " +
		strings.Join(parts, g.dot)
}

// alertNumbers is what an alert says in numbers.
func alertNumbers(a *record.Alert) string {
	span := time.Duration(a.Micros) * time.Microsecond
	lost := plural(a.Packets, "packet") + " in " + lasting(span)
	switch a.Event {
	case record.AlertHigh:
		usual := time.Duration(a.UsualMicros) * time.Microsecond
		return fmt.Sprintf("%s, %s; usual is %s", lost, perSecond(a.Packets, span), perSecond(a.UsualPackets, usual))
	case record.AlertOver:
		return lost + " since " + a.Start.UTC().Format("15:04:05")
	}
	return lost
}
