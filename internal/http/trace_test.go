package http

import (
	"testing"

	"golang.org/x/net/http2"
)

func TestTraces(t *testing.T) {
	const id, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	for _, c := range []struct {
		text string
		is   bool
	}{
		{"00-" + id + "-" + span + "-01", true},
		{"00-" + id + "-" + span + "-00", true},
		{"cc-" + id + "-" + span + "-01-what-comes-later", true},
		{"cc-" + id + "-" + span + "-01", true},
		{"00-" + id + "-" + span + "-01-what-comes-later", false},
		{"cc-" + id + "-" + span + "-01.", false},
		{"ff-" + id + "-" + span + "-01", false},
		{"00-00000000000000000000000000000000-" + span + "-01", false},
		{"00-" + id + "-0000000000000000-01", false},
		{"00-4BF92F3577B34DA6A3CE929D0E0E4736-" + span + "-01", false},
		{"00-" + id + "-" + span + "-0g", false},
		{"00-" + id + "-" + span + "-1", false},
		{"00-" + id + "_" + span + "-01", false},
		{"0-" + id + "-" + span + "-01", false},
		{"", false},
	} {
		got := parseTrace(c.text)
		if is := got.id() == id && got.parent() == span; is != c.is || !is && got != (trace{}) {
			t.Errorf("%q: got %s, %s; want it read: %v", c.text, got.id(), got.parent(), c.is)
		}
	}
}

// A request says what trace it is of, be it HTTP/1 or HTTP/2.
func TestTraceOfRequests(t *testing.T) {
	const id, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	const field = "00-" + id + "-" + span + "-01"
	checkTold(t, Config{}, newTalk(0).ask("GET /a HTTP/1.1\r\nTraceParent:  "+field+" \r\nHost: h\r\n\r\n").answer("HTTP/1.1 204 x\r\n\r\n").
		ask("GET /b HTTP/1.1\r\nHost: h\r\n\r\n").answer("HTTP/1.1 204 x\r\n\r\n").close(),
		"http/1.1 GET h/a 204 up 0 down 0 of "+id+" by "+span, "http/1.1 GET h/b 204 up 0 down 0")

	client, server := newSpeaker(), newSpeaker()
	must(client.frames.WriteSettings())
	must(server.frames.WriteSettings())
	client.heads(1, true, 1000, ":method", "GET", ":authority", "h", ":path", "/a", "traceparent", field)
	server.heads(1, true, 1000, ":status", "204")
	checkTold(t, Config{}, newTalk(0).ask(http2.ClientPreface+client.said()).answer(server.said()).close(),
		"h2 GET h/a 204 up 0 down 0 of "+id+" by "+span)
}

func FuzzTrace(f *testing.F) {
	f.Add("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	f.Fuzz(func(t *testing.T, text string) {
		got := parseTrace(text)
		if (got.id() == "") != (got.parent() == "") {
			t.Errorf("%q: got %q and %q, want both or neither", text, got.id(), got.parent())
		}
	})
}
