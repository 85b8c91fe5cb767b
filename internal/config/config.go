// Package config is the file of `netfate serve`: every key with its default, its
// meaning and its check. It reads, checks and prints; it starts nothing.
//
// A key is declared once, as a field of [Config] with its tags: the reader, the
// list of unknown keys, the printed defaults and the reference derive from it.
package config

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Config is all that the file may say. Its keys are the yaml tags; a tag
// reload:"yes" marks what SIGHUP takes over without a restart.
type Config struct {
	Interval time.Duration `yaml:"interval" doc:"Time between two batches: rows of the history and updates of the page are of so long."`
	Sensors  Sensors       `yaml:"sensors" doc:"What is watched."`
	Identity Identity      `yaml:"identity" doc:"Who is asked what containers and pods are called."`
	History  History       `yaml:"history" doc:"What is kept."`
	API      API           `yaml:"api" doc:"The HTTP API and the web page."`
	Export   Export        `yaml:"export" doc:"What others are told."`
}

// Sensors are what is watched.
type Sensors struct {
	Drops    bool    `yaml:"drops" doc:"Packets that the kernel drops: where, why, whose."`
	Flows    bool    `yaml:"flows" doc:"Who talks to whom, by interface."`
	Conns    bool    `yaml:"conns" doc:"TCP connections as they open, fail and close."`
	Queries  bool    `yaml:"queries" doc:"DNS: what is asked and answered."`
	Requests bool    `yaml:"requests" doc:"HTTP requests, and handshakes of TLS and QUIC."`
	TLS      bool    `yaml:"tls" doc:"Requests inside TLS too, read in the libraries that encrypt them."`
	Ledger   bool    `yaml:"ledger" doc:"The books: what came, where it went, what is unexplained. Needs flows."`
	Names    bool    `yaml:"names" doc:"Names of peers, as DNS answered them."`
	Secrets  bool    `yaml:"secrets" doc:"Keep the queries of URLs, which may hold passwords."`
	Filter   string  `yaml:"filter" doc:"A pcap-filter expression that restricts what is counted, as in tcpdump; empty counts everything."`
	Budget   float64 `yaml:"budget" doc:"Share of all CPUs that reading requests may take while they are busy, of 1."`
	Measure  bool    `yaml:"measure" doc:"Have the kernel time every BPF program on this host, so that the status tells ns per event; costs each of their runs some 20 to 100 ns."`
}

// Identity is who is asked what containers are called.
type Identity struct {
	Runtimes []string `yaml:"runtimes" doc:"Sockets of container runtimes: docker:PATH, which podman speaks too, cri:PATH, or auto for those that are there by default. Who may write to such a socket owns the host, and netfate only reads."`
	Pods     Pods     `yaml:"pods" doc:"A kubelet or an API server of Kubernetes."`
}

// Pods says how pods are asked for.
type Pods struct {
	URL        string `yaml:"url" doc:"Where pods are listed, as https://127.0.0.1:10250/pods of a kubelet, or https://SERVER/api/v1/pods?fieldSelector=spec.nodeName%3DNODE; empty asks nobody."`
	TokenFile  string `yaml:"token_file" doc:"File with the token to show there, read each time."`
	CAFile     string `yaml:"ca_file" doc:"Authorities that vouch for the server, in PEM; empty takes this host's."`
	SkipVerify bool   `yaml:"skip_verify" doc:"Take any certificate, whatever ca_file says, as kubelets sign their own: whoever listens there gets the token."`
}

// History is what is kept.
type History struct {
	Path       string        `yaml:"path" doc:"File of the history, or clickhouse://USER@HOST:PORT/DATABASE of one that many hosts share, clickhouses:// over TLS; none keeps the last rows in memory only."`
	Size       Bytes         `yaml:"size" doc:"How large the file may grow, or what waits for ClickHouse; the oldest rows go first."`
	Age        time.Duration `yaml:"age" doc:"How old rows may become: minutes are kept for 2 days, 5 minutes for 14, hours for 90, days for 730, and none for longer than this."`
	MemoryRows int           `yaml:"memory_rows" doc:"Rows of each kind that are kept in memory where there is no file; some 600 bytes each."`
	ClickHouse ClickHouse    `yaml:"clickhouse" doc:"For a path that is clickhouse://."`
}

// ClickHouse is what a history that many hosts share needs beside its URL.
type ClickHouse struct {
	PasswordFile string        `yaml:"password_file" doc:"File with the user's password, readable by netfate alone; empty takes NETFATE_CLICKHOUSE_PASSWORD of the environment."`
	CA           string        `yaml:"ca" doc:"Authorities of the server's certificate, in PEM; empty is those of this host."`
	Spool        string        `yaml:"spool" doc:"Directory where rows wait while the server is away, history.size at the most."`
	Age          time.Duration `yaml:"age" doc:"Days of which all rows, of all hosts, are older than this are deleted; 0s deletes none. Set it on one host."`
}

// API is where and how questions are answered.
type API struct {
	Listen        []string      `yaml:"listen" doc:"Where to listen: unix:PATH, or ADDRESS:PORT. Anything but a socket and loopback demands tls, and token_file or tls.client_ca."`
	SocketMode    Mode          `yaml:"socket_mode" doc:"Permissions of unix sockets: who may write to one may ask everything."`
	SocketGroup   string        `yaml:"socket_group" doc:"Group of unix sockets; empty is that of the process."`
	TokenFile     string        `yaml:"token_file" reload:"yes" doc:"File with the token that clients show, as Bearer or as the password of Basic; readable by netfate alone."`
	LoopbackToken bool          `yaml:"loopback_token" doc:"Demand the token on loopback too, since every user of this host can connect there."`
	Hosts         []string      `yaml:"hosts" reload:"yes" doc:"Names that browsers may call this host by, beside localhost and addresses; all others are refused."`
	TLS           TLS           `yaml:"tls" doc:"For all addresses but sockets and loopback."`
	Rate          float64       `yaml:"rate" reload:"yes" doc:"Requests a second of one client, on the average."`
	Burst         int           `yaml:"burst" reload:"yes" doc:"Requests of one client at once."`
	QuestionTime  time.Duration `yaml:"question_time" reload:"yes" doc:"How long one question may take."`
	Questions     int           `yaml:"questions" doc:"How many questions are worked on at once; others wait."`
	Clients       int           `yaml:"clients" doc:"How many clients may follow live events at once."`
}

// TLS names the files of the server's certificate, in PEM.
type TLS struct {
	Cert     string `yaml:"cert" reload:"yes" doc:"Certificate, with the chain."`
	Key      string `yaml:"key" reload:"yes" doc:"Its key."`
	ClientCA string `yaml:"client_ca" doc:"Authorities whose certificates clients must show; empty asks for none."`
}

// Export is what others are told.
type Export struct {
	Prometheus  Prometheus  `yaml:"prometheus" doc:"Metrics."`
	RemoteWrite RemoteWrite `yaml:"remote_write" doc:"The same metrics for servers that cannot scrape this host."`
	IPFIX       IPFIX       `yaml:"ipfix" doc:"Flows and drops for a collector of flows."`
	OTLP        OTLP        `yaml:"otlp" doc:"Metrics, requests and losses for OpenTelemetry."`
}

// WantsMetrics reports whether anybody is told of metrics.
func (e *Export) WantsMetrics() bool {
	return e.Prometheus.Metrics || e.Prometheus.Textfile != "" || e.RemoteWrite.URL != "" || e.OTLP.Endpoint != "" && slices.Contains(e.OTLP.Signals, "metrics")
}

// Prometheus is which metrics there are, and where.
type Prometheus struct {
	Metrics  bool   `yaml:"metrics" doc:"Answer /metrics wherever the API listens, to whoever may ask that."`
	Series   int    `yaml:"series" doc:"Series of each counter at the most, and ten times those of each histogram; what comes later is counted as ~other."`
	Textfile string `yaml:"textfile" doc:"File for the textfile collector of node_exporter, written at each interval; its name ends in .prom. Empty writes none."`
}

// IPFIX is where flows and drops go.
type IPFIX struct {
	Collector  string        `yaml:"collector" doc:"The collector, udp:HOST:PORT or tcp:HOST:PORT, usually port 4739; empty sends nothing."`
	Version    int           `yaml:"version" doc:"10 is IPFIX; 9 is NetFlow version 9, over udp alone, which does not tell whose traffic it was."`
	Domain     uint32        `yaml:"domain" doc:"Observation domain, by which the collector tells senders of one address apart."`
	Enterprise uint32        `yaml:"enterprise" doc:"Private enterprise number of netfate's own elements; the usual one is that for documentation."`
	Templates  time.Duration `yaml:"templates" doc:"Time between two transmissions of templates over UDP."`
	Queue      Bytes         `yaml:"queue" doc:"How much may wait while the collector is away; what has no room is counted as lost."`
}

// OTLP is where metrics, spans and logs go.
type OTLP struct {
	Endpoint string        `yaml:"endpoint" doc:"The receiver, http://HOST:4318 or https:// for OTLP/HTTP, grpc://HOST:4317 (in the clear) or grpcs:// for gRPC; empty sends nothing."`
	Signals  []string      `yaml:"signals" doc:"What is sent: metrics; spans, one for each request; logs, of drops that are not benign and of connections that failed."`
	Every    time.Duration `yaml:"every" doc:"Time between two transmissions of metrics."`
	Token    string        `yaml:"token_file" doc:"File with a token that is sent as Bearer; readable by netfate alone."`
	CA       string        `yaml:"ca" doc:"Authorities of the receiver's certificate, in PEM; empty is those of this host."`
	Cert     string        `yaml:"cert" doc:"Certificate that is shown to the receiver, in PEM; empty shows none."`
	Key      string        `yaml:"key" doc:"Its key."`
	Queue    Bytes         `yaml:"queue" doc:"How much may wait, compressed, while the receiver is away; what has no room is counted as lost."`
}

// RemoteWrite is where metrics are pushed to.
type RemoteWrite struct {
	URL   string        `yaml:"url" doc:"Where a server takes remote write 1.0, https://HOST:9090/api/v1/write for example; empty sends nothing."`
	Every time.Duration `yaml:"every" doc:"Time between two samples of each series."`
	Token string        `yaml:"token_file" doc:"File with a token that is sent as Bearer; readable by netfate alone."`
	CA    string        `yaml:"ca" doc:"Authorities of the server's certificate, in PEM; empty is those of this host."`
	Cert  string        `yaml:"cert" doc:"Certificate that is shown to the server, in PEM; empty shows none."`
	Key   string        `yaml:"key" doc:"Its key."`
	Queue Bytes         `yaml:"queue" doc:"How much may wait, compressed, while the server is away; what has no room is counted as lost."`
}

// Signals lists what OTLP.Signals may have.
func Signals() []string { return []string{"metrics", "spans", "logs"} }

// None is History.Path where nothing is kept on disk.
const None = "none"

// Default returns what holds where the file is silent.
func Default() Config {
	return Config{
		Interval: 5 * time.Second,
		Sensors: Sensors{
			Drops: true, Flows: true, Conns: true, Queries: true, Requests: true, TLS: true, Ledger: true, Names: true, Budget: 0.02,
		},
		Identity: Identity{Runtimes: []string{"auto"}},
		History:  History{Path: "/var/lib/netfate/history.duckdb", Size: 2e9, Age: 730 * 24 * time.Hour, MemoryRows: 1 << 16, ClickHouse: ClickHouse{Spool: "/var/lib/netfate/spool"}},
		API: API{
			Listen: []string{"unix:/run/netfate/netfate.sock", "127.0.0.1:7323"}, SocketMode: 0o660, Hosts: []string{},
			Rate: 50, Burst: 200, QuestionTime: 20 * time.Second, Questions: 4, Clients: 256,
		},
		Export: Export{
			Prometheus:  Prometheus{Metrics: true, Series: 2000},
			IPFIX:       IPFIX{Version: 10, Enterprise: 32473, Templates: time.Minute, Queue: 16e6},
			RemoteWrite: RemoteWrite{Every: 15 * time.Second, Queue: 16e6},
			OTLP:        OTLP{Signals: Signals(), Every: time.Minute, Queue: 16e6},
		},
	}
}

// minInterval is the shortest interval: each waits for an RCU grace period.
const minInterval = 100 * time.Millisecond

// check returns what cannot be meant, one error for each.
func (c *Config) check() (wrong []error) {
	say := func(key, format string, args ...any) {
		wrong = append(wrong, fmt.Errorf("%s: "+format, append([]any{key}, args...)...))
	}
	if c.Interval < minInterval || c.Interval > time.Hour {
		say("interval", "%v is not from %v to 1h", c.Interval, minInterval)
	}
	if s := &c.Sensors; !s.Drops && !s.Flows && !s.Conns && !s.Queries && !s.Requests {
		say("sensors", "none is on")
	} else if s.Ledger && !s.Flows {
		say("sensors.ledger", "the ledger needs sensors.flows")
	} else if s.TLS && !s.Requests {
		say("sensors.tls", "what is inside TLS needs sensors.requests")
	}
	if b := c.Sensors.Budget; math.IsNaN(b) || b <= 0 || b > 1 {
		say("sensors.budget", "%v is not above 0 and up to 1", b)
	}
	c.Identity.check(say)
	c.History.check(say)
	c.API.check(say)
	c.Export.check(say)
	return wrong
}

func (i *Identity) check(say func(key, format string, args ...any)) {
	for _, r := range i.Runtimes {
		if kind, path, _ := strings.Cut(r, ":"); r != "auto" && (kind != "docker" && kind != "cri" || !strings.HasPrefix(path, "/")) {
			say("identity.runtimes", "%q is not docker:PATH, cri:PATH or auto", r)
		}
	}
	u, err := url.Parse(i.Pods.URL)
	switch {
	case i.Pods == (Pods{}):
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		say("identity.pods.url", "%q is no https://HOST:PORT/PATH", i.Pods.URL)
	case u.Scheme == "http" && i.Pods.TokenFile != "":
		say("identity.pods.url", "%s would show the token to everybody on the way: use https", i.Pods.URL)
	}
}

func (h *History) check(say func(key, format string, args ...any)) {
	if h.Path == "" {
		say("history.path", "it is empty; %s keeps nothing on disk", None)
	}
	if h.Size < 16e6 {
		say("history.size", "%v is less than 16MB, which an empty history needs", h.Size)
	}
	if h.Age < time.Hour {
		say("history.age", "%v is less than 1h", h.Age)
	}
	if h.MemoryRows < 1 || h.MemoryRows > 1<<24 {
		say("history.memory_rows", "%d is not from 1 to %d", h.MemoryRows, 1<<24)
	}
	c := &h.ClickHouse
	if strings.Contains(h.Path, "://") {
		u, err := url.Parse(h.Path)
		switch {
		case err != nil || u.Host == "" || strings.TrimSuffix(u.Scheme, "s") != "clickhouse":
			say("history.path", "it is no clickhouse://USER@HOST:PORT/DATABASE")
		case strings.Contains(u.User.String(), ":"):
			say("history.path", "it has a password, which history.clickhouse.password_file is for")
		}
	}
	if !filepath.IsAbs(c.Spool) {
		say("history.clickhouse.spool", "%q is no absolute path", c.Spool)
	}
	if c.Age != 0 && c.Age < 24*time.Hour {
		say("history.clickhouse.age", "%v is less than 24h, and whole days are deleted", c.Age)
	}
}

func (a *API) check(say func(key, format string, args ...any)) {
	for _, text := range a.Listen {
		l, err := ParseListen(text)
		if err != nil {
			say("api.listen", "%w", err)
			continue
		}
		switch {
		case l.Socket() || l.Loopback():
		case a.TLS.Cert == "":
			say("api.listen", "%s can be reached from other hosts: set api.tls.cert and api.tls.key", text)
		case a.TokenFile == "" && a.TLS.ClientCA == "":
			say("api.listen", "%s can be reached from other hosts: set api.token_file or api.tls.client_ca", text)
		}
	}
	if (a.TLS.Cert == "") != (a.TLS.Key == "") {
		say("api.tls", "cert and key go together")
	}
	if a.TLS.ClientCA != "" && a.TLS.Cert == "" {
		say("api.tls.client_ca", "it needs cert and key")
	}
	if a.LoopbackToken && a.TokenFile == "" {
		say("api.loopback_token", "it needs api.token_file")
	}
	if a.SocketMode > 0o777 {
		say("api.socket_mode", "%v is no mode", a.SocketMode)
	}
	if math.IsNaN(a.Rate) || math.IsInf(a.Rate, 0) || a.Rate <= 0 || a.Burst < 1 {
		say("api.rate", "%v a second, %d at once: both must be more than 0", a.Rate, a.Burst)
	}
	if a.QuestionTime < time.Second || a.QuestionTime > 10*time.Minute {
		say("api.question_time", "%v is not from 1s to 10m", a.QuestionTime)
	}
	if a.Questions < 1 || a.Questions > 256 {
		say("api.questions", "%d is not from 1 to 256", a.Questions)
	}
	if a.Clients < 1 || a.Clients > 10_000 {
		say("api.clients", "%d is not from 1 to 10000", a.Clients)
	}
}

// maxSeries bounds what may be asked for: some 200 MB of memory.
const maxSeries = 100_000

func (e *Export) check(say func(key, format string, args ...any)) {
	if p := &e.Prometheus; p.Series < 1 || p.Series > maxSeries {
		say("export.prometheus.series", "%d is not from 1 to %d", p.Series, maxSeries)
	} else if p.Textfile != "" && (!filepath.IsAbs(p.Textfile) || filepath.Ext(p.Textfile) != ".prom") {
		say("export.prometheus.textfile", "%q is no absolute path that ends in .prom, which the collector looks for", p.Textfile)
	}
	x := &e.IPFIX
	if _, err := ParseCollector(cmp.Or(x.Collector, "udp:localhost:4739")); err != nil {
		say("export.ipfix.collector", "%w", err)
	}
	if x.Version != 9 && x.Version != 10 {
		say("export.ipfix.version", "%d is neither 10 (IPFIX) nor 9 (NetFlow)", x.Version)
	} else if x.Version == 9 && strings.HasPrefix(x.Collector, "tcp:") {
		say("export.ipfix.version", "NetFlow 9 goes over udp; %s needs version 10", x.Collector)
	}
	if x.Enterprise == 0 {
		say("export.ipfix.enterprise", "0 is IANA's own")
	}
	if x.Templates < time.Second || x.Templates > time.Hour {
		say("export.ipfix.templates", "%v is not from 1s to 1h", x.Templates)
	}
	checkQueue(say, "export.ipfix.queue", x.Queue)
	e.RemoteWrite.check(say)
	e.OTLP.check(say)
}

func (o *OTLP) check(say func(key, format string, args ...any)) {
	checkURL(say, "export.otlp", "endpoint", o.Endpoint, o.Token, "http", "grpc")
	for _, s := range o.Signals {
		if !slices.Contains(Signals(), s) {
			say("export.otlp.signals", "there is no %q; there are %s", s, strings.Join(Signals(), ", "))
		}
	}
	checkSender(say, "export.otlp", o.Every, o.Cert, o.Key, o.Queue)
}

func (r *RemoteWrite) check(say func(key, format string, args ...any)) {
	checkURL(say, "export.remote_write", "url", r.URL, r.Token, "http")
	checkSender(say, "export.remote_write", r.Every, r.Cert, r.Key, r.Queue)
}

// checkURL checks a key that is a URL, of one of some schemes in the clear or the same
// with an s, and that a token is not sent in the clear.
func checkURL(say func(key, format string, args ...any), section, key, text, token string, schemes ...string) {
	to, err := url.Parse(cmp.Or(text, "http://localhost"))
	switch {
	case err != nil || to.Host == "" || !slices.Contains(schemes, strings.TrimSuffix(to.Scheme, "s")):
		say(section+"."+key, "%q is no URL of %s, or of these with an s", text, strings.Join(schemes, ", "))
	case token != "" && !strings.HasSuffix(to.Scheme, "s") && !isLoopback(to.Hostname()):
		say(section+".token_file", "%s would send the token in the clear: use %ss", text, to.Scheme)
	}
}

// checkSender checks what exporters over HTTP have in common.
func checkSender(say func(key, format string, args ...any), section string, every time.Duration, cert, key string, queue Bytes) {
	if every < time.Second || every > time.Hour {
		say(section+".every", "%v is not from 1s to 1h", every)
	}
	if (cert == "") != (key == "") {
		say(section, "cert and key go together")
	}
	checkQueue(say, section+".queue", queue)
}

// isLoopback reports whether what is sent to a host does not leave this one.
func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}

// A queue has room for one batch of a busy host, and does not take the memory that
// watching needs.
const (
	minQueue = 1e6
	maxQueue = 1e9
)

func checkQueue(say func(key, format string, args ...any), key string, b Bytes) {
	if b < minQueue || b > maxQueue {
		say(key, "%v is not from %v to %v", b, Bytes(minQueue), Bytes(maxQueue))
	}
}
