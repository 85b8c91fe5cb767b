package explain

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clipperhouse/displaywidth"
	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/evidence"
	"github.com/netfate/netfate/internal/language"
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

func book(t *testing.T, l language.Language) *verdict.Book {
	t.Helper()
	b, err := verdict.In(l)
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
	for name, c := range map[string]struct {
		reason string
		facts  []evidence.Fact
		style  Style
	}{
		"rpfilter-100":        {"IP_RPFILTER", facts, Style{Width: 100}},
		"rpfilter-60":         {"IP_RPFILTER", facts, Style{Width: 60}},
		"rpfilter-100-colour": {"IP_RPFILTER", facts, Style{Width: 100, Colour: true}},
		"nosocket-80":         {"NO_SOCKET", nil, Style{}},
		"openvswitch-80":      {"OPENVSWITCH", nil, Style{Width: 80}},
		"zh-nosocket-80":      {"NO_SOCKET", nil, Style{Language: language.Chinese}},
		"zh-rpfilter-60":      {"IP_RPFILTER", facts, Style{Width: 60, Language: language.Chinese}},
		"zh-openvswitch-100":  {"OPENVSWITCH", nil, Style{Width: 100, Language: language.Chinese}},
	} {
		b := book(t, c.style.Language)
		var out bytes.Buffer
		if err := WriteEntry(&out, entry(t, b, c.reason), evidence.InWords(c.facts, c.style.Language), c.style); err != nil {
			t.Fatal(err)
		}
		golden(t, name, out.String())
	}
}

func TestWriteIndex(t *testing.T) {
	for name, l := range map[string]language.Language{"index-100": language.English, "zh-index-100": language.Chinese} {
		var out bytes.Buffer
		if err := WriteIndex(&out, book(t, l), Style{Width: 100, Language: l}); err != nil {
			t.Fatal(err)
		}
		golden(t, name, out.String())
	}
}

// Every entry prints at any width: prose within it, commands whole.
func TestEveryEntry(t *testing.T) {
	for _, l := range language.All() {
		everyEntry(t, l)
	}
}

func everyEntry(t *testing.T, l language.Language) {
	b := book(t, l)
	for _, name := range b.Reasons() {
		e := entry(t, b, name)
		for _, width := range []int{1, 40, 72, 80, 500} {
			var out bytes.Buffer
			if err := WriteEntry(&out, e, nil, Style{Width: width, Language: l}); err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(out.String()) {
				line = strings.TrimSuffix(line, "\n")
				long := displaywidth.String(line) > max(width, minWidth)
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
	b := book(t, language.English)
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
	b := book(t, language.English)
	if err := WriteEntry(full{}, entry(t, b, "NO_SOCKET"), nil, Style{}); err == nil {
		t.Error("got no error, want disk full")
	}
	if err := WriteIndex(full{}, b, Style{}); err == nil {
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
