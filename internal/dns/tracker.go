// Package dns reads DNS, mDNS and LLMNR out of packets and pairs questions with
// their answers: what was asked of whom, what came back, how long it took, how
// often it was asked again, and what was never answered.
//
// It is pure: time is that of the packets. It asks no resolver and resolves
// nothing. The agent's live sensors and readers of captures drive it.
package dns

import (
	"cmp"
	"container/list"
	"net/netip"
	"time"

	"github.com/netfate/netfate/internal/packet"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/internal/stream"
)

const (
	// patience is how long an answer is waited for: 5 s, and a little more, since
	// resolvers ask again after 5 s (RES_TIMEOUT) and the question must still be
	// there then.
	patience = 5*time.Second + 500*time.Millisecond
	// echo is how soon the same question is the same packet, seen on the next
	// interface: nobody asks again within a millisecond.
	echo = time.Millisecond
	// maxQuestions bounds the questions held, about 1 kB each.
	maxQuestions = 1 << 16
	// maxRows bounds the rows between two calls of Roll, about 500 bytes each.
	maxRows = 1 << 16
)

// kind is which protocol speaks the format.
type kind uint8

const (
	none kind = iota
	unicast
	mdns
	llmnr
)

func (k kind) String() string { return [...]string{"", "dns", "mdns", "llmnr"}[k] }

// kindOf tells the protocol by the port of either side, the receiver's first.
func kindOf(p *packet.Packet) kind {
	for _, port := range [...]uint16{p.Dst.Port(), p.Src.Port()} {
		switch port {
		case 53:
			return unicast
		case 5353:
			return mdns
		case 5355:
			return llmnr
		}
	}
	return none
}

// key is what an answer has in common with its question. The server is left out
// where questions go to a group and its members answer.
type key struct {
	kind           kind
	tcp            bool
	id             uint16
	client, server netip.AddrPort
}

// name is what a question is for.
type name struct{ name, qtype string }

// question is one that waits, or whose answer came not long ago.
type question struct {
	key      key
	name     name
	asked    time.Time // last
	answered bool
	query    record.Query
	at       *list.Element // in Tracker.order
}

// keyName is what a question is found by.
type keyName struct {
	key
	name
}

// Tracker pairs questions with answers. It is for one goroutine, and implements
// capture.Decoder.
type Tracker struct {
	streams *stream.Assembler
	held    int // bytes of messages of TCP that are not whole
	deaf    uint64

	once      bool
	told      func(*Addresses)
	questions map[keyName]*question
	latest    map[key]*question // by number alone
	order     *list.List        // of *question, the one asked longest ago first
	mdns      askers

	message Message
	rows    []record.Query
	most    struct{ questions, rows int } // maxQuestions and maxRows; less in tests
	lost    struct{ questions, rows uint64 }
}

// Config says what packets come.
type Config struct {
	// Once says that none comes twice, as they do where several interfaces are
	// watched: a question that comes again was asked again, however soon.
	Once bool
	// Told is called for each answer to a question for addresses, the first one of
	// each question; nil for nobody. See [Addresses].
	Told func(*Addresses)
}

// New returns a tracker of nothing yet.
func New(cfg Config) *Tracker {
	t := &Tracker{once: cfg.Once, told: cfg.Told, questions: map[keyName]*question{}, latest: map[key]*question{}, order: list.New(), mdns: askers{}}
	t.most.questions, t.most.rows = maxQuestions, maxRows
	t.streams = stream.New(stream.Limits{Conns: 1 << 14, Memory: 32 << 20}, t.open)
	return t
}

// Packet takes in a packet; those of other protocols are nothing to it.
func (t *Tracker) Packet(p *packet.Packet) {
	k := kindOf(p)
	switch {
	case k == none:
	case p.Proto == protoTCP && k != mdns: // mDNS has no TCP
		t.streams.Add(p)
	case p.Proto == protoUDP && len(p.Payload)+p.Missing > 0:
		t.take(arrival{kind: k, src: p.Src, dst: p.Dst, at: p.Time, iface: p.Interface, cut: p.Missing > 0}, p.Payload)
	}
}

// Numbers of IP.
const (
	protoTCP = 6
	protoUDP = 17
)

// arrival is where a message came from, and how.
type arrival struct {
	kind     kind
	tcp      bool
	src, dst netip.AddrPort
	at       time.Time
	iface    string // where it was captured, if that is known
	cut      bool   // the capture does not hold all of it
}

// take takes in one message and reports whether it could be read.
func (t *Tracker) take(a arrival, b []byte) bool {
	t.expire(a.at)
	err := t.message.Decode(b)
	fault := ""
	switch {
	case err != nil && a.cut:
		fault = record.CutOff
	case err != nil:
		fault = record.Malformed
	}
	switch {
	case !t.message.Response:
		t.ask(a, fault)
	case a.kind == mdns:
		t.announce(a)
	default:
		t.answer(a, fault)
	}
	return err == nil
}

// ask takes in the questions of a message.
func (t *Tracker) ask(a arrival, fault string) {
	k := key{kind: a.kind, tcp: a.tcp, id: t.message.ID, client: a.src, server: a.dst}
	if a.kind != unicast {
		k.server = netip.AddrPort{}
	}
	list := t.message.Questions
	if len(list) == 0 {
		if a.kind == mdns && fault == "" {
			return // the rest of a list of known answers (RFC 6762, section 7.2)
		}
		t.askFor(a, k, name{}, fault)
		return
	}
	for _, q := range list {
		t.askFor(a, k, name{q.Name, typeName(q.Type)}, fault)
	}
}

func (t *Tracker) askFor(a arrival, k key, n name, fault string) {
	if q := t.questions[keyName{k, n}]; q != nil {
		since := a.at.Sub(q.asked)
		if !q.answered && since < echo && !t.once {
			return
		}
		if !q.answered {
			q.query.Retries++
			q.asked = a.at
			t.order.MoveToBack(q.at)
			return
		}
		t.forget(q)
	}
	if t.order.Len() >= t.most.questions {
		t.evict(t.order.Front().Value.(*question))
	}
	if k.kind == mdns && len(t.mdns[n]) >= maxAskers {
		t.evict(t.mdns[n][0])
	}
	q := &question{key: k, name: n, asked: a.at, query: record.Query{Start: a.at, QName: n.name, QType: n.qtype, Error: fault}}
	a.fill(&q.query, a.src, a.dst)
	q.at = t.order.PushBack(q)
	t.questions[keyName{k, n}], t.latest[k] = q, q
	if k.kind == mdns {
		t.mdns.add(q)
	}
}

// evict makes room.
func (t *Tracker) evict(q *question) {
	if !q.answered {
		t.lost.questions++
	}
	t.forget(q)
}

// fill says who asked whom, and by what.
func (a *arrival) fill(row *record.Query, client, server netip.AddrPort) {
	row.Protocol, row.Proto, row.IfName = a.kind.String(), "udp", a.iface
	if a.tcp {
		row.Proto = "tcp"
	}
	row.SrcAddr, row.SrcPort = client.Addr(), client.Port()
	row.DstAddr, row.DstPort = server.Addr(), server.Port()
	row.Server = server.Addr().String()
}

// answer takes in a response. One that does not say what it answers, as servers
// do that could not read the question, answers whatever has its number.
func (t *Tracker) answer(a arrival, fault string) {
	k := key{kind: a.kind, tcp: a.tcp, id: t.message.ID, client: a.dst, server: a.src}
	if a.kind != unicast {
		k.server = netip.AddrPort{}
	}
	row := record.Query{Error: cmp.Or(fault, record.Unasked)}
	q := t.latest[k]
	if len(t.message.Questions) > 0 {
		first := t.message.Questions[0]
		row.QName, row.QType = first.Name, typeName(first.Type)
		q = t.questions[keyName{k, name{row.QName, row.QType}}]
	}
	if q != nil {
		t.close(q, a, fault)
		return
	}
	if a.src.Addr().IsLoopback() {
		// Nobody else can send it, and the question may have gone to another port:
		// Docker translates 127.0.0.11:53.
		t.report(a, fault)
	}
	a.fill(&row, a.dst, a.src)
	t.tell(&row)
	t.finish(&row, a.at)
}

// close ends a question by the message. It is kept for a while, so that further
// answers to it are known for what they are.
func (t *Tracker) close(q *question, a arrival, fault string) {
	if q.answered {
		return
	}
	q.answered = true
	q.query.Error = cmp.Or(q.query.Error, fault)
	// At least 1: 0 would say that it is not known.
	q.query.LatencyMicros = uint64(max(a.at.Sub(q.query.Start).Microseconds(), 1))
	t.report(a, fault)
	t.tell(&q.query)
	t.finish(&q.query, a.at)
}

// tell puts into the row what the message says.
func (t *Tracker) tell(row *record.Query) {
	row.RCode, row.Truncated = rcodeName(t.message.RCode), t.message.Truncated
	row.Answers, row.TTL = t.message.answers()
}

func (t *Tracker) finish(row *record.Query, at time.Time) {
	if len(t.rows) >= t.most.rows {
		t.lost.rows++
		return
	}
	row.Time = at
	t.rows = append(t.rows, *row)
}

// expire ends the questions that nobody answered by then.
func (t *Tracker) expire(now time.Time) {
	for e := t.order.Front(); e != nil; e = t.order.Front() {
		q := e.Value.(*question)
		if now.Sub(q.asked) <= patience {
			return
		}
		t.giveUp(q, q.asked.Add(patience))
	}
}

// giveUp ends a question without an answer, if it has none.
func (t *Tracker) giveUp(q *question, at time.Time) {
	t.forget(q)
	if !q.answered {
		q.query.Error = cmp.Or(q.query.Error, record.Unanswered)
		t.finish(&q.query, at)
	}
}

func (t *Tracker) forget(q *question) {
	t.order.Remove(q.at)
	delete(t.questions, keyName{q.key, q.name})
	if t.latest[q.key] == q {
		delete(t.latest, q.key)
	}
	if q.key.kind == mdns {
		t.mdns.remove(q)
	}
}

// Roll adds to b the questions that were answered since the last call, and those
// that were not answered in time; with end, all.
func (t *Tracker) Roll(now time.Time, end bool, b *record.Batch) {
	if end {
		t.streams.Flush(time.Time{})
	}
	t.expire(now)
	for end && t.order.Len() > 0 {
		t.giveUp(t.order.Front().Value.(*question), now)
	}
	if b.Queries == nil {
		b.Queries = t.rows // a busy second's are 30 MB: they are not copied
	} else {
		b.Queries = append(b.Queries, t.rows...)
	}
	t.rows = make([]record.Query, 0, len(t.rows)) // the next second is like this one
	b.Lost = append(b.Lost, t.streams.Lost()...)
	add := func(place, reason, effect string, n *uint64) {
		if *n > 0 {
			b.Lost = append(b.Lost, record.Lost{Time: now, Place: place, Reason: reason, Count: *n, Effect: effect})
			*n = 0
		}
	}
	add("dns_questions", "full", "questions were forgotten before they were answered; their answers are shown as unasked", &t.lost.questions)
	add("dns_rows", "full", "queries are missing", &t.lost.rows)
	add("dns_tcp", "unreadable", "what a connection said further on is not read", &t.deaf)
}
