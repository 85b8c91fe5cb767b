package export

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/netfate/netfate/internal/export/prometheus"
	"github.com/netfate/netfate/internal/export/remotewrite"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/exporttest"
)

// full returns an exporter that has counted some of everything.
func full(t *testing.T) *prometheus.Exporter {
	t.Helper()
	e := prometheus.New(prometheus.Config{
		Build: prometheus.Build{Version: "1.2.3", Go: "go1.26", Kernel: "6.18"},
		Sensors: func() []prometheus.Sensor {
			return []prometheus.Sensor{{Name: "drops", Programs: 1, Memory: 4096, Runs: 7, Time: time.Second}}
		},
	})
	counted := &record.Batch{RequestCounts: []record.RequestSum{{Method: "GET", HostName: "example.com", Requests: 3}}}
	for _, b := range []*record.Batch{exporttest.Minute(), exporttest.Odd(), counted, exporttest.Storm()} {
		if err := e.Batch(b); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

func TestPromtoolAcceptsTheMetrics(t *testing.T) {
	server := httptest.NewServer(full(t).Handler())
	defer server.Close()
	w, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	check := program(t, "promtool", "check", "metrics")
	check.Stdin = w.Body
	if out := run(t, check); out != "" {
		t.Errorf("promtool check metrics says:\n%s", out)
	}
}

func TestPromtoolAcceptsTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "netfate.prom")
	if err := full(t).WriteFile(path); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	check := program(t, "promtool", "check", "metrics")
	check.Stdin = file
	if out := run(t, check); out != "" {
		t.Errorf("promtool check metrics says:\n%s", out)
	}
}

// TestPrometheusScrapes has Debian's Prometheus scrape what was counted, and asks it.
func TestPrometheusScrapes(t *testing.T) {
	e := prometheus.New(prometheus.Config{})
	for range 2 {
		if err := e.Batch(exporttest.Minute()); err != nil {
			t.Fatal(err)
		}
	}
	server := httptest.NewServer(e.Handler())
	defer server.Close()
	p := startPrometheus(t, "scrape_configs: [{job_name: netfate, scrape_interval: 1s, static_configs: [{targets: ['"+strings.TrimPrefix(server.URL, "http://")+"']}]}]\n")
	p.wants(t, "sum(netfate_drops_packets_total)", 2*(6+12+12))
	// What was sent, by labels; latencies as a native histogram, whose rows stand for
	// several requests each.
	p.wants(t, `netfate_drops_bytes_total{verdict="policy",reason="NETFILTER_DROP",location="nft_do_chain",ifname="eth0"}`, 2*360)
	p.wants(t, `sum by (comm) (netfate_host_bytes_total{comm="curl"})`, 2*2*(9700+300))
	p.wants(t, `sum(netfate_connections_total{event="failed",error="refused"})`, 6)
	p.wants(t, `netfate_ledger_balance_buffers{line="remainder"}`, -2)
	p.wants(t, `histogram_count(sum(netfate_requests_latency_seconds))`, 2*3*(1+4))
	p.wants(t, `histogram_quantile(0.1, sum(netfate_requests_latency_seconds)) > 0.0022 < 0.0026 > bool 0`, 1)
	p.wants(t, `up`, 1)
	exemplars := p.get(t, "/api/v1/query_exemplars?start=2026-03-14T00:00:00Z&end=2026-03-15T00:00:00Z&query="+url.QueryEscape("netfate_drops_packets_total"))
	if !strings.Contains(exemplars, `"dst_addr":"198.51.100.7"`) {
		t.Errorf("got no exemplar of a drop, but %s", exemplars)
	}
}

// server is a Prometheus.
type server struct{ url string }

// startPrometheus starts Debian's Prometheus, which ends with the test.
func startPrometheus(t *testing.T, config string, flags ...string) *server {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	free.Close()
	start(t, program(t, "prometheus", append([]string{
		"--config.file=" + path, "--storage.tsdb.path=" + filepath.Join(dir, "data"), "--web.listen-address=" + addr, "--log.level=warn",
		"--enable-feature=native-histograms,exemplar-storage",
	}, flags...)...))
	p := &server{"http://" + addr}
	wait(t, "Prometheus is ready", func() bool {
		w, err := client().Get(p.url + "/-/ready")
		if err != nil {
			return false
		}
		w.Body.Close()
		return w.StatusCode == http.StatusOK
	})
	return p
}

// client returns one that keeps no connection, of which goroutines would stay.
func client() *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
}

func (s *server) get(t *testing.T, target string) string {
	t.Helper()
	w, err := client().Get(s.url + target)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	text, err := io.ReadAll(w.Body)
	if err != nil || w.StatusCode != http.StatusOK {
		t.Fatalf("%s: got %d, %v, %s", target, w.StatusCode, err, text)
	}
	return string(text)
}

// wants asks until the answer is one value, and that one.
func (s *server) wants(t *testing.T, query string, want float64) {
	t.Helper()
	var got string
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		var answer struct {
			Data struct {
				Result []struct{ Value []any }
			}
		}
		got = s.get(t, "/api/v1/query?query="+url.QueryEscape(query))
		if err := json.Unmarshal([]byte(got), &answer); err != nil {
			t.Fatalf("%s: %v in %s", query, err, got)
		}
		if r := answer.Data.Result; len(r) == 1 && len(r[0].Value) == 2 && r[0].Value[1] == strconv.FormatFloat(want, 'g', -1, 64) {
			return
		}
		if time.Now().After(end) {
			t.Errorf("%s: got %s, want %v", query, got, want)
			return
		}
	}
}

const packaged = "../../packaging/"

func TestRules(t *testing.T) {
	dir := packaged + "prometheus/"
	out := run(t, program(t, "promtool", "check", "rules", dir+"netfate.rules.yml", dir+"netfate.alerts.yml"))
	if strings.Count(out, "SUCCESS") != 2 {
		t.Errorf("got %s", out)
	}
	if out := run(t, program(t, "promtool", "test", "rules", dir+"netfate.test.yml")); !strings.Contains(out, "SUCCESS") {
		t.Errorf("got %s", out)
	}
	var known struct {
		Groups []struct {
			Rules []struct{ Record, Alert, Expr string }
		}
	}
	text, err := os.ReadFile(dir + "netfate.test.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"netfate.rules.yml", "netfate.alerts.yml"} {
		read(t, dir+file, &known, yaml.Unmarshal)
		for _, g := range known.Groups {
			for _, r := range g.Rules {
				checkNames(t, file, r.Expr)
				for _, name := range []string{r.Record, r.Alert} {
					if name != "" && !strings.Contains(string(text), name) {
						t.Errorf("%s: no test of %s", file, name)
					}
				}
			}
		}
	}
}

func read(t *testing.T, path string, into any, parse func([]byte, any) error) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := parse(text, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// dashboard is what of one is looked at.
type dashboard struct {
	UID, Title    string
	SchemaVersion int
	Templating    struct {
		List []struct{ Name, Type string }
	}
	Panels []struct {
		ID      int
		Type    string
		Title   string
		GridPos struct{ X, Y, W, H int }
		Targets []struct{ Expr, RefID string }
	}
}

// TestDashboards has promtool parse each expression of each dashboard, as a rule, and
// looks for the metrics and labels in it.
func TestDashboards(t *testing.T) {
	files, err := filepath.Glob(packaged + "grafana/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("got no dashboards, %v", err)
	}
	var rules strings.Builder
	rules.WriteString("groups:\n- name: dashboards\n  rules:\n")
	used := map[string]bool{}
	for _, path := range files {
		var d dashboard
		read(t, path, &d, json.Unmarshal)
		file := filepath.Base(path)
		if d.UID != strings.TrimSuffix(file, ".json") || d.Title == "" || d.SchemaVersion == 0 || len(d.Templating.List) != 2 {
			t.Errorf("%s: got %q, %q", file, d.UID, d.Title)
		}
		ids, taken := map[int]bool{}, map[[2]int]string{}
		for _, p := range d.Panels {
			if ids[p.ID] || p.Title == "" || len(p.Targets) == 0 || p.GridPos.X+p.GridPos.W > 24 {
				t.Errorf("%s: panel %d, %q, is not right", file, p.ID, p.Title)
			}
			ids[p.ID] = true
			for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
				for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
					if other := taken[[2]int{x, y}]; other != "" {
						t.Fatalf("%s: %q lies over %q", file, p.Title, other)
					}
					taken[[2]int{x, y}] = p.Title
				}
			}
			for _, target := range p.Targets {
				for _, name := range checkNames(t, file+": "+p.Title, target.Expr) {
					used[name] = true
				}
				expr := strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*").Replace(target.Expr)
				fmt.Fprintf(&rules, "  - {record: 'dashboard:expr:%d', expr: %q}\n", strings.Count(rules.String(), "\n"), expr)
			}
		}
	}
	path := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(path, []byte(rules.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, program(t, "promtool", "check", "rules", path))
	for _, m := range prometheus.Metrics() {
		if !used[m.Name] {
			t.Errorf("%s is on no dashboard", m.Name)
		}
	}
}

// checkNames checks that an expression names only metrics that there are and labels
// that they have, and returns the metrics.
func checkNames(t *testing.T, where, expr string) (metrics []string) {
	t.Helper()
	labels := []string{"instance", "job", "le"}
	all := regexp.MustCompile(`[a-z_:]*\bnetfate_[a-z0-9_:]+`).FindAllString(expr, -1)
	for _, name := range all {
		if strings.Contains(name, ":") {
			labels = append(labels, strings.Split(strings.Split(name, ":")[0], "_")...)
			continue // what a rule records
		}
		found := slices.IndexFunc(prometheus.Metrics(), func(m prometheus.Metric) bool {
			return m.Name == name || m.Type == "histogram" && slices.Contains([]string{"_bucket", "_sum", "_count"}, strings.TrimPrefix(name, m.Name))
		})
		if found < 0 {
			t.Errorf("%s: there is no metric %s", where, name)
			continue
		}
		m := prometheus.Metrics()[found]
		metrics = append(metrics, m.Name)
		labels = append(labels, m.Labels...)
	}
	for _, list := range regexp.MustCompile(`by \(([^)]*)\)`).FindAllStringSubmatch(expr, -1) {
		for _, l := range strings.Split(list[1], ",") {
			if !slices.Contains(labels, strings.TrimSpace(l)) {
				t.Errorf("%s: no metric of %s has the label %s", where, expr, l)
			}
		}
	}
	for _, l := range regexp.MustCompile(`([a-z_]+)(=~|!=|!~|=)"`).FindAllStringSubmatch(expr, -1) {
		if !slices.Contains(labels, l[1]) {
			t.Errorf("%s: no metric of %s has the label %s", where, expr, l[1])
		}
	}
	return metrics
}

// TestPrometheusTakesRemoteWrite writes to Debian's Prometheus, and asks it.
func TestPrometheusTakesRemoteWrite(t *testing.T) {
	p := startPrometheus(t, "{}\n", "--web.enable-remote-write-receiver")
	sums := prometheus.New(prometheus.Config{})
	e, err := remotewrite.New(remotewrite.Config{URL: p.url + "/api/v1/write", Instance: "web1", Job: "netfate", Every: time.Hour, Queue: 1e7, Gather: sums.Gather})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for _, sink := range []interface{ Batch(*record.Batch) error }{sums, e} {
			if err := sink.Batch(exporttest.Minute()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if s := e.Status(); s.Sent == 0 || len(s.Lost) > 0 {
		t.Errorf("got %+v", s)
	}
	p.wants(t, `sum by (instance, job) (netfate_drops_packets_total{instance="web1", job="netfate"})`, 2*(6+12+12))
	p.wants(t, `sum(netfate_requests_latency_seconds_bucket{le="+Inf"})`, 2*3*(1+4))
	p.wants(t, `netfate_ledger_balance_buffers{line="remainder"}`, -2)
}
