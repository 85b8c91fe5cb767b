package explain

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/evidence"
	"github.com/netfate/netfate/internal/verdict"
)

var update = flag.Bool("update", false, "rewrite testdata from what the code prints")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".txt")
	got = strings.ReplaceAll(got, "\x1b", "ESC")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; run go test -update", err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", name, d)
	}
}

func book(t *testing.T) *verdict.Book {
	t.Helper()
	b, err := verdict.New()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func entry(t *testing.T, b *verdict.Book, name string) verdict.Entry {
	t.Helper()
	e, err := b.Explain(name)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestWriteEntry(t *testing.T) {
	facts := []evidence.Fact{
		{Key: "a", Name: "net.ipv4.conf.all.rp_filter", Value: "0"},
		{Key: "a", Name: "net.ipv4.conf.eth1.rp_filter", Value: "1", Note: "the larger counts, 1: strict: drops what would not be answered by the same interface"},
		{Key: "b", Name: "route back to 198.51.100.7", Value: "via 192.0.2.1 dev eth0", Note: "another interface than eth1: strict rp_filter drops what comes in there"},
		{Key: "c", Name: "TcpExtIPReversePathFilter", Value: "4711", Note: "since the namespace began"},
		{Key: "d", Name: "a rule\x1b[2J", Value: "evil\r\u202e\xff"},
	}
	b := book(t)
	for name, c := range map[string]struct {
		reason string
		facts  []evidence.Fact
		width  int
		colour bool
	}{
		"rpfilter-100":        {"IP_RPFILTER", facts, 100, false},
		"rpfilter-60":         {"IP_RPFILTER", facts, 60, false},
		"rpfilter-100-colour": {"IP_RPFILTER", facts, 100, true},
		"nosocket-80":         {"NO_SOCKET", nil, 0, false},
		"openvswitch-80":      {"OPENVSWITCH", nil, 80, false},
	} {
		var out bytes.Buffer
		if err := WriteEntry(&out, entry(t, b, c.reason), c.facts, c.width, c.colour); err != nil {
			t.Fatal(err)
		}
		golden(t, name, out.String())
	}
}

func TestWriteIndex(t *testing.T) {
	var out bytes.Buffer
	if err := WriteIndex(&out, book(t), 100, false); err != nil {
		t.Fatal(err)
	}
	golden(t, "index-100", out.String())
}

// Every entry prints at any width: prose within it, commands whole.
func TestEveryEntry(t *testing.T) {
	b := book(t)
	for _, name := range b.Reasons() {
		e := entry(t, b, name)
		for _, width := range []int{1, 40, 72, 80, 500} {
			var out bytes.Buffer
			if err := WriteEntry(&out, e, nil, width, false); err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(out.String()) {
				line = strings.TrimSuffix(line, "\n")
				long := utf8.RuneCountInString(line) > max(width, minWidth)
				if long && !strings.HasPrefix(line, "  $ ") && strings.Count(strings.TrimSpace(line), " ") > 1 && line[0] == ' ' {
					t.Errorf("%s at %d: too long: %s", name, width, line)
				}
			}
			for _, step := range e.Confirm {
				if command, ok := strings.CutPrefix(step, "$ "); ok {
					command, _, _ = strings.Cut(command, "  # ")
					if !strings.Contains(out.String(), "  $ "+command) {
						t.Errorf("%s at %d: the command is broken: %s", name, width, command)
					}
				}
			}
		}
	}
}

// What an entry asks for can be read.
func TestEvidenceIsKnown(t *testing.T) {
	b := book(t)
	for _, name := range b.Reasons() {
		for _, key := range entry(t, b, name).Evidence {
			if !evidence.Known(key) {
				t.Errorf("%s: evidence %q is not known", name, key)
			}
		}
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestErrorOfWriter(t *testing.T) {
	b := book(t)
	if err := WriteEntry(full{}, entry(t, b, "NO_SOCKET"), nil, 80, false); err == nil {
		t.Error("got no error, want disk full")
	}
	if err := WriteIndex(full{}, b, 80, false); err == nil {
		t.Error("got no error, want disk full")
	}
}

func TestBlanks(t *testing.T) {
	for step, want := range map[string]bool{
		"$ ip link set IFACE up":                     true,
		"$ ss -lnt \"sport = :PORT\"  # full?":       true,
		"$ nstat -az TcpExtListenDrops  # look at N": false,
		"$ nft list ruleset | grep -E \"DROP\"":      false,
		"ask for IFACE":                              false,
		"$ bridge fdb show dev VXLAN_IFACE":          true,
	} {
		if got := hasBlank(step); got != want {
			t.Errorf("%s: got %v, want %v", step, got, want)
		}
	}
}
