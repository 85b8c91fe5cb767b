package ipfix

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"time"

	"github.com/netfate/netfate/internal/export"
	"github.com/netfate/netfate/internal/outbox"
	"github.com/netfate/netfate/internal/record"
)

// Config says who is told, and how.
type Config struct {
	Network, Addr string // udp or tcp, and the collector's host:port
	Version       int    // 9 is NetFlow version 9, over UDP alone; 0 is for 10, IPFIX
	Domain        uint32 // observation domain, by which a collector tells exporters of one address apart
	Enterprise    uint32 // that our elements are under; 0 is for DefaultEnterprise
	// Templates is the time between two transmissions of templates over UDP; 0 is for
	// a minute. Over TCP each connection begins with them.
	Templates time.Duration
	// Queue is how many bytes of messages may wait.
	Queue int
	// Flush is how long Close may take, 0 for the usual time.
	Flush time.Duration
}

const (
	version      = 10 // RFC 7011, section 3.1
	headerLength = 16
	// Over UDP a message has to fit a packet of any usual path (RFC 7011, section
	// 10.3.3): 1,500 bytes less headers of IPv6, UDP and a tunnel.
	maxDatagram = 1400
	// Over TCP it may have 65,535.
	maxStream = 16 << 10

	defaultTemplates = time.Minute
	dialTime         = 5 * time.Second
	writeTime        = 10 * time.Second
)

// Exporter sends flows and drops. It implements export.Exporter.
type Exporter struct {
	cfg       Config
	protocols map[string]byte
	templates []byte // a set
	max       int    // length of a message
	box       *outbox.Box

	begun time.Time

	// Of the box's goroutine.
	conn     net.Conn // nil if there is none
	sequence uint32   // of data records since the connection began, or of NetFlow's packets
	told     time.Time
	burst    int // messages
}

// A collector's socket has 208 kB by default (net.core.rmem_default), and what UDP does
// not deliver nobody is told of: so many messages at once, then a pause, in which a collector
// on a busy host comes to read; 5.6 MB/s at the most, some 40,000 flows a second.
const (
	maxBurst   = 16
	burstPause = 4 * time.Millisecond
)

// New returns an exporter that connects when there is something to send. It has to be
// closed.
func New(cfg Config) *Exporter {
	if cfg.Enterprise == 0 {
		cfg.Enterprise = DefaultEnterprise
	}
	if cfg.Templates == 0 {
		cfg.Templates = defaultTemplates
	}
	e := &Exporter{cfg: cfg, protocols: protocols(), max: maxDatagram, begun: time.Now()}
	if e.nine() {
		e.templates = packTemplates9()
	} else {
		e.templates = appendTemplates(make([]byte, headerLength), templateSet, Templates(cfg.Enterprise))
	}
	if cfg.Network == "tcp" {
		e.max = maxStream
	}
	e.box = outbox.New(outbox.Config{
		Name: "ipfix", Target: cfg.Network + ":" + cfg.Addr, Bytes: cfg.Queue, Flush: cfg.Flush, Send: e.send,
	})
	return e
}

// nine reports whether NetFlow version 9 is spoken.
func (e *Exporter) nine() bool { return e.cfg.Version == version9 }

// Rows returns how many rows of a batch an exporter tells of.
func Rows(b *record.Batch) uint64 { return uint64(len(b.Drops) + len(b.Flows)) }

// Batch implements export.Exporter.
func (e *Exporter) Batch(b *record.Batch) error {
	w := writer{max: e.max, header: headerLength, put: e.box.Put}
	if e.nine() {
		w.header, w.padded = header9Length, true
	}
	// Records of one template stand together: each set has a header.
	for _, v4 := range []bool{true, false} {
		for i := range b.Flows {
			f := &b.Flows[i]
			switch {
			case isV4(&f.Endpoints) != v4:
			case e.nine():
				e.addFlow9(&w, f, v4)
			default:
				w.add(setOf(flowsV4, v4), e.appendFlow(w.scratch[:0], f), 1)
			}
		}
		for i := range b.Drops {
			d := &b.Drops[i]
			switch {
			case isV4(&d.Endpoints) != v4:
			case e.nine():
				w.add(setOf(dropsV4, v4), e.appendDrop9(w.scratch[:0], d, b.Start, v4), 1)
			default:
				w.add(setOf(dropsV4, v4), e.appendDrop(w.scratch[:0], d, b.Start), 1)
			}
		}
	}
	w.flush()
	return nil
}

func setOf(v4Set uint16, v4 bool) uint16 {
	if v4 {
		return v4Set
	}
	return v4Set + 1
}

// Close implements export.Exporter.
func (e *Exporter) Close() error {
	err := e.box.Close()
	if e.conn != nil {
		err = e.conn.Close()
	}
	return err
}

// Status implements export.Exporter.
func (e *Exporter) Status() export.Status { return e.box.Status() }

// writer puts records into messages.
type writer struct {
	max     int
	header  int  // its length
	padded  bool // sets are of whole words, and messages say how many records they have
	put     func(outbox.Message)
	scratch []byte

	body    []byte // of the message, with room for its header
	rows    uint64
	records uint16
	set     uint16 // that is open
	at      int    // where it begins
}

// add adds a record to a set, which tells of so many rows: 0 if one before did.
func (w *writer) add(set uint16, rec []byte, rows uint64) {
	w.scratch = rec
	const setHeader, padding = 4, 3
	if len(w.body) > 0 && len(w.body)+padding+setHeader+len(rec)+padding > w.max {
		w.flush()
	}
	if len(w.body) == 0 {
		w.body, w.set = make([]byte, w.header, w.max), 0
	}
	if w.set != set {
		w.end()
		w.set, w.at = set, len(w.body)
		w.body = binary.BigEndian.AppendUint32(w.body, uint32(set)<<16)
	}
	w.body = append(w.body, rec...)
	w.rows += rows
	w.records++
}

// end writes the length of the open set.
func (w *writer) end() {
	if w.set != 0 {
		for w.padded && len(w.body)%4 != 0 {
			w.body = append(w.body, 0)
		}
		binary.BigEndian.PutUint16(w.body[w.at+2:], uint16(len(w.body)-w.at))
	}
}

func (w *writer) flush() {
	if len(w.body) == 0 {
		return
	}
	w.end()
	if w.padded {
		binary.BigEndian.PutUint16(w.body[2:], w.records)
	}
	w.put(outbox.Message{Body: w.body, Rows: w.rows})
	w.body, w.rows, w.records, w.set = nil, 0, 0, 0
}

// send sends a message, and templates before it when they are due.
func (e *Exporter) send(ctx context.Context, m *outbox.Message) error {
	if e.conn == nil {
		if err := e.connect(ctx); err != nil {
			return err
		}
	}
	err := e.write(ctx, m)
	if err != nil {
		_ = e.conn.Close() // the next one begins anew
		e.conn = nil
		return fmt.Errorf("send to the collector: %w", err)
	}
	if !e.nine() {
		e.sequence += uint32(m.Rows)
	}
	return nil
}

func (e *Exporter) connect(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	if e.conn, err = (&net.Dialer{}).DialContext(ctx, e.cfg.Network, e.cfg.Addr); err != nil {
		e.conn = nil
		return fmt.Errorf("connect to the collector: %w", err)
	}
	e.sequence, e.told = 0, time.Time{}
	return nil
}

func (e *Exporter) write(ctx context.Context, m *outbox.Message) error {
	if err := e.conn.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return err
	}
	conn := e.conn
	defer context.AfterFunc(ctx, func() { _ = conn.SetWriteDeadline(time.Now()) })()
	if now := time.Now(); e.told.IsZero() || e.cfg.Network == "udp" && now.Sub(e.told) >= e.cfg.Templates {
		if _, err := e.conn.Write(e.stamp(e.templates)); err != nil {
			return err
		}
		e.told = now
	}
	_, err := e.conn.Write(e.stamp(m.Body))
	if e.burst++; err == nil && e.cfg.Network == "udp" && e.burst%maxBurst == 0 {
		time.Sleep(burstPause)
	}
	return err
}

// stamp writes a message's header: its number is that of the data records before it.
func (e *Exporter) stamp(message []byte) []byte {
	if e.nine() {
		return e.stamp9(message)
	}
	binary.BigEndian.PutUint16(message, version)
	binary.BigEndian.PutUint16(message[2:], uint16(len(message)))
	binary.BigEndian.PutUint32(message[4:], uint32(time.Now().Unix()))
	binary.BigEndian.PutUint32(message[8:], e.sequence)
	binary.BigEndian.PutUint32(message[12:], e.cfg.Domain)
	return message
}
