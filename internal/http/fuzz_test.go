package http

import (
	stdtls "crypto/tls"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/internal/tls"
)

// checkSane plays a conversation and holds what is true of any: nothing is held
// in the end, no text is too long, and secrets are left out.
func checkSane(t *testing.T, k *talk) string {
	t.Helper()
	tr := New(Config{})
	for i := range k.packets {
		tr.Packet(&k.packets[i])
	}
	var b record.Batch
	tr.Roll(start, true, &b)
	if tr.held != 0 || tr.pending != 0 {
		t.Fatalf("%d bytes are held and %d requests wait, want none", tr.held, tr.pending)
	}
	for _, r := range b.Requests {
		if len(r.Path) > maxText || len(r.HostName) > maxText || len(r.Method) > maxText {
			t.Fatalf("texts too long: %d, %d, %d bytes", len(r.Path), len(r.HostName), len(r.Method))
		}
		if r.QueryString != "" || strings.ContainsRune(r.HostName, '@') || r.Method != "CONNECT" && strings.ContainsAny(r.Path, "?#") {
			t.Fatalf("host %q, path %q, query %q: want no secrets", r.HostName, r.Path, r.QueryString)
		}
		if r.Status == 0 && r.Error == "" && r.Method != "" && r.LatencyMicros != 0 {
			t.Fatalf("latency %d of no response", r.LatencyMicros)
		}
	}
	return told(&b)
}

// fuzzTalk says two texts, in segments of one size, the answer first or last.
func fuzzTalk(question, answer string, size int, answerFirst bool) *talk {
	k := newTalk(size)
	if answerFirst {
		return k.answer(answer).ask(question).close()
	}
	return k.ask(question).answer(answer).close()
}

// FuzzHTTP1 reads anything, and the same whichever way it is cut.
func FuzzHTTP1(f *testing.F) {
	for _, d := range dialogs() {
		k := newTalk(0)
		d.say(k)
		var said [2]string
		for _, p := range k.packets {
			side := asks
			if p.Src == k.packets[1].Src {
				side = answers
			}
			said[side] += string(p.Payload)
		}
		f.Add(said[asks], said[answers])
	}
	f.Fuzz(func(t *testing.T, question, answer string) {
		if len(question)+len(answer) > 20_000 {
			return
		}
		checkSane(t, fuzzTalk(question, answer, 1, false))
		whole := checkSane(t, fuzzTalk(question, answer, 0, false))
		checkSane(t, fuzzTalk(question, answer, 3, true))
		if strings.Contains(whole, "lost") || strings.Contains(whole, record.Malformed) {
			return // what is found again behind bytes without sense depends on segments
		}
		if cut := checkSane(t, fuzzTalk(question, answer, 5, false)); cut != whole {
			t.Fatalf("in segments of 5 bytes: got\n%swant\n%s", cut, whole)
		}
	})
}

// FuzzHTTP2 reads anything behind the preface, as frames and heads.
func FuzzHTTP2(f *testing.F) {
	k := talkH2(0)
	var said [2]string
	for _, p := range k.packets {
		side := asks
		if p.Src == k.packets[1].Src {
			side = answers
		}
		said[side] += string(p.Payload)
	}
	f.Add(said[asks][len(http2.ClientPreface):], said[answers])
	f.Add("\x00\x00\x03\x01\x04\x00\x00\x00\x01\xff\xff\xff", "\x00\x00\x00\x04\x00\x00\x00\x00\x00")
	f.Fuzz(func(t *testing.T, question, answer string) {
		if len(question)+len(answer) > 20_000 {
			return
		}
		question = http2.ClientPreface + question
		whole := checkSane(t, fuzzTalk(question, answer, 0, false))
		cut := checkSane(t, fuzzTalk(question, answer, 4, false))
		if cut != whole {
			t.Fatalf("in segments of 4 bytes: got\n%swant\n%s", cut, whole)
		}
		checkSane(t, fuzzTalk(question, answer, 7, true))
	})
}

// FuzzTLS reads anything behind the beginnings of two hellos, in a tunnel or
// without, and the same whichever way it is cut.
func FuzzTLS(f *testing.F) {
	const begins = "\x16\x03\x01"
	for _, version := range []uint16{stdtls.VersionTLS12, stdtls.VersionTLS13} {
		var sides [2]string
		for _, s := range secured(f, only(version)) {
			if s.Server {
				sides[answers] += string(s.Data)
			} else {
				sides[asks] += string(s.Data)
			}
		}
		f.Add(sides[asks][len(begins):], sides[answers], version == stdtls.VersionTLS12)
	}
	f.Fuzz(func(t *testing.T, client, server string, tunnel bool) {
		if len(client)+len(server) > 20_000 {
			return
		}
		said := func(size int) *talk {
			k := newTalk(size)
			if tunnel {
				k.ask("CONNECT a:443 HTTP/1.1\r\n\r\n").answer("HTTP/1.1 200\r\n\r\n")
			}
			return k.ask(begins + client).answer(server).close()
		}
		whole := checkSane(t, said(0))
		_, is, _ := tls.Hello([]byte(begins + client)) // else it is looked for in each segment
		for _, size := range []int{1, 5} {
			if cut := checkSane(t, said(size)); is && cut != whole {
				t.Fatalf("in segments of %d bytes: got\n%swant\n%s", size, cut, whole)
			}
		}
		checkSane(t, fuzzTalk(client, server, 3, true))
	})
}
