package http

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/packet"
	"github.com/netfate/netfate/internal/record"
)

// dialogs are whole conversations, which have to come out the same however they
// are cut.
func dialogs() []struct {
	name string
	say  func(k *talk)
	want []string
} {
	return []struct {
		name string
		say  func(k *talk)
		want []string
	}{
		{"one request", func(k *talk) {
			k.ask("GET /a?b=c HTTP/1.1\r\nHost: Example.org\r\n\r\n").
				answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").close()
		}, []string{"http/1.1 GET example.org/a 200 up 0 down 5"}},
		{"keep-alive, a body up", func(k *talk) {
			k.ask("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc").answer("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n").
				ask("GET /b HTTP/1.1\r\nHost: h\r\n\r\n").answer("HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno").close()
		}, []string{"http/1.1 POST h/a 201 up 3 down 0", "http/1.1 GET h/b 404 up 0 down 2"}},
		{"pipelined", func(k *talk) {
			k.ask("GET /1 HTTP/1.1\r\nHost: h\r\n\r\nHEAD /2 HTTP/1.1\r\nHost: h\r\n\r\nGET /3 HTTP/1.1\r\nHost: h\r\n\r\n").
				answer("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" +
					"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc").close()
		}, []string{"http/1.1 GET h/1 200 up 0 down 1", "http/1.1 HEAD h/2 200 up 0 down 0", "http/1.1 GET h/3 200 up 0 down 3"}},
		{"chunked both ways", func(k *talk) {
			k.ask("PUT /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n2\r\nab\r\n00a;x=\"1\"\r\n0123456789\r\n0\r\nA: b\r\nC: d\r\n\r\n").
				answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 77\r\n\r\nA \r\n0123456789\r\n0\r\n\r\n").
				ask("GET /n HTTP/1.1\r\n\r\n").answer("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n").close()
		}, []string{"http/1.1 PUT h/c 200 up 12 down 10", "http/1.1 GET /n 304 up 0 down 0"}},
		{"until it closes", func(k *talk) {
			k.ask("GET / HTTP/1.0\r\n\r\n").answer("HTTP/1.0 200 OK\r\n\r\nsome bytes\r\n\r\nmore").close()
		}, []string{"http/1.0 GET / 200 up 0 down 18"}},
		{"continue first", func(k *talk) {
			k.ask("POST /u HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n").answer("HTTP/1.1 100 Continue\r\n\r\n").
				ask("body").answer("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n").close()
		}, []string{"http/1.1 POST h/u 204 up 4 down 0"}},
		{"a websocket", func(k *talk) {
			k.ask("GET /chat HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n").
				answer("HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\n\r\n\x81\x05hello").ask("\x81\x85GET / HTTP/1.1\r\n\r\n").close()
		}, []string{"websocket GET h/chat 101 up 0 down 0"}},
		{"a tunnel", func(k *talk) {
			k.ask("CONNECT example.org:443 HTTP/1.1\r\nHost: proxy\r\n\r\n").answer("HTTP/1.1 200 OK\r\n\r\n").
				ask("GET /inside HTTP/1.1\r\n\r\n").answer("HTTP/1.1 500 No\r\n\r\n").close()
		}, []string{"http/1.1 CONNECT example.org:443 200 up 0 down 0"}},
		{"a refused tunnel", func(k *talk) {
			k.ask("CONNECT example.org:443 HTTP/1.1\r\n\r\n").answer("HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno").close()
		}, []string{"http/1.1 CONNECT example.org:443 403 up 0 down 2"}},
		{"as browsers read it", func(k *talk) {
			k.ask("\r\n\nGET /with blank HTTP/1.1\nHost:\th\nX: 1\n  2\n\n").
				answer("HTTP/1.1 200\nTransfer-Encoding:\r\n chunked\n\n3\nabc\n0\n\n\r\n").
				ask("GET /2 HTTP/3.9\r\nhost :second\r\n\r\n").answer("HTTP/1.1 0200 OK\r\ncontent-length: x\r\nContent-Length: 1\r\n\r\n1").close()
		}, []string{"http/1.1 GET h/with blank 200 up 0 down 3", "http/1.1 GET second/2 200 up 0 down 1"}},
		{"through a proxy, with a password", func(k *talk) {
			k.ask("GET http://user:word@Example.org:81/p?q#f HTTP/1.1\r\nHost: x:y@other\r\nAuthorization: Basic Zm9v\r\n\r\n").
				answer("HTTP/1.1 204 x\r\n\r\n").ask("GET http://example.org HTTP/1.1\r\n\r\n").answer("HTTP/1.1 204 x\r\n\r\n").
				ask("OPTIONS * HTTP/1.1\r\nHost: u@h\r\n\r\n").answer("HTTP/1.1 204 x\r\n\r\n").
				ask("GET //user:word@h/p@x HTTP/1.1\r\n\r\n").answer("HTTP/1.1 204 x\r\n\r\n").close()
		}, []string{
			"http/1.1 GET example.org:81/p 204 up 0 down 0", "http/1.1 GET example.org/ 204 up 0 down 0", "http/1.1 OPTIONS h* 204 up 0 down 0",
			"http/1.1 GET //h/p@x 204 up 0 down 0",
		}},
		{"nobody answers", func(k *talk) { k.ask("GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n").close() },
			[]string{"http/1.1 GET /a 0 up 0 down 0 unanswered", "http/1.1 GET /b 0 up 0 down 0 unanswered"}},
		{"reset", func(k *talk) { k.ask("GET /a HTTP/1.1\r\n\r\n").abort() },
			[]string{"http/1.1 GET /a 0 up 0 down 0 reset"}},
		{"reset within a body", func(k *talk) {
			k.ask("GET /a HTTP/1.1\r\n\r\n").answer("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n1234").abort()
		}, []string{"http/1.1 GET /a 200 up 0 down 4 reset"}},
		{"the end is missing", func(k *talk) {
			k.ask("GET /a HTTP/1.1\r\n\r\n").answer("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n1234").close()
		}, []string{"http/1.1 GET /a 200 up 0 down 4 cut"}},
		{"no end of the head", func(k *talk) { k.ask("GET /a HTTP/1.1\r\nHost: h\r\nX").close() },
			[]string{"http/1.1 GET h/a 0 up 0 down 0 cut"}},
		{"no chunk", func(k *talk) {
			k.ask("GET /a HTTP/1.1\r\n\r\n").answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz").close()
		}, []string{"http/1.1 GET /a 200 up 0 down 0 malformed"}},
		{"no answer of HTTP", func(k *talk) { k.ask("GET /a HTTP/1.1\r\n\r\n").answer("\x00\x01nothing").close() },
			[]string{"http/1.1 GET /a 0 up 0 down 0 malformed", "lost 1 http: segments that are in no message"}},
		{"not HTTP", func(k *talk) { k.answer("220 mail ESMTP\r\n").ask("GET HTTP/1.1\r\n\r\n").close() }, nil},
		{"another protocol with such words", func(k *talk) { k.ask("OPTIONS rtsp://h/ RTSP/1.0\r\n\r\n").answer("RTSP/1.0 200 OK\r\n\r\n").close() }, nil},
		{"nobody asked", func(k *talk) { k.answer("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n").close() },
			[]string{"http/1.1   408 up 0 down 0 unasked"}},
	}
}

func TestDialogs(t *testing.T) {
	for _, d := range dialogs() {
		t.Run(d.name, func(t *testing.T) {
			for _, size := range []int{0, 1, 2, 3, 7} {
				k := newTalk(size)
				d.say(k)
				checkTold(t, Config{}, k, d.want...)
			}
		})
	}
}

// A connection cut in two at any byte, and its packets in any order of the two
// sides, give the same.
func TestCutAnywhere(t *testing.T) {
	for _, d := range dialogs() {
		t.Run(d.name, func(t *testing.T) {
			whole := newTalk(0)
			d.say(whole)
			want := strings.Join(append(d.want, ""), "\n")
			for i, p := range whole.packets {
				for cut := 1; cut < len(p.Payload); cut++ {
					first, second := p, p
					first.Payload, second.Payload, second.Seq = p.Payload[:cut], p.Payload[cut:], p.Seq+uint32(cut)
					packets := append(whole.packets[:i:i], second, first) // out of order, too
					packets = append(packets, whole.packets[i+1:]...)
					if got := told(track(Config{}, packets)); got != want {
						t.Fatalf("packet %d cut at byte %d: got\n%swant\n%s", i, cut, got, want)
					}
				}
			}
		})
	}
}

func TestRecord(t *testing.T) {
	k := newTalk(0)
	k.ask("GET /find?q=1 HTTP/1.1\r\nHost: h\r\n\r\n").answer("HTTP/1.1 200 OK\r\n").answer("Content-Length: 2\r\n\r\n").answer("ok")
	b := track(Config{Secrets: true}, k.packets)
	if len(b.Requests) != 1 {
		t.Fatalf("got %d requests, want 1", len(b.Requests))
	}
	want := record.Request{
		Protocol: "http/1.1", Method: "GET", HostName: "h", Path: "/find", QueryString: "q=1", Status: 200,
		ResponseBytes: 2, LatencyMicros: 1000, Start: start.Add(2 * time.Millisecond),
	}
	want.Time, want.Proto = start.Add(5*time.Millisecond), "tcp"
	want.SrcAddr, want.SrcPort, want.DstAddr, want.DstPort = k.packets[0].Src.Addr(), 40000, k.packets[0].Dst.Addr(), 8080
	if diff := cmp.Diff(want, b.Requests[0], cmp.Comparer(func(a, b record.Endpoints) bool { return a == b })); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
}

func TestMissingBytes(t *testing.T) {
	request := "GET /%d HTTP/1.1\r\nHost: h\r\n\r\n"
	response := "HTTP/1.1 20%d OK\r\nContent-Length: 10\r\n\r\n0123456789"
	ask := func(n int) string { return fmt.Sprintf(request, n) }
	answer := func(n int) string { return fmt.Sprintf(response, n) }
	for _, c := range []struct {
		name string
		talk *talk
		want []string
	}{
		{"in a body", newTalk(0).ask(ask(1)).answer(answer(1)[:40]).lose(answers, "...").answer(answer(1)[43:]).ask(ask(2)).answer(answer(2)).close(),
			[]string{"http/1.1 GET h/1 201 up 0 down 10", "http/1.1 GET h/2 202 up 0 down 10", "lost 3 tcp_streams: missing bytes"}},
		{"a response", newTalk(0).ask(ask(1)).lose(answers, answer(1)).ask(ask(2)).answer(answer(2)).close(),
			[]string{"http/1.1 GET h/1 0 up 0 down 0 cut", "http/1.1 GET h/2 202 up 0 down 10", "lost 49 tcp_streams: missing bytes"}},
		{"a request", newTalk(0).ask(ask(1)).answer(answer(1)).lose(asks, ask(2)).answer(answer(2)).ask(ask(3)).answer(answer(3)).close(),
			[]string{"http/1.1 GET h/1 201 up 0 down 10", "http/1.1   202 up 0 down 10 unasked", "http/1.1 GET h/3 203 up 0 down 10",
				"lost 28 tcp_streams: missing bytes"}},
		{"midway in a body", midwayTalk().answer("456789").ask(ask(2)).answer(answer(2)),
			[]string{"http/1.1 GET h/2 202 up 0 down 10", "lost 1 http: connections joined midway"}},
		{"midway between the two", midwayTalk().answer(answer(1)).ask(ask(2)).answer(answer(2)),
			[]string{"http/1.1   201 up 0 down 10 unasked", "http/1.1 GET h/2 202 up 0 down 10", "lost 1 http: connections joined midway"}},
		{"midway, the other way round", midwayTalk().say(answers, ask(1)).say(asks, answer(1)),
			[]string{"http/1.1 GET h/1 201 up 0 down 10", "lost 1 http: connections joined midway"}},
		{"midway, something else", midwayTalk().say(answers, "\x16\x03\x01").say(asks, "EHLO x\r\n"), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			checkTold(t, Config{}, c.talk, c.want...)
		})
	}
}

// A sensor copies of bodies no more than it must, and tells what it leaves out.
func TestSkippedBytes(t *testing.T) {
	const ask, answer = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
	const chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	hundred := strings.Repeat("x", 100)
	is := func(down int) string { return fmt.Sprintf("http/1.1 GET h/a 200 up 0 down %d", down) }
	for _, c := range []struct {
		name string
		talk *talk
		want []string
	}{
		{"of known length", newTalk(0).ask(ask).answer(answer+hundred).skip(answers, strings.Repeat("y", 900)), []string{is(1000)}},
		{"of known length, then the tail", newTalk(0).ask(ask).answer(answer).skip(answers, strings.Repeat("y", 994)).answer("zzzzzz"),
			[]string{is(1000)}},
		{"in a chunk", newTalk(0).ask(ask).answer(chunked+"64\r\n"+hundred[:50]).skip(answers, hundred[:20]).answer(hundred[70:] + "\r\n0\r\n\r\n"),
			[]string{is(100)}},
		{"over chunks", newTalk(0).ask(ask).answer(chunked+"64\r\n"+hundred[:50]).skip(answers, hundred+hundred).answer("\n0\r\n\r\n"),
			[]string{is(256)}},
		{"over the last chunk", newTalk(0).ask(ask).answer(chunked+"64\r\n"+hundred[:50]).skip(answers, hundred).ask(ask).answer(answer).skip(answers, strings.Repeat("y", 1000)),
			[]string{is(150), is(1000)}},
		{"over chunks, then the last one by itself", newTalk(0).ask(ask).answer(chunked+"64\r\n"+hundred[:50]).skip(answers, hundred+hundred).answer("0\r\n\r\n"),
			[]string{is(255)}},
		{"over chunks that look like a response", newTalk(0).ask(ask).answer(chunked+"64\r\n"+hundred[:50]).skip(answers, hundred).answer("HTTP/1").
			skip(answers, hundred).answer(answer).skip(answers, hundred).answer("0\r\n\r\n"),
			[]string{is(50 + 3*100 + 6 + len(answer) + 5)}},
		{"over chunks that look like a request", newTalk(0).ask("POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n"+hundred[:50]).
			skip(asks, hundred+hundred).ask(ask).skip(asks, hundred).ask("0\r\n\r\n").answer(answer).skip(answers, strings.Repeat("y", 1000)),
			[]string{fmt.Sprintf("http/1.1 POST h/a 200 up %d down 1000", 50+3*100+len(ask)+5)}},
		{"over the last chunk, then closed", newTalk(0).ask(ask).answer(chunked+"64\r\n"+hundred).skip(answers, hundred).close(), []string{is(200)}},
		{"until it closes", newTalk(0).ask(ask).answer("HTTP/1.1 200 OK\r\n\r\n").skip(answers, hundred).close(), []string{is(100)}},
		{"of known length, and the next response", newTalk(0).ask(ask+ask).answer(answer).skip(answers, strings.Repeat("y", 1000)+answer+strings.Repeat("y", 1000)).close(),
			[]string{is(1000), "http/1.1 GET h/a 0 up 0 down 0 unanswered"}},
		{"whole exchanges", newTalk(0).ask(ask).answer(answer).skip(answers, strings.Repeat("y", 1000)).
			skip(asks, ask).skip(answers, answer+strings.Repeat("y", 1000)).ask(ask).answer(answer).skip(answers, strings.Repeat("y", 1000)).close(),
			[]string{is(1000), is(1000)}},
	} {
		t.Run(c.name, func(t *testing.T) { checkTold(t, Config{}, c.talk, c.want...) })
	}
}

// A host that forwards sees each packet more than once, with other tags.
func TestSeenTwice(t *testing.T) {
	k := newTalk(0).ask("GET /a HTTP/1.1\r\nHost: h\r\n\r\n").answer("HTTP/1.1 204 x\r\n\r\n").close()
	var twice []packet.Packet
	for _, p := range k.packets {
		twice = append(twice, p)
		p.VLAN, p.Time = []uint16{7}, p.Time.Add(time.Microsecond)
		twice = append(twice, p)
	}
	k.packets = twice
	checkTold(t, Config{}, k, "http/1.1 GET h/a 204 up 0 down 0")
}

func TestHeadsAreBounded(t *testing.T) {
	k := newTalk(1000)
	k.ask("GET /long HTTP/1.1\r\nHost: h\r\nX: " + strings.Repeat("x", maxHead) + "\r\n\r\n").ask("GET /" + strings.Repeat("p", maxText) + " HTTP/1.1\r\n\r\n").close()
	b := track(Config{}, k.packets)
	if len(b.Requests) != 2 || b.Requests[0].Path != "/long" || len(b.Requests[1].Path) != maxText {
		t.Errorf("got %s, want both paths, the second one %d bytes long", told(b), maxText)
	}
	if len(b.Lost) != 2 || b.Lost[0].Count != 1 || b.Lost[1].Count != 1 {
		t.Errorf("lost: got %v, want one long head and one long path", b.Lost)
	}
}

func TestPipelinesAreBounded(t *testing.T) {
	k := newTalk(0)
	for range maxPipeline + 5 {
		k.ask("GET / HTTP/1.1\r\n\r\n")
	}
	b := track(Config{}, k.packets)
	if got, want := len(b.Requests), maxPipeline+5; got != want {
		t.Errorf("got %d requests, want %d", got, want)
	}
	if len(b.Lost) != 1 || b.Lost[0].Count != 5 {
		t.Errorf("lost: got %v, want 5 requests given up", b.Lost)
	}
}

// Over all connections so many requests may wait: beyond, each one gives up the
// oldest of its own connection, and none of any other.
func TestWaitingRequestsAreBounded(t *testing.T) {
	k := newTalk(0).ask(strings.Repeat("GET / HTTP/1.1\r\n\r\n", maxPipeline))
	tr := New(Config{})
	ask := func(packets []packet.Packet, port int) {
		for _, p := range packets {
			if p.Src.Port() == 8080 {
				p.Dst = netip.AddrPortFrom(p.Dst.Addr(), uint16(port))
			} else {
				p.Src = netip.AddrPortFrom(p.Src.Addr(), uint16(port))
			}
			tr.Packet(&p)
		}
	}
	const conns = maxPending / maxPipeline
	for i := range conns {
		ask(k.packets, 20000+i)
	}
	if tr.pending != maxPending || len(tr.done) != 0 || tr.lost[tooManyPending] != 0 {
		t.Fatalf("got %d that wait, %d told, %d given up, want %d, none, none", tr.pending, len(tr.done), tr.lost[tooManyPending], maxPending)
	}
	ask(newTalk(0).ask("GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\nGET /c HTTP/1.1\r\n\r\n").packets, 20000+conns)
	var b record.Batch
	tr.Roll(start.Add(time.Second), false, &b)
	const want = "http/1.1 GET /a 0 up 0 down 0 unanswered\nhttp/1.1 GET /b 0 up 0 down 0 unanswered\n" +
		"lost 2 http: requests given up, too many wait for responses\n"
	if got := told(&b); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	tr.Roll(start.Add(time.Hour), true, &record.Batch{})
	if tr.pending != 0 {
		t.Errorf("%d wait in the end", tr.pending)
	}
}

// So many requests are kept for a batch, the first ones; the next batch has room
// again.
func TestFinishedRequestsAreBounded(t *testing.T) {
	k := newTalk(0)
	tr := New(Config{})
	exchange := func(path string) {
		k.ask("GET " + path + " HTTP/1.1\r\n\r\n").answer("HTTP/1.1 204 No\r\n\r\n")
		for i := range k.packets {
			tr.Packet(&k.packets[i])
		}
		k.packets = k.packets[:0]
	}
	for range maxDone {
		exchange("/first")
	}
	for range 3 {
		exchange("/late")
	}
	var b record.Batch
	tr.Roll(start.Add(time.Second), false, &b)
	last := b.Requests[len(b.Requests)-1]
	if len(b.Requests) != maxDone || last.Path != "/first" {
		t.Errorf("got %d requests, the last one for %s, want %d for /first", len(b.Requests), last.Path, maxDone)
	}
	if len(b.Lost) != 1 || b.Lost[0].Count != 3 || b.Lost[0].Reason != "requests, too many in one interval" {
		t.Errorf("lost: got %v, want 3 requests", b.Lost)
	}
	exchange("/next")
	b = record.Batch{}
	tr.Roll(start.Add(2*time.Second), false, &b)
	if got, want := told(&b), "http/1.1 GET /next 204 up 0 down 0\n"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestBodiesAllocateNothing(t *testing.T) {
	k := newTalk(0)
	k.ask("GET / HTTP/1.1\r\n\r\n").answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
	tr := New(Config{})
	for i := range k.packets {
		tr.Packet(&k.packets[i])
	}
	p := k.packets[len(k.packets)-1]
	p.Seq, p.Payload = k.seq[answers], []byte("400\r\n"+strings.Repeat("x", 0x400)+"\r\n")
	if got := testing.AllocsPerRun(1000, func() {
		tr.Packet(&p)
		p.Seq += uint32(len(p.Payload))
	}); got != 0 {
		t.Errorf("got %v allocations for a chunk, want 0", got)
	}
}

func BenchmarkRequests(b *testing.B) {
	k := newTalk(0)
	k.ask("GET /v1/things/12345?x=y HTTP/1.1\r\nHost: example.org\r\nUser-Agent: curl/8\r\nAccept: */*\r\n\r\n").
		answer("HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Type: text/html\r\nContent-Length: 500\r\n\r\n" + strings.Repeat("x", 500))
	tr := New(Config{})
	for i := range k.packets[:2] {
		tr.Packet(&k.packets[i])
	}
	ask, answer := k.packets[2], k.packets[3]
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		tr.Packet(&ask)
		tr.Packet(&answer)
		ask.Seq += uint32(len(ask.Payload))
		answer.Seq += uint32(len(answer.Payload))
		if i%1000 == 0 {
			tr.Roll(start, false, &record.Batch{})
		}
	}
}
