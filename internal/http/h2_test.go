package http

import (
	"bytes"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// speaker writes frames of one side.
type speaker struct {
	out    bytes.Buffer
	frames *http2.Framer
	block  bytes.Buffer
	hpack  *hpack.Encoder
}

func newSpeaker() *speaker {
	s := &speaker{}
	s.frames = http2.NewFramer(&s.out, nil)
	s.hpack = hpack.NewEncoder(&s.block)
	return s
}

// must is for writing to a buffer, which fails only by a mistake of the test.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// heads writes a block in parts of so many bytes: names and values take turns.
func (s *speaker) heads(stream uint32, end bool, part int, fields ...string) *speaker {
	s.block.Reset()
	for i := 0; i < len(fields); i += 2 {
		must(s.hpack.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}))
	}
	b := s.block.Bytes()
	n := min(part, len(b))
	must(s.frames.WriteHeaders(http2.HeadersFrameParam{
		StreamID: stream, BlockFragment: b[:n], EndStream: end, EndHeaders: n == len(b), PadLength: 3,
	}))
	for b = b[n:]; len(b) > 0; b = b[n:] {
		n = min(part, len(b))
		must(s.frames.WriteContinuation(stream, n == len(b), b[:n]))
	}
	return s
}

func (s *speaker) get(stream uint32, path string) *speaker {
	return s.heads(stream, true, 1000, ":method", "GET", ":scheme", "http", ":authority", "user:word@H", ":path", path, "authorization", "secret")
}

func (s *speaker) data(stream uint32, end bool, text string) *speaker {
	must(s.frames.WriteDataPadded(stream, end, []byte(text), make([]byte, 5)))
	return s
}

// said returns what was written since the last call.
func (s *speaker) said() string {
	defer s.out.Reset()
	return s.out.String()
}

// talkH2 is a conversation with most of what there is.
func talkH2(size int) *talk {
	k := newTalk(size)
	client, server := newSpeaker(), newSpeaker()
	must(server.frames.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: 8192}))
	k.answer(server.said()) // some servers do not wait for the preface
	must(client.frames.WriteSettings())
	client.hpack.SetMaxDynamicTableSizeLimit(8192)
	client.hpack.SetMaxDynamicTableSize(8192)
	k.ask(http2.ClientPreface + client.said())
	client.get(1, "/one?secret")
	client.heads(3, false, 5, ":method", "POST", ":scheme", "http", ":authority", "h", ":path", "/pkg.Greeter/Hello", "content-type", "application/grpc+proto")
	must(client.frames.WriteWindowUpdate(0, 1000))
	client.data(3, true, "hello")
	client.get(5, "/five").get(7, "/seven")
	k.ask(client.said())
	server.heads(3, false, 3, ":status", "200", "content-type", "application/grpc").data(3, false, "hi").data(3, false, "there")
	server.heads(1, false, 1000, ":status", "103").heads(1, false, 1000, ":status", "200").data(1, true, strings.Repeat("x", 3000))
	server.heads(3, true, 1000, "grpc-status", "0")
	must(server.frames.WritePushPromise(http2.PushPromiseParam{StreamID: 5, PromiseID: 2, EndHeaders: true, BlockFragment: push(server)}))
	server.heads(2, true, 1000, ":status", "204")
	must(server.frames.WriteRSTStream(5, http2.ErrCodeInternal))
	must(server.frames.WritePing(false, [8]byte{1}))
	return k.answer(server.said()).close()
}

// push encodes the heads of a promised request.
func push(s *speaker) []byte {
	s.block.Reset()
	for _, f := range [][2]string{{":method", "GET"}, {":authority", "h"}, {":path", "/pushed"}} {
		must(s.hpack.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}))
	}
	return bytes.Clone(s.block.Bytes())
}

func TestH2(t *testing.T) {
	for _, size := range []int{0, 1, 2, 5, 100} {
		checkTold(t, Config{}, talkH2(size),
			"h2 GET h/one 200 up 0 down 3000",
			"grpc POST h/pkg.Greeter/Hello 200 up 5 down 7",
			"h2 GET h/pushed 204 up 0 down 0",
			"h2 GET h/five 0 up 0 down 0 reset",
			"h2 GET h/seven 0 up 0 down 0 unanswered")
	}
}

// An upgraded request is stream 1, and shows once, as HTTP/2.
func TestH2Upgrade(t *testing.T) {
	client, server := newSpeaker(), newSpeaker()
	must(client.frames.WriteSettings())
	must(server.frames.WriteSettings())
	upgrade := "GET /up HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAACAA\r\n\r\n"
	server.hpack.SetMaxDynamicTableSizeLimit(8192) // as the settings in the request allow
	server.hpack.SetMaxDynamicTableSize(8192)
	server.heads(1, false, 1000, ":status", "200").data(1, true, "up")
	for _, size := range []int{0, 1, 9} {
		k := newTalk(size).ask(upgrade).answer("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n" + server.out.String()).
			ask(http2.ClientPreface + client.out.String() + newSpeaker().get(3, "/three").said()).close()
		checkTold(t, Config{}, k, "h2 GET h/up 200 up 0 down 2", "h2 GET h/three 0 up 0 down 0 unanswered")
	}
	checkTold(t, Config{}, newTalk(0).ask(upgrade).answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno").close(),
		"http/1.1 GET h/up 200 up 0 down 2")
}

func TestH2Trouble(t *testing.T) {
	begin := func() (*talk, *speaker, *speaker) {
		client, server := newSpeaker(), newSpeaker()
		return newTalk(0).ask(http2.ClientPreface + client.get(1, "/1").said()), client, server
	}
	k, _, server := begin()
	body := server.heads(1, false, 1000, ":status", "200").data(1, true, strings.Repeat("x", 200)).said()
	k.answer(body[:100]).lose(answers, body[100:150]).answer(body[150:]).close()
	checkTold(t, Config{}, k, "h2 GET h/1 200 up 0 down 200", "lost 50 tcp_streams: missing bytes")

	k, client, _ := begin()
	k.lose(asks, client.get(3, "/3").said()).ask(client.get(5, "/5").said()).close()
	checkTold(t, Config{}, k, "h2 GET h/1 0 up 0 down 0 cut", "lost 21 tcp_streams: missing bytes", "lost 1 http: HTTP/2 connections with missing bytes")

	k, _, _ = begin()
	k.answer("\x00\x00\x03\x01\x04\x00\x00\x00\x01\xff\xff\xff").answer("more").close()
	checkTold(t, Config{}, k, "h2 GET h/1 0 up 0 down 0 malformed", "lost 1 http: HTTP/2 connections with frames that cannot be read")

	_, client, _ = begin()
	late := midwayTalk().ask(client.get(3, "/3").said() + client.get(5, "/5").said())
	checkTold(t, Config{}, late, "lost 1 http: HTTP/2 connections joined midway")

	k, _, _ = begin()
	k.abort()
	checkTold(t, Config{}, k, "h2 GET h/1 0 up 0 down 0 reset")
}
