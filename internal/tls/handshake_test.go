package tls_test

import (
	"bytes"
	stdtls "crypto/tls"
	"crypto/x509"
	"fmt"
	"strings"
	"testing"

	"github.com/netfate/netfate/internal/tls"
	"github.com/netfate/netfate/test/handshake"
)

// read follows a talk in pieces of so many bytes; 0 is as they were said.
func read(talk []handshake.Said, size int) *tls.Handshake {
	h := &tls.Handshake{}
	for _, s := range talk {
		for b := s.Data; len(b) > 0; {
			n := len(b)
			if size > 0 {
				n = min(n, size)
			}
			h.Data(from(s), b[:n])
			b = b[n:]
		}
	}
	return h
}

func from(s handshake.Said) tls.Side {
	if s.Server {
		return tls.Server
	}
	return tls.Client
}

// told is a handshake in a line.
func told(h *tls.Handshake) string {
	var s strings.Builder
	add := func(format string, args ...any) { fmt.Fprintf(&s, format+" ", args...) }
	add("%s %v", h.Client.ServerName, h.Client.ALPN)
	if h.Answered {
		add("TLS %s %s", tls.VersionName(h.Server.Version), h.Server.ALPN)
	}
	switch {
	case h.Over:
		add("over")
	case h.Error.Why != "":
		add("%s", h.Error)
	default:
		add("open")
	}
	return strings.Join(strings.Fields(s.String()), " ")
}

// Go's own TLS in all its versions, as it succeeds and as it fails: what is
// told does not depend on how the bytes are cut.
func TestHandshakes(t *testing.T) {
	good, trust := handshake.Identity(t, "shop.example.com")
	client := func(edit func(*stdtls.Config)) *stdtls.Config {
		c := &stdtls.Config{RootCAs: trust, ServerName: "shop.example.com", NextProtos: []string{"h2", "http/1.1"}}
		if edit != nil {
			edit(c)
		}
		return c
	}
	server := func(edit func(*stdtls.Config)) *stdtls.Config {
		c := &stdtls.Config{Certificates: []stdtls.Certificate{good}, NextProtos: []string{"http/1.1"}}
		if edit != nil {
			edit(c)
		}
		return c
	}
	upTo := func(version uint16) func(*stdtls.Config) {
		return func(c *stdtls.Config) { c.MinVersion, c.MaxVersion = stdtls.VersionTLS10, version }
	}
	strange := func(version uint16) func(*stdtls.Config) {
		return func(c *stdtls.Config) { c.MaxVersion, c.RootCAs = version, x509.NewCertPool() }
	}
	const offer = "shop.example.com [h2 http/1.1] "
	for name, c := range map[string]struct {
		client, server *stdtls.Config
		want           string
	}{
		"1.3":    {client(nil), server(nil), offer + "TLS 1.3 over"},
		"1.2":    {client(upTo(stdtls.VersionTLS12)), server(nil), offer + "TLS 1.2 http/1.1 over"},
		"1.1":    {client(upTo(stdtls.VersionTLS11)), server(upTo(stdtls.VersionTLS13)), offer + "TLS 1.1 http/1.1 over"},
		"1.0":    {client(upTo(stdtls.VersionTLS10)), server(upTo(stdtls.VersionTLS13)), offer + "TLS 1.0 http/1.1 over"},
		"server": {client(nil), server(upTo(stdtls.VersionTLS12)), offer + "TLS 1.2 http/1.1 over"},
		"nothing said": {
			client(func(c *stdtls.Config) { c.ServerName, c.NextProtos, c.InsecureSkipVerify = "", nil, true }), server(nil), "[] TLS 1.3 over",
		},
		"hello again": {
			client(nil), server(func(c *stdtls.Config) { c.CurvePreferences = []stdtls.CurveID{stdtls.CurveP521} }), offer + "TLS 1.3 over",
		},
		"stranger 1.2": {client(strange(stdtls.VersionTLS12)), server(nil), offer + "TLS 1.2 http/1.1 bad_certificate by client"},
		"stranger 1.3": {client(strange(stdtls.VersionTLS13)), server(nil), offer + "TLS 1.3 encrypted_alert by client"},
		"no version":   {client(upTo(stdtls.VersionTLS11)), server(nil), offer + "protocol_version by server"},
		"no protocol": {
			client(nil), server(func(c *stdtls.Config) { c.NextProtos = []string{"spdy/1"} }), offer + "no_application_protocol by server",
		},
		"no certificate": {
			client(upTo(stdtls.VersionTLS12)), server(func(c *stdtls.Config) { c.ClientAuth = stdtls.RequireAnyClientCert }),
			offer + "TLS 1.2 http/1.1 handshake_failure by server",
		},
	} {
		t.Run(name, func(t *testing.T) {
			said := handshake.Talk(t, c.client, c.server)
			for _, size := range []int{0, 1, 3, 1000} {
				if got := told(read(said, size)); got != c.want {
					t.Errorf("in pieces of %d: got %s, want %s", size, got, c.want)
				}
			}
		})
	}
}

func TestResumption(t *testing.T) {
	good, trust := handshake.Identity(t, "shop.example.com")
	for _, version := range []uint16{stdtls.VersionTLS12, stdtls.VersionTLS13} {
		client := &stdtls.Config{RootCAs: trust, ServerName: "shop.example.com", MaxVersion: version, ClientSessionCache: stdtls.NewLRUClientSessionCache(1)}
		server := &stdtls.Config{Certificates: []stdtls.Certificate{good}}
		for n, want := range []bool{false, true} {
			if h := read(handshake.Talk(t, client, server), 0); h.Resumed != want || !h.Over {
				t.Errorf("TLS %s, connection %d: got resumed %t, over %t, want %t and true", tls.VersionName(version), n+1, h.Resumed, h.Over, want)
			}
		}
	}
}

// Up to TLS 1.2 a server repeats the id of the session that goes on; another
// one is that of a new session.
func TestSessionID(t *testing.T) {
	hello := helloOf(t, &stdtls.Config{ServerName: "shop.example.com"})
	const idAt, idLen = 5 + 4 + 2 + 32 + 1, 32
	if hello[idAt-1] != idLen {
		t.Fatalf("the client's hello has %d bytes of a session's id", hello[idAt-1])
	}
	id := string(hello[idAt : idAt+idLen])
	for _, c := range []struct {
		id   string
		want bool
	}{{"", false}, {id, true}, {strings.Repeat("n", idLen), false}} {
		body := "\x03\x03" + strings.Repeat("r", 32) + string(rune(len(c.id))) + c.id + "\xc0\x2f\x00"
		message := "\x02\x00\x00" + string(rune(len(body))) + body
		h := &tls.Handshake{}
		h.Data(tls.Client, hello)
		h.Data(tls.Server, []byte("\x16\x03\x03\x00"+string(rune(len(message)))+message))
		if !h.Answered || h.Resumed != c.want {
			t.Errorf("server's id %q: answered %t, resumed %t, want true and %t", c.id, h.Answered, h.Resumed, c.want)
		}
	}
}

// The server's bytes may be captured before the client's.
func TestServerFirst(t *testing.T) {
	good, trust := handshake.Identity(t, "shop.example.com")
	said := handshake.Talk(t, &stdtls.Config{RootCAs: trust, ServerName: "shop.example.com"}, &stdtls.Config{Certificates: []stdtls.Certificate{good}})
	h := &tls.Handshake{}
	for _, side := range []tls.Side{tls.Server, tls.Client} {
		for _, s := range said {
			if from(s) == side {
				h.Data(side, s.Data)
			}
		}
	}
	if got, want := told(h), "shop.example.com [] TLS 1.3 over"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// What somebody else says than TLS.
func TestNoTLS(t *testing.T) {
	hello := helloOf(t, &stdtls.Config{ServerName: "shop.example.com"})
	for name, c := range map[string]struct{ client, server, want string }{
		"text":             {string(hello), "HTTP/1.1 400 Bad Request\r\n", "shop.example.com [] not_tls by server"},
		"no more":          {string(hello), "\x15\x03\x01\x00\x02\x01\x70", "shop.example.com [] open"}, // a warning
		"an unknown alert": {string(hello), "\x15\x03\x01\x00\x02\x02\xc8", "shop.example.com [] alert_200 by server"},
		"half an alert":    {string(hello), "\x15\x03\x01\x00\x01\x02", "shop.example.com [] malformed by server"},
		"no hello":         {string(hello), "\x16\x03\x03\x00\x04\x0e\x00\x00\x00", "shop.example.com [] malformed by server"},
		"a huge one":       {"\x16\x03\x01\x00\x06\x01\x01\x00\x00\x03\x03", "", "[] malformed by client"},
		"an empty one":     {"\x16\x03\x01\x00\x04\x01\x00\x00\x00", "", "[] malformed by client"},
	} {
		h := &tls.Handshake{}
		h.Data(tls.Client, []byte(c.client))
		h.Data(tls.Server, []byte(c.server))
		if got := told(h); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
		if h.Held() != 0 {
			t.Errorf("%s: %d bytes are held", name, h.Held())
		}
	}
}

// Where a capture has cut segments, a hello tells what of it is there, and the
// records behind are found again.
func TestGaps(t *testing.T) {
	good, trust := handshake.Identity(t, "shop.example.com")
	said := handshake.Talk(t, &stdtls.Config{RootCAs: trust, ServerName: "shop.example.com", MaxVersion: stdtls.VersionTLS12, NextProtos: []string{"h2"}},
		&stdtls.Config{Certificates: []stdtls.Certificate{good}, NextProtos: []string{"h2"}})
	name := bytes.Index(said[0].Data, []byte("shop.example.com")) + len("shop.example.com")
	protocols := bytes.Index(said[0].Data, []byte("\x02h2")) + len("\x02h2")
	for size, want := range map[int]string{
		1 << 20:              "shop.example.com [h2] TLS 1.2 h2 over",
		max(name, protocols): "shop.example.com [h2] TLS 1.2 h2 over",
		min(name, protocols): map[bool]string{true: "shop.example.com [] TLS 1.2 h2 over", false: "[h2] TLS 1.2 h2 over"}[name < protocols],
		9:                    "[] open",
		0:                    "[] open",
	} {
		h := &tls.Handshake{}
		for _, s := range said {
			n := min(size, len(s.Data))
			if n > 0 {
				h.Data(from(s), s.Data[:n])
			}
			if n < len(s.Data) {
				h.Gap(from(s), len(s.Data)-n)
			}
		}
		if got := told(h); got != want {
			t.Errorf("%d bytes of each segment: got %s, want %s", size, got, want)
		}
	}
}

func TestHello(t *testing.T) {
	hello := string(helloOf(t, &stdtls.Config{ServerName: "shop.example.com"}))
	for b, want := range map[string]string{
		"": "nobody false false", hello[:1]: "nobody false false", hello[:6]: "nobody false false", hello[:7]: "client true true", hello: "client true true",
		"G": "nobody false true", "\x16\x03\x05": "nobody false true", "\x16\x03\x01\x00\x00\x01\x00": "nobody false true",
		"\x16\x03\x03\x00\x50\x02\x00": "server true true", "\x16\x03\x03\x00\x50\x0b\x00": "nobody false true",
		"\x15\x03\x03\x00\x02\x02\x28": "nobody false true",
	} {
		if from, is, enough := tls.Hello([]byte(b)); fmt.Sprint(from, is, enough) != want {
			t.Errorf("%.10q: got %v %t %t, want %s", b, from, is, enough, want)
		}
	}
}

func TestNames(t *testing.T) {
	for version, want := range map[uint16]string{0x304: "1.3", 0x301: "1.0", 0x300: "SSLv3", 0x7f1c: "0x7F1C"} {
		if got := tls.VersionName(version); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	for suite, want := range map[uint16]string{0x1301: "TLS_AES_128_GCM_SHA256", 0x9f: "0x009F"} {
		if got := tls.CipherName(suite); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
