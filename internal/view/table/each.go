package table

import (
	"fmt"
	"io"
	"strings"

	"github.com/netfate/netfate/internal/record"
)

// each shows drops one line an event, as tcpdump does packets.
type each struct {
	out     io.Writer
	notes   notes
	o       Options
	shown   uint64 // packets of the events shown
	dropped uint64 // packets of the aggregates that would be shown
}

func newEach(out, errs io.Writer, o Options) *each {
	return &each{out: out, notes: notes{w: errs, signs: o.signs()}, o: o}
}

func (v *each) Batch(b *record.Batch) error {
	var text strings.Builder
	if v.o.Screen != nil {
		v.o.Width, _ = v.o.Screen.size()
	}
	for i := range b.Drops {
		d := &b.Drops[i]
		if d.Verdict == record.Benign && !v.o.All {
			v.notes.hide(d)
			continue
		}
		v.dropped += d.Packets
	}
	for i := range b.Samples {
		if d := &b.Samples[i]; d.Verdict != record.Benign || v.o.All {
			v.shown += d.Packets
			for _, line := range eventLines(d, &v.o) {
				text.WriteString(line)
				text.WriteByte('\n')
			}
		}
	}
	v.notes.batch(b.Lost)
	if text.Len() == 0 {
		return nil
	}
	if _, err := io.WriteString(v.out, text.String()); err != nil {
		return fmt.Errorf("write events: %w", err)
	}
	return nil
}

// Close says how much of what was dropped the events were.
func (v *each) Close() error {
	if v.dropped > 0 || v.shown > 0 {
		v.notes.say(fmt.Sprintf("shown as single events: %d of %d dropped packets; events are sampled, the sums without --each are exact",
			v.shown, max(v.dropped, v.shown)))
	}
	v.notes.close()
	return nil
}

// eventLines draws one event, the most telling first: what does not fit the
// width is cut at the end.
func eventLines(d *record.Drop, o *Options) []string {
	g := o.signs()
	verdict := string(d.Verdict)
	if verdict == "" {
		verdict = "unknown"
	}
	head := d.Time.UTC().Format("15:04:05.000000") + " "
	body := pad(g.clean(d.Reason), 16, false) + " " + packetText(d, &g)
	if d.Location != "" {
		body += " at " + g.clean(d.Location)
	}
	parts := []string{body}
	add := func(s string) {
		if s != "" && s != "-" {
			parts = append(parts, s)
		}
	}
	add(ownerName(&d.Owner, &g))
	add(g.clean(containerName(&d.Owner)))
	add(strings.TrimSpace(g.clean(place(&d.Endpoints)) + " " + g.clean(string(d.Direction))))
	add(g.clean(d.SocketState))
	if d.Rule != "" {
		add("rule " + g.clean(d.Rule))
	}
	if o.Why != nil {
		add(g.clean(o.Why(*d)))
	}
	mark := pad(g.clean(verdict), 8, false)
	body = strings.Join(parts, g.dot)
	if room := o.Width - width(head) - width(mark); o.Width > 0 && room <= 0 {
		return []string{g.cutEnd(head+mark, o.Width)}
	}
	if o.Width > 0 {
		body = g.cutEnd(body, max(o.Width-width(head)-width(mark)-1, 0))
	}
	if o.Colour {
		mark = "\x1b[" + paint(rank(d.Verdict)) + "m" + mark + "\x1b[0m"
	}
	lines := []string{strings.TrimRight(head+mark+" "+body, " ")}
	if o.Stack {
		for _, s := range d.Stack {
			lines = append(lines, g.cut("      "+g.clean(s), o.Width))
		}
	}
	return lines
}

// packetText is "tcp 10.0.0.5:51234 → 10.0.0.9:80 (db.example.com) [S] 74 B".
func packetText(d *record.Drop, g *signs) string {
	s := g.clean(d.Proto)
	if d.SrcAddr.IsValid() || d.DstAddr.IsValid() {
		s += " " + namedFlow(&d.Endpoints, d.Name, d.Direction != record.In, g)
	}
	if d.InnerSrcAddr.IsValid() || d.InnerDstAddr.IsValid() {
		s += fmt.Sprintf(" (%s %s %s %s)", g.clean(d.InnerProto), g.clean(endpoint(d.InnerSrcAddr, d.InnerSrcPort)), g.to,
			g.clean(endpoint(d.InnerDstAddr, d.InnerDstPort)))
	}
	if d.TCPFlags != "" {
		s += " [" + g.clean(d.TCPFlags) + "]"
	}
	if d.Length > 0 {
		s += fmt.Sprintf(" %d B", d.Length)
	}
	if d.Packets > 1 {
		s += fmt.Sprintf(" (%d packets)", d.Packets)
	}
	return strings.TrimSpace(s)
}
