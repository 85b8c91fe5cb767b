package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/need"
)

// mark is in every hostile text, by which it is known to have been shown.
const mark = "HOSTILE"

// hostile are what somebody may call a process, a container, a host, a name, a path.
func hostile() []string {
	return []string{
		"\x1b[2J\x1b]0;HOSTILE\a\x1b[31m\x9b1m",
		"\u009b31mHOSTILE\u0090q\u009c\x7f\b\b",
		"\u202eHOSTILE\u202c\u2066x\u2069\u200f\u2028\u2029\ufeff",
		"<script>alert('HOSTILE')</script><img src=x onerror=alert(1)>&lt;",
		"HOSTILE'; DROP TABLE flows; --\" OR 1=1 /*",
		"HOSTILE\xff\xfe\xc3(\xed\xa0\x80\xc0\xaf",
		"HOSTILE\x00nul",
		"HOSTILE\r\nX-Evil: 1\n\nevent: drops\ndata: {}\n\t",
		"HOSTILE\\\"},{\"pid\":0,\"\\u001b",
		"HOSTILE %s%n $(reboot) `reboot` {{x}} ${x} | ~other",
		"=HOSTILE(\"x\"),@SUM(1)",
		"HOSTILE" + strings.Repeat("x", 5000),
		"HOSTILE" + strings.Repeat("\u202e\x1b", 500),
	}
}

// poison puts a text into each field of a record that somebody else may have written.
func poison(rec any, text string) {
	v := reflect.ValueOf(rec).Elem()
	for _, f := range reflect.VisibleFields(v.Type()) {
		switch f.Tag.Get("rec") {
		case "", "proto", "protocol", "packet_link", "unit", "station": // the kernel's and ours
			continue
		}
		switch f.Type {
		case reflect.TypeFor[string]():
			v.FieldByIndex(f.Index).SetString(text)
		case reflect.TypeFor[[]string]():
			v.FieldByIndex(f.Index).Set(reflect.ValueOf([]string{text, text}))
		}
	}
}

// poisoned is a night in which everything has a hostile name.
func poisoned() (batches []record.Batch) {
	for i, text := range hostile() {
		b := night()[0]
		b.Requests = []record.Request{{Endpoints: b.Flows[0].Endpoints, Protocol: "http/1.1", Side: record.Server, Start: b.Start, Status: 500, LatencyMicros: 7}}
		b.RequestCounts = []record.RequestSum{{Time: b.End, Start: b.Start, Requests: 3}}
		b.Drops, b.Flows = b.Drops[:1], b.Flows[:1]
		for j := range b.Drops {
			poison(&b.Drops[j], text)
		}
		for j := range b.Samples {
			poison(&b.Samples[j], text)
		}
		for j := range b.Flows {
			poison(&b.Flows[j], text)
			b.Flows[j].SrcAddr = netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})
		}
		for j := range b.Conns {
			poison(&b.Conns[j], text)
		}
		for j := range b.Requests {
			poison(&b.Requests[j], text)
		}
		for j := range b.RequestCounts {
			poison(&b.RequestCounts[j], text)
		}
		for j := range b.Queries {
			poison(&b.Queries[j], text)
		}
		for j := range b.Ledger {
			poison(&b.Ledger[j], text)
		}
		for j := range b.Lost {
			poison(&b.Lost[j], text)
		}
		batches = append(batches, b)
	}
	return batches
}

// harmlessText says what in a text could act on a terminal, "" if nothing could.
func harmlessText(text string) string {
	if i := strings.IndexFunc(text, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
		return fmt.Sprintf("%q", text[max(i-40, 0):min(i+40, len(text))])
	}
	if !utf8.ValidString(text) {
		return "not UTF-8"
	}
	return ""
}

// TestHostileTerminal has every command show hostile names, in every format.
func TestHostileTerminal(t *testing.T) {
	need.Time(t) // dozens of processes, and nothing that is of a kernel
	dir := t.TempDir()
	bad, good := filepath.Join(dir, "bad.nfr"), filepath.Join(dir, "good.nfr")
	for path, batches := range map[string][]record.Batch{bad: poisoned(), good: night()} {
		if err := writeRecording(path, batches); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (out, said string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), self, args...)
		cmd.Args[0] = "netfate"
		cmd.Env = []string{"HOME=/", "LANG=C.UTF-8", "PATH=" + os.Getenv("PATH")}
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := cmd.Run(); err != nil {
			t.Errorf("netfate %q: %v\n%s", args, err, stderr.String())
		}
		return stdout.String(), stderr.String()
	}
	views := [][]string{
		{"drops", "-r", bad, "--all"}, {"drops", "-r", bad, "--each", "--stack"}, {"flows", "-r", bad, "--by", "process"}, {"conns", "-r", bad},
		{"http", "-r", bad}, {"http", "-r", bad, "--each", "--show-secrets"}, {"dns", "-r", bad}, {"dns", "-r", bad, "--each"},
		{"ledger", "-r", bad}, {"diff", good, bad},
	}
	if ok, err := hasHistory(t.TempDir()); err != nil {
		t.Fatal(err)
	} else if ok {
		path := filepath.Join(dir, "history.duckdb")
		run("record", "--history", path, "-r", bad)
		views = append(views, []string{"query", "--history", path, "SELECT * FROM flows"}, []string{"drops", "--history", path, "--since", "2026-11-21"})
	}
	seen := map[string]bool{}
	formats := []string{"table", "json", "csv"}
	for i, view := range views {
		for j, format := range formats {
			if view[0] != "query" && i%len(formats) != j {
				continue // rows of all kinds are written by one encoder, and each run takes a second under the race detector
			}
			name := strings.Join(view[:1], " ") + " " + format
			out, said := run(append(slices.Clone(view), "-o", format)...)
			seen[name] = seen[name] || strings.Contains(out, mark)
			for _, text := range []string{out, said} {
				if bad := harmlessText(text); bad != "" {
					t.Errorf("netfate %q -o %s: %s", view, format, bad)
				}
			}
			switch format {
			case "json":
				for line := range strings.Lines(out) {
					if !json.Valid([]byte(line)) {
						t.Errorf("netfate %q -o json: %.300q is no JSON", view, line)
					}
				}
			case "csv":
				if _, err := csv.NewReader(strings.NewReader(out)).ReadAll(); err != nil {
					t.Errorf("netfate %q -o csv: %v", view, err)
				}
			}
		}
	}
	for name, shown := range seen {
		if !shown {
			t.Errorf("netfate %s: shows no hostile name, so that nothing was tried", name)
		}
	}
	metrics := filepath.Join(dir, "bad.prom")
	run("record", "--metrics", metrics, "-r", bad)
	text, err := os.ReadFile(metrics)
	if err != nil {
		t.Fatal(err)
	}
	checkMetrics(t, string(text))
}

// checkMetrics holds that metrics are metrics, whatever is in their labels.
func checkMetrics(t *testing.T, text string) {
	t.Helper()
	if bad := harmlessText(text); bad != "" || !strings.Contains(text, mark) {
		t.Errorf("metrics: %s; want hostile names in them, and nothing that acts on a terminal", bad)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil || len(families) == 0 {
		t.Errorf("metrics: got %d families, %v", len(families), err)
	}
}

// TestHostileAPI has the API tell of hostile names, to whoever asks.
func TestHostileAPI(t *testing.T) {
	a := attack(t, nil, poisoned()...)
	const all = "since=2026-11-21T00:00:00Z&until=2026-11-23T00:00:00Z"
	targets := []string{"/openapi.json", "/api/v1/status", "/api/v1/schema", "/api/v1/graph?" + all, "/api/v1/fate?" + all, "/api/v1/latency?kind=requests&" + all}
	for _, kind := range history.Kinds() {
		targets = append(targets, "/api/v1/rows/"+kind+"?"+all)
	}
	for _, by := range []string{"comm", "container_name", "host_name"} {
		targets = append(targets, "/api/v1/groups/requests?by="+by+"&"+all, "/api/v1/series/requests?measure=requests&by="+by+"&"+all)
	}
	seen := 0
	for _, target := range targets {
		got := a.loopback("GET " + target)
		if !json.Valid([]byte(got.body)) || harmlessText(got.body) != "" {
			t.Errorf("%s: got %d, %.300q; want JSON that does nothing to a terminal", target, got.status, got.body)
		}
		if kind := got.head.Get("Content-Type"); !strings.Contains(kind, "json") || got.head.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: got Content-Type %q", target, kind)
		}
		if got.status == http.StatusOK && strings.Contains(got.body, mark) {
			seen++
		}
	}
	if seen < len(history.Kinds()) {
		t.Errorf("%d of %d answers have hostile names", seen, len(targets))
	}
	// What is asked for comes back in errors.
	for _, text := range []string{"%1b%5b2J", "%3cscript%3e", "%00", "%0d%0aX-Evil:%201", "%ff%fe", "%e2%80%ae"} {
		for _, target := range []string{"/" + text, "/api/v1/" + text, "/api/v1/rows/" + text, "/api/v1/explain/" + text, "/api/v1/groups/flows?by=" + text, "/api/v1/rows/flows?where=" + text + "=x", "/api/v1/rows/flows?since=" + text} {
			got := a.loopback("GET " + target)
			if got.status < 400 || harmlessText(got.body) != "" || got.head.Get("X-Evil") != "" || strings.Contains(got.head.Get("Content-Type"), "html") {
				t.Errorf("%s: got %d, %v, %.300q", target, got.status, got.head, got.body)
			}
		}
	}
	checkMetrics(t, a.loopback("GET /metrics", "Accept: text/plain").body)
}
