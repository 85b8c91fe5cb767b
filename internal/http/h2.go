package http

import (
	"encoding/base64"
	"encoding/binary"
	"maps"
	"slices"
	"strconv"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/netfate/netfate/internal/record"
)

// The bounds of HPACK's dynamic table: what a side may use unless the other
// one allows more, and what is kept of what it allows.
const (
	usualTable = 4 << 10
	maxTable   = 64 << 10
)

// behindPreface is what follows the head-like part of the client's preface.
const behindPreface = len("SM\r\n\r\n")

const frameHeader = 9

// h2 is a connection that speaks HTTP/2.
type h2 struct {
	streams map[uint32]*exchange
	newest  uint32 // highest stream that a request was seen on
	half    [2]h2half
}

// h2half is one side of it.
type h2half struct {
	hpack *hpack.Decoder
	// skip is how many bytes of the present frame, or of the preface, need not
	// be looked at.
	skip int
	// stream and flags are those of the heads in progress.
	stream  uint32
	ends    bool // the stream, with the heads
	open    bool // heads are in progress
	head    head
	hasHead bool // they have a method or a status: they are no trailers
	at      time.Time
	table   uint32
}

func (c *conn) startH2() {
	if c.h2 != nil {
		return
	}
	c.h2 = &h2{streams: map[uint32]*exchange{}}
	for i := range c.h2.half {
		h := &c.h2.half[i]
		h.table = usualTable
		h.hpack = hpack.NewDecoder(usualTable, h.field)
		h.hpack.SetMaxStringLength(maxHead)
	}
}

// h2Preface makes HTTP/2 of the client's side, and of the server's unless it
// answers an upgrade first.
func (c *conn) h2Preface() {
	c.startH2()
	c.half[asks].state = inH2
	c.h2.half[asks].skip = behindPreface
	s := &c.half[answers]
	if len(c.queue) > 0 || s.state == inH2 {
		return
	}
	early, at := s.buf, s.first
	c.drop(answers)
	s.state = inH2
	if len(early) > 0 {
		c.h2.data(c, answers, early, at)
	}
}

// h2Upgrade makes HTTP/2 of the server's side behind its 101. The request
// becomes that of stream 1.
func (c *conn) h2Upgrade(e *exchange) {
	c.startH2()
	c.responses--
	c.queue = slices.DeleteFunc(c.queue, func(o *exchange) bool { return o == e })
	c.requests = max(0, c.requests-1)
	c.half[answers].state, c.half[answers].exchange = inH2, nil
	if payload, err := base64.RawURLEncoding.DecodeString(e.settings); err == nil {
		for ; len(payload) >= 6; payload = payload[6:] {
			c.h2.setting(asks, http2.Setting{
				ID: http2.SettingID(binary.BigEndian.Uint16(payload)), Val: binary.BigEndian.Uint32(payload[2:]),
			})
		}
	}
	e.answered, e.status, e.first, e.protocol = false, 0, time.Time{}, "h2"
	e.requestDone = true
	c.h2.streams[1], c.h2.newest = e, 1
}

// setting takes what one side allows the other.
func (s *h2) setting(side int, v http2.Setting) {
	to := &s.half[1-side]
	if v.ID == http2.SettingHeaderTableSize && v.Val > to.table {
		to.table = min(v.Val, maxTable)
		to.hpack.SetAllowedMaxDynamicTableSize(to.table)
	}
}

// data reads frames: those that matter are held until they have come whole,
// the others are counted and passed.
func (s *h2) data(c *conn, side int, b []byte, at time.Time) {
	h, buf := &s.half[side], &c.half[side]
	for len(b) > 0 && !c.ignored {
		if h.skip > 0 {
			n := min(h.skip, len(b))
			h.skip -= n
			b = b[n:]
			continue
		}
		frame := b
		if len(buf.buf) > 0 {
			more := wanted(buf.buf) - len(buf.buf)
			n := min(more, len(b))
			if !c.hold(buf, b[:n]) {
				c.endH2(record.Malformed, brokenH2)
				return
			}
			b = b[n:]
			frame = buf.buf
		}
		n := wanted(frame)
		switch {
		case n > maxHead:
			c.t.lost[longHead]++
			c.endH2(record.Malformed, brokenH2)
			return
		case len(frame) >= n && len(buf.buf) > 0:
			c.drop(side)
			s.whole(c, side, frame[:n], at)
		case len(frame) >= n:
			b = b[n:]
			s.whole(c, side, frame[:n], at)
		case len(buf.buf) == 0:
			if !c.hold(buf, b) {
				c.endH2(record.Malformed, brokenH2)
			}
			return
		}
	}
}

// wanted is how many bytes have to be there before the frame that b begins can
// be done: all of it, or of frames that are passed the header, and what tells
// the padding.
func wanted(b []byte) int {
	if len(b) < frameHeader {
		return frameHeader
	}
	length := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
	switch http2.FrameType(b[3]) {
	case http2.FrameHeaders, http2.FrameContinuation, http2.FramePushPromise, http2.FrameSettings, http2.FrameRSTStream:
		return frameHeader + length
	case http2.FrameData:
		if http2.Flags(b[4]).Has(http2.FlagDataPadded) {
			return frameHeader + min(1, length)
		}
	}
	return frameHeader
}

// whole does a frame that has come as far as it is needed.
func (s *h2) whole(c *conn, side int, b []byte, at time.Time) {
	h := &s.half[side]
	length := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
	flags := http2.Flags(b[4])
	id := binary.BigEndian.Uint32(b[5:]) &^ (1 << 31)
	h.skip = length - (len(b) - frameHeader)
	switch http2.FrameType(b[3]) {
	case http2.FrameData:
		if len(b) > frameHeader { // padded
			length = max(0, length-1-int(b[frameHeader]))
		}
		s.body(c, side, id, length, at)
		if flags.Has(http2.FlagDataEndStream) {
			s.endSide(c, side, id)
		}
	case http2.FrameHeaders, http2.FrameContinuation, http2.FramePushPromise, http2.FrameSettings, http2.FrameRSTStream:
		c.t.frame.Reset(b)
		f, err := c.t.frames.ReadFrame()
		if err != nil {
			c.endH2(record.Malformed, brokenH2)
			return
		}
		s.frame(c, side, f, at)
	}
}

func (s *h2) frame(c *conn, side int, f http2.Frame, at time.Time) {
	h := &s.half[side]
	switch f := f.(type) {
	case *http2.SettingsFrame:
		// ForeachSetting's error is the function's, which has none.
		_ = f.ForeachSetting(func(v http2.Setting) error {
			s.setting(side, v)
			return nil
		})
	case *http2.RSTStreamFrame:
		if e := s.streams[f.StreamID]; e != nil {
			e.last = later(e.last, at)
			e.giveUp(record.Reset)
			s.settle(c, f.StreamID)
		}
	case *http2.HeadersFrame:
		h.begin(f.StreamID, f.StreamEnded(), at)
		s.block(c, side, f.HeaderBlockFragment(), f.HeadersEnded())
	case *http2.PushPromiseFrame:
		h.begin(f.PromiseID, false, at)
		s.block(c, side, f.HeaderBlockFragment(), f.HeadersEnded())
	case *http2.ContinuationFrame:
		if h.open && h.stream == f.StreamID {
			s.block(c, side, f.HeaderBlockFragment(), f.HeadersEnded())
		} else {
			c.endH2(record.Malformed, brokenH2)
		}
	}
}

// begin starts a block of heads.
func (h *h2half) begin(stream uint32, ends bool, at time.Time) {
	h.stream, h.ends, h.open, h.hasHead, h.at = stream, ends, true, false, at
	h.head = head{version: "2", length: -1}
}

// block decodes a part of the heads.
func (s *h2) block(c *conn, side int, fragment []byte, last bool) {
	h := &s.half[side]
	if _, err := h.hpack.Write(fragment); err != nil {
		c.endH2(record.Malformed, brokenH2)
		return
	}
	if !last {
		return
	}
	h.open = false
	if err := h.hpack.Close(); err != nil {
		c.endH2(record.Malformed, brokenH2)
		return
	}
	s.heads(c, side)
}

// field takes one decoded field. Credentials are not kept.
func (h *h2half) field(f hpack.HeaderField) {
	switch f.Name {
	case ":method":
		h.head.method, h.hasHead = f.Value, true
	case ":path":
		h.head.target = f.Value
	case ":authority":
		h.head.host = f.Value
	case "host":
		if h.head.host == "" {
			h.head.host = f.Value
		}
	case ":status":
		n, err := strconv.ParseUint(f.Value, 10, 10)
		h.head.status, h.hasHead = uint16(n), err == nil
	case "content-type":
		h.head.contentType = f.Value
	case "traceparent":
		h.head.trace = parseTrace(f.Value)
	}
}

// heads does a block that has come whole: of a request, a promised one, a
// response, or trailers.
func (s *h2) heads(c *conn, side int) {
	h := &s.half[side]
	id := h.stream
	isRequest := h.head.method != ""
	if h.hasHead {
		e := s.stream(c, id, isRequest)
		if e == nil {
			return
		}
		if c.t.trace != nil {
			c.t.trace(c, &h.head, isRequest)
		}
		switch {
		case isRequest && !e.asked:
			e.ask(c.t, &h.head, h.at)
			e.requestDone = e.requestDone || side == answers // promised
		case !isRequest && h.head.status/100 != 1 && !e.answered:
			e.answer(&h.head, h.at)
		}
	}
	if h.ends {
		s.endSide(c, side, id)
	}
}

// stream returns the exchange of a stream, a new one if the stream is; nil if it
// is over.
func (s *h2) stream(c *conn, id uint32, isRequest bool) *exchange {
	e := s.streams[id]
	if e != nil || id <= s.newest && id%2 == 1 {
		return e
	}
	if len(s.streams) >= maxPipeline || c.t.pending >= maxPending && len(s.streams) > 0 {
		c.t.lost[tooManyPending]++
		oldest := slices.Min(slices.Collect(maps.Keys(s.streams)))
		s.streams[oldest].giveUp(record.Unanswered)
		s.settle(c, oldest)
	}
	if isRequest && id%2 == 1 {
		s.newest = id
	}
	e = &exchange{}
	c.t.pending++
	s.streams[id] = e
	return e
}

// body counts bytes of DATA.
func (s *h2) body(c *conn, side int, id uint32, n int, at time.Time) {
	c.half[side].exchange = s.streams[id]
	if c.half[side].exchange != nil {
		c.count(side, n, at)
	}
	c.half[side].exchange = nil
}

// endSide does END_STREAM.
func (s *h2) endSide(c *conn, side int, id uint32) {
	e := s.streams[id]
	if e == nil {
		return
	}
	if side == asks {
		e.requestDone = true
	} else {
		e.responseDone = true
	}
	s.settle(c, id)
}

func (s *h2) settle(c *conn, id uint32) {
	if e := s.streams[id]; e.finished() {
		delete(s.streams, id)
		c.t.emit(c, e)
	}
}

// finishAll ends the streams that are open.
func (s *h2) finishAll(c *conn, fate func(*exchange) string) {
	for _, id := range slices.Sorted(maps.Keys(s.streams)) {
		s.streams[id].giveUp(fate(s.streams[id]))
		s.settle(c, id)
	}
}

// gap skips missing bytes of a frame that is passed anyway. Otherwise heads may
// be missing, and those that follow refer to them.
func (s *h2) gap(c *conn, side, n int) {
	h := &s.half[side]
	if n == 0 || n > h.skip {
		c.endH2(record.CutOff, cutH2)
		return
	}
	h.skip -= n
}

// endH2 gives up a connection that can no longer be followed.
func (c *conn) endH2(err string, why cause) {
	c.t.lost[why]++
	c.h2.finishAll(c, func(*exchange) string { return err })
	for _, e := range c.queue {
		e.giveUp(err)
	}
	c.settle()
	c.switchTo(inTunnel)
	c.ignored = true
	c.h2 = nil
}
