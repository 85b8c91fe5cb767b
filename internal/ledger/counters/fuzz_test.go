package counters

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// seeds gives what kernels answered to requests that begin with one of the
// keys, an answer at a time: lines of hexadecimal digits, or text as it is.
func seeds(f *testing.F, keys ...string) {
	f.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	found := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, space := range unarchive(text) {
			for key, answer := range space {
				for _, want := range keys {
					if !strings.HasPrefix(key, want) {
						continue
					}
					if strings.HasPrefix(key, "file ") {
						f.Add([]byte(answer))
						found++
						continue
					}
					for l := range strings.Lines(answer) {
						if b, err := hex.DecodeString(strings.TrimSpace(l)); err == nil && len(b) > 0 {
							f.Add(b)
							found++
						}
					}
				}
			}
		}
	}
	if found == 0 {
		f.Fatalf("no recording has an answer to %q", keys)
	}
}

// FuzzFiles parses files of /proc/net.
func FuzzFiles(f *testing.F) {
	seeds(f, "file ")
	f.Fuzz(func(t *testing.T, text []byte) {
		var s schemas
		for name, parse := range map[string]func([]byte) (Counters, error){"pairs": s.pairs, "column": s.column} {
			c, err := parse(text)
			if err == nil && len(c.Names) != len(c.Values) {
				t.Errorf("%s: %d names of %d values", name, len(c.Names), len(c.Values))
			}
			again, err2 := parse(text) // with the names known
			if (err == nil) != (err2 == nil) || len(again.Values) != len(c.Values) {
				t.Errorf("%s: a second time got %d values, error %v; first %d, %v", name, len(again.Values), err2, len(c.Values), err)
			}
		}
		if rows, err := parseSoftnet(text); err != nil && rows != nil {
			t.Error("rows of a file that cannot be parsed")
		}
		var stat Sockstat
		_ = parseSockstat(text, &stat)
		_ = parseNetlink(text, func(Socket) {})
		_ = parseRaw(text, func(Socket) {})
	})
}

// FuzzRoute parses messages of rtnetlink.
func FuzzRoute(f *testing.F) {
	seeds(f, "netlink 0 ")
	f.Fuzz(func(_ *testing.T, b []byte) {
		var text texts
		parseLink(b, &text)
		parseQdisc(b, &text)
		parseClass(b, &text)
		parseFilter(b, &text)
		for _, kind := range []string{"pfifo", "bfifo", "tbf", "netem", "sfq", "fq", "fq_codel", "cake"} {
			parseLimit(kind, b)
		}
	})
}

// FuzzSockets parses messages of sock_diag.
func FuzzSockets(f *testing.F) {
	seeds(f, "netlink 4 ")
	f.Fuzz(func(_ *testing.T, b []byte) {
		parseInetSocket(b)
		parsePacketSocket(b)
	})
}

// FuzzNetfilter parses messages of nfnetlink.
func FuzzNetfilter(f *testing.F) {
	seeds(f, "netlink 12 ")
	f.Fuzz(func(_ *testing.T, b []byte) {
		parseConntrackCPU(b)
		if len(b) < sizeofNfGenMsg {
			return
		}
		r := reading{Reader: New(), start: time.Now(), lost: losses{}}
		var n NFT
		r.policy(&n, b)
		r.rule(&n, b)
		r.namedCounter(&n, b)
	})
}

// FuzzAnswer follows the messages of datagrams.
func FuzzAnswer(f *testing.F) {
	f.Add(message(16, 2, 7, 'a'), true)
	f.Add(append(message(16, 2, 7, 'a'), message(3, 2, 7, 0, 0, 0, 0)...), true)
	f.Add(message(2, 0, 7, 255, 255, 255, 255), false)
	f.Fuzz(func(_ *testing.T, b []byte, dump bool) {
		a := answer{seq: 7, dump: dump, each: func([]byte) {}}
		_ = a.take(b)
	})
}
