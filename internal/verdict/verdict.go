// Package verdict says what a drop means: whether it is a real loss, why in
// one line, and, for `netfate explain`, what causes it, how to confirm it and
// how to fix it.
//
// All of it comes from the files under rules/, which are embedded in the
// program and keyed by names, never by numbers: the kernel renumbers its drop
// reasons from one release to the next. Below rules/LANGUAGE/ are the same texts in
// another language. The package reads nothing of the host; the evidence that an
// entry asks for is fetched by somebody else. It imports record and language only.
package verdict

import (
	"strings"

	"github.com/netfate/netfate/internal/record"
)

// Case is what is known of a drop when it is judged. Every field may be empty.
type Case struct {
	// Reason is the kernel's name without SKB_DROP_REASON_; empty on a kernel
	// that gives none (before 5.17).
	Reason string
	// Subsystem says who defines the reason: core (or empty),
	// mac80211_unusable, mac80211_monitor, openvswitch, qdisc.
	Subsystem string
	// Place is the kernel function that freed the packet, without +offset.
	Place string
	// Proto is the transport protocol (tcp, udp, icmpv6 …) or, for what is not
	// IP, the network protocol (arp, lldp …), in lower case.
	Proto string
	// SocketState is the state of the socket that lost the packet, in lower
	// case: established, listen, time_wait …
	SocketState string
	// Direction is how the packet was crossing the host.
	Direction record.Direction
	// Multicast is true if the packet went to a group or broadcast address.
	// It tells the chatter of an interface that comes up from a lost packet.
	Multicast bool
}

// Judgement is the answer for one case.
type Judgement struct {
	Verdict record.Verdict
	// Why is one line that a table can show.
	Why string
	// Rule names the rule that decided: REASON, or REASON/place.
	Rule string
}

// Judge returns what c means. It always answers: a reason that the rules do
// not know is a loss whose Why says so. It does not allocate, and is safe for
// concurrent use.
func (b *Book) Judge(c Case) Judgement {
	place := c.Place
	if i := strings.IndexByte(place, '.'); i > 0 {
		place = place[:i] // the compiler's .isra.0, .constprop.0, .cold
	}
	rule := b.find(&c)
	if rule == nil {
		return b.unknown
	}
	for r := rule; r != nil; r = r.parent {
		if j, ok := r.byPlace(place, &c); ok {
			return j
		}
	}
	return rule.judgement
}

// find returns the rule of the case's reason, the rule of its subsystem if the
// name is not known there, or nil.
func (b *Book) find(c *Case) *rule {
	if c.Subsystem == "" || c.Subsystem == "core" {
		if c.Reason == "" {
			return b.noReason
		}
		return b.core[c.Reason]
	}
	group := b.groups[c.Subsystem]
	if group == nil {
		return nil
	}
	if r := group.names[c.Reason]; r != nil {
		return r
	}
	return group.any
}

// rule is an entry as Judge needs it.
type rule struct {
	judgement Judgement
	// parent is asked about places that this rule does not name.
	parent *rule
	// places holds the conditions of one kernel function, in the order of the
	// file; the empty name holds those that any place satisfies.
	places map[string][]condition
	// prefixes and suffixes hold the patterns `name*` and `*name`.
	prefixes, suffixes []pattern
}

type pattern struct {
	text       string
	conditions []condition
}

// condition is one PlaceRule, ready to be compared.
type condition struct {
	protos, states []string
	direction      record.Direction
	multicast      *bool
	judgement      Judgement
}

func (r *rule) byPlace(place string, c *Case) (Judgement, bool) {
	if place != "" {
		if j, ok := first(r.places[place], c); ok {
			return j, true
		}
		for i := range r.prefixes {
			if p := &r.prefixes[i]; strings.HasPrefix(place, p.text) {
				if j, ok := first(p.conditions, c); ok {
					return j, true
				}
			}
		}
		for i := range r.suffixes {
			if p := &r.suffixes[i]; strings.HasSuffix(place, p.text) {
				if j, ok := first(p.conditions, c); ok {
					return j, true
				}
			}
		}
	}
	return first(r.places[""], c)
}

func first(conditions []condition, c *Case) (Judgement, bool) {
	for i := range conditions {
		if conditions[i].holds(c) {
			return conditions[i].judgement, true
		}
	}
	return Judgement{}, false
}

func (d *condition) holds(c *Case) bool {
	return among(d.protos, c.Proto) && among(d.states, c.SocketState) &&
		(d.direction == "" || d.direction == c.Direction) &&
		(d.multicast == nil || *d.multicast == c.Multicast)
}

// among reports whether name is one of names; an empty list allows all.
func among(names []string, name string) bool {
	if len(names) == 0 {
		return true
	}
	for _, n := range names {
		if n == name {
			return true
		}
	}
	return false
}
