package pcapng

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/netfate/netfate/internal/record"
)

// Reading is what a drop means, in words.
type Reading struct {
	Why string // one line
	Fix string // what to do about it; may be empty
}

// OfDrop makes a packet of a sampled drop, and says of it what netfate knows.
func OfDrop(d *record.Drop, r Reading) Packet {
	p := Packet{
		At: d.Time, Bytes: d.Packet, Length: d.PacketLength, Direction: d.Direction,
		Interface: interfaceOf(&d.Endpoints, d.PacketLink),
		Comments:  []string{loss(d), line("verdict %s: %s", d.Verdict, r.Why)},
	}
	if r.Fix != "" {
		p.Comments = append(p.Comments, line("fix: %s", r.Fix))
	}
	p.Comments = append(p.Comments, seenAt(&d.Endpoints, d.Direction))
	if d.Known() {
		p.Comments = append(p.Comments, ownerOf(&d.Owner))
	}
	if d.Packets > 1 {
		p.Comments = append(p.Comments, line("one buffer of %d packets, %d bytes on the wire", d.Packets, d.Bytes))
	}
	return p
}

// interfaceOf returns what a record says of its interface.
func interfaceOf(e *record.Endpoints, link string) Interface {
	if e.NetNS == 0 && e.IfName == "" && (link == "" || link == "ip") {
		return Interface{}
	}
	return Interface{NetNS: e.NetNS, NetNSName: e.NetNSName, Name: e.IfName, Link: link}
}

// loss says where and for what reason.
func loss(d *record.Drop) string {
	reason := d.Reason
	if reason == "" {
		reason = "without a reason"
	}
	text := line("dropped %s at %s", reason, d.Location)
	if d.SocketState != "" {
		text += ", socket " + d.SocketState
	}
	if d.Rule != "" {
		text += ", rule " + printable(d.Rule)
	}
	return text
}

// seenAt says where a packet was seen.
func seenAt(e *record.Endpoints, d record.Direction) string {
	i := Interface{NetNS: e.NetNS, NetNSName: e.NetNSName, Name: e.IfName}
	return line("%s, %s", d, i.describe())
}

// ownerOf says whose a packet was.
func ownerOf(o *record.Owner) string {
	text := line("owner %s[%d]", o.Comm, o.PID)
	if o.UID != nil {
		text += fmt.Sprintf(", uid %d", *o.UID)
	}
	if o.Container != "" {
		text += line(", container %s %s", o.Container, o.ContainerName)
	}
	if o.Pod != "" {
		text += line(", pod %s/%s", o.PodNamespace, o.Pod)
	}
	return strings.TrimSpace(text)
}

func line(format string, args ...any) string { return printable(fmt.Sprintf(format, args...)) }

// printable is text without what could act on a terminal: names may be anything.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}
