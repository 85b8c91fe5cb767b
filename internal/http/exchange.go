package http

import (
	"strings"
	"time"

	"github.com/netfate/netfate/internal/record"
)

// exchange is a request and its response, as far as they came.
type exchange struct {
	method, host, path, query string
	trace                     trace
	protocol                  string
	settings                  string    // of an upgrade to HTTP/2
	start, first, last        time.Time // first byte of each, and the latest of any
	up, down                  uint64    // bytes of the bodies
	err                       string
	status                    uint16
	oneIn                     uint32
	asked                     bool // the head of the request was seen
	answered                  bool // that of a final response was
	requestDone               bool
	responseDone              bool
}

func (e *exchange) finished() bool { return e.requestDone && e.responseDone }

// giveUp finishes an exchange for which no more will come.
func (e *exchange) giveUp(err string) {
	if !e.responseDone && e.err == "" {
		e.err = err
	}
	e.requestDone, e.responseDone = true, true
}

// ask fills in a request's head.
func (e *exchange) ask(t *Tracker, h *head, at time.Time) {
	e.asked, e.start, e.last, e.oneIn = true, at, later(e.last, at), t.oneIn
	e.method = t.text(h.method, maxMethod)
	host, path, query := splitTarget(h.method, h.target)
	if host == "" {
		host = h.host
	}
	e.host = strings.ToLower(t.text(withoutUser(host), maxText))
	e.path = t.text(path, maxText)
	if t.secrets {
		e.query = t.text(query, maxText)
	}
	e.protocol, e.trace = h.protocol(), h.trace
}

// answer fills in the head of a final response.
func (e *exchange) answer(h *head, at time.Time) {
	e.answered, e.first, e.last = true, at, later(e.last, at)
	e.status = h.status
	if h.status < 100 && e.err == "" {
		e.err = record.Malformed
	}
	if e.protocol == "" {
		e.protocol = h.protocol()
	}
}

// text copies at most limit bytes.
func (t *Tracker) text(s string, limit int) string {
	if len(s) > limit {
		t.lost[longText]++
		s = s[:limit]
	}
	return strings.Clone(s)
}

// splitTarget takes a request target apart; the host is empty unless it has
// one: CONNECT's, and those that proxies get.
func splitTarget(method, target string) (host, path, query string) {
	if method == "CONNECT" && !strings.HasPrefix(target, "/") {
		return target, "", ""
	}
	rest := target
	if i := strings.Index(rest, "://"); i > 0 && !strings.ContainsAny(rest[:i], "/?#") {
		rest = rest[i+3:]
		end := strings.IndexAny(rest, "/?#")
		if end < 0 {
			end = len(rest)
		}
		host, rest = rest[:end], rest[end:]
		if rest == "" || rest[0] != '/' {
			rest = "/" + rest
		}
	}
	rest, _, _ = strings.Cut(rest, "#")
	path, query, _ = strings.Cut(rest, "?")
	return host, nobodys(path), query
}

// nobodys is a path without the name and password of an address that lacks its scheme
// (//USER:PASSWORD@HOST/): such a path is somebody's mistake.
func nobodys(path string) string {
	rest, ok := strings.CutPrefix(path, "//")
	if !ok {
		return path
	}
	end := strings.IndexByte(rest, '/')
	if end < 0 {
		end = len(rest)
	}
	return "//" + withoutUser(rest[:end]) + rest[end:]
}

// withoutUser removes the name and password from an authority.
func withoutUser(authority string) string {
	return authority[strings.LastIndexByte(authority, '@')+1:]
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// emit makes the record of a finished exchange.
func (t *Tracker) emit(c *conn, e *exchange) {
	r := record.Request{
		Protocol: e.protocol, Start: e.start, Method: e.method, HostName: e.host, Path: e.path, QueryString: e.query,
		Status: e.status, RequestBytes: e.up, ResponseBytes: e.down, Error: e.err,
		TraceID: e.trace.id(), ParentID: e.trace.parent(), OneIn: e.oneIn, TLS: t.tls,
	}
	r.Time = e.last
	switch {
	case !e.asked:
		if r.Start = e.first; r.Error == "" {
			r.Error = record.Unasked
		}
	case e.answered:
		// Packets that were captured out of order may answer before they ask.
		r.LatencyMicros = uint64(max(0, e.first.Sub(e.start).Microseconds()))
	}
	t.tell(c, &r)
}

// tell adds the row of something that was pending, between the ends of c.
func (t *Tracker) tell(c *conn, r *record.Request) {
	t.pending--
	if len(t.done) >= maxDone {
		t.lost[tooManyDone]++
		return
	}
	client, server := c.conn.Client, c.conn.Server
	if c.swapped {
		client, server = server, client
	}
	r.Proto, r.IfName, r.NetNS = "tcp", c.conn.Interface, c.conn.Space
	r.SrcAddr, r.SrcPort, r.DstAddr, r.DstPort = client.Addr(), client.Port(), server.Addr(), server.Port()
	t.done = append(t.done, *r)
}
