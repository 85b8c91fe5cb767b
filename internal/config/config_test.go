package config

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPrintedDefaultsAreTheDefaults(t *testing.T) {
	var out bytes.Buffer
	if err := Write(&out, Default()); err != nil {
		t.Fatal(err)
	}
	got, err := Parse(out.Bytes())
	if err != nil {
		t.Fatalf("%v in\n%s", err, out.String())
	}
	if diff := cmp.Diff(Default(), got); diff != "" {
		t.Errorf("defaults, printed and read (-want +got):\n%s", diff)
	}
	for _, k := range Keys() {
		if k.Doc == "" {
			t.Errorf("%s has no meaning", k.Path)
		}
		name := k.Path[strings.LastIndex(k.Path, ".")+1:]
		if !strings.Contains(out.String(), name+":") {
			t.Errorf("%s is not printed", k.Path)
		}
	}
	for _, line := range strings.Split(out.String(), "\n") {
		if len(line) > width+10 {
			t.Errorf("a line of %d: %s", len(line), line)
		}
	}
}

// TestEveryKeyIsRead sets each key to something else and looks for it.
func TestEveryKeyIsRead(t *testing.T) {
	text := `
interval: 1s
sensors: {drops: false, flows: true, conns: false, queries: false, requests: false, tls: false, ledger: false,
  names: false, secrets: true, filter: port 53, budget: 0.5, measure: true}
identity: {runtimes: ["cri:/run/r"], pods: {url: "https://n/pods", token_file: /t, ca_file: /c, skip_verify: true}}
history: {path: none, size: 3GB, age: 48h, memory_rows: 9, clickhouse: {password_file: /p, ca: /c, spool: /s, age: 48h}}
api:
  listen: ["unix:/run/x", "[::1]:1"]
  socket_mode: 0600
  socket_group: adm
  token_file: /t
  loopback_token: true
  hosts: [a.example]
  tls: {cert: c, key: k, client_ca: a}
  rate: 1.5
  burst: 2
  question_time: 3s
  questions: 5
  clients: 6
export:
  prometheus: {metrics: false, series: 7, textfile: /a.prom}
  otlp: {endpoint: "https://otel:4318", signals: [spans], every: 9s, token_file: /t, ca: a, cert: c, key: k, queue: 9MB}
  remote_write: {url: "https://prom:9090/api/v1/write", every: 9s, token_file: /t, ca: a, cert: c, key: k, queue: 9MB}
  ipfix: {collector: "udp:[::1]:4739", version: 9, domain: 1, enterprise: 9, templates: 9s, queue: 9MB}
`
	got, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	before := Default()
	reload, restart := Changed(&before, &got)
	var all []string
	for _, k := range Keys() {
		if k.Path != "sensors.flows" { // without it there would be no sensor
			all = append(all, k.Path)
		}
	}
	if got := len(reload) + len(restart); got != len(all) {
		t.Errorf("got %d keys that changed, %q and %q; want %q", got, reload, restart, all)
	}
	if want := []string{"api.token_file", "api.hosts", "api.tls.cert", "api.tls.key", "api.rate", "api.burst", "api.question_time"}; !cmp.Equal(reload, want) {
		t.Errorf("got %q to reload, want %q", reload, want)
	}
	if got.API.SocketMode != 0o600 || got.History.Size != 3e9 || got.History.Age != 48*time.Hour {
		t.Errorf("got %+v", got)
	}
}

func TestFaults(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", ""},
		{"only comments", "# nothing\n", ""},
		{"runtimes", "identity: {runtimes: [auto, \"cri:/run/x\", podman]}", `identity.runtimes: "podman" is not docker:PATH, cri:PATH or auto`},
		{"pods nowhere", "identity: {pods: {url: /pods}}", `identity.pods.url: "/pods" is no https://HOST:PORT/PATH`},
		{"pods without an address", "identity: {pods: {token_file: /t}}", `identity.pods.url: "" is no https://HOST:PORT/PATH`},
		{"a token for everybody", "identity: {pods: {url: \"http://n:10255/pods\", token_file: /t}}", "use https"},
		{"no map", "hello", "cannot unmarshal"},
		{"not yaml", "a: [", "line 1"},
		{"two documents", "interval: 1s\n---\ninterval: 2s\n", "more than one document"},
		{"unknown", "api:\n  lisen: []\n", "line 2: there is no key api.lisen; did you mean api.listen?"},
		{"unknown above", "intervall: 1s", "did you mean interval?"},
		{"elsewhere", "listen: []", "did you mean api.listen?"},
		{"like nothing", "xyzzyxyzzy: 1", "--print-config lists all"},
		{"several", "api:\n  lisen: []\n  hots: []\n", "line 3: there is no key api.hots; did you mean api.hosts?"},
		{"twice", "interval: 1s\ninterval: 2s", "already defined"},
		{"type", "interval: soon", "line 1"},
		{"type of a list", "api: {listen: {}}", "line 1"},
		{"size", "history: {size: much}", `"much" is no size`},
		{"negative size", "history: {size: -1GB}", "is no size"},
		{"another database", "history: {path: 'postgres://db/x'}", "history.path: it is no clickhouse://USER@HOST:PORT/DATABASE"},
		{"a password for everybody", "history: {path: 'clickhouse://u:p@db/x'}", "history.path: it has a password"},
		{"a fleet", "history: {path: 'clickhouses://u@db/x', clickhouse: {age: 720h}}", ""},
		{"relative spool", "history: {clickhouse: {spool: here}}", "history.clickhouse.spool"},
		{"hours of a fleet", "history: {clickhouse: {age: 1h}}", "history.clickhouse.age: 1h0m0s is less than 24h"},
		{"small size", "history: {size: 1MB}", "history.size: 1MB is less than"},
		{"mode", "api: {socket_mode: 999}", "is no mode"},
		{"interval", "interval: 1ms", "interval: 1ms is not from 100ms"},
		{"no sensor", "sensors: {drops: false, flows: false, conns: false, queries: false, requests: false}", "sensors: none is on"},
		{"ledger", "sensors: {flows: false}", "sensors.ledger: the ledger needs sensors.flows"},
		{"tls", "sensors: {requests: false}", "sensors.tls"},
		{"budget", "sensors: {budget: .nan}", "sensors.budget"},
		{"listen", "api: {listen: [here]}", `"here" is neither unix:PATH nor ADDRESS:PORT`},
		{"relative socket", "api: {listen: ['unix:here']}", "no absolute path"},
		{"long socket", "api: {listen: ['unix:/" + strings.Repeat("x", 107) + "']}", "no absolute path"},
		{"open to all", "api: {listen: ['0.0.0.0:1']}", "can be reached from other hosts: set api.tls.cert"},
		{"open, all interfaces of IPv6", "api: {listen: ['[::]:1']}", "can be reached from other hosts"},
		{"open with TLS only", "api: {listen: ['192.0.2.1:1'], tls: {cert: c, key: k}}", "set api.token_file or api.tls.client_ca"},
		{"token", "api: {listen: ['192.0.2.1:1'], tls: {cert: c, key: k}, token_file: t}", ""},
		{"mTLS", "api: {listen: ['192.0.2.1:1'], tls: {cert: c, key: k, client_ca: a}}", ""},
		{"all of 127", "api: {listen: ['127.8.8.8:1', '[::ffff:127.0.0.1]:2', 'localhost:3']}", ""},
		{"key without cert", "api: {tls: {key: k}}", "cert and key go together"},
		{"loopback token", "api: {loopback_token: true}", "needs api.token_file"},
		{"rate", "api: {rate: 0}", "api.rate"},
		{"series", "export: {prometheus: {series: 0}}", "export.prometheus.series: 0 is not from 1"},
		{"relative textfile", "export: {prometheus: {textfile: a.prom}}", "no absolute path"},
		{"textfile that nobody reads", "export: {prometheus: {textfile: /a.txt}}", "ends in .prom"},
		{"collector without a network", "export: {ipfix: {collector: '192.0.2.1:4739'}}", "neither udp:HOST:PORT nor tcp:HOST:PORT"},
		{"collector without a port", "export: {ipfix: {collector: 'udp:192.0.2.1'}}", "export.ipfix.collector"},
		{"collector by name", "export: {ipfix: {collector: 'udp:flows.example:4739'}}", ""},
		{"version of NetFlow", "export: {ipfix: {version: 5}}", "export.ipfix.version: 5 is neither 10"},
		{"NetFlow over TCP", "export: {ipfix: {collector: 'tcp:192.0.2.1:2055', version: 9}}", "NetFlow 9 goes over udp"},
		{"enterprise", "export: {ipfix: {enterprise: 0}}", "export.ipfix.enterprise"},
		{"templates", "export: {ipfix: {templates: 1ms}}", "export.ipfix.templates: 1ms is not from 1s"},
		{"queue", "export: {ipfix: {queue: 1kB}}", "export.ipfix.queue: 1kB is not from 1MB"},
		{"endpoint", "export: {otlp: {endpoint: 'otel:4317'}}", "is no URL of http, grpc, or of these with an s"},
		{"token in the clear", "export: {otlp: {endpoint: 'http://otel:4318', token_file: t}}", "would send the token in the clear"},
		{"token on loopback", "export: {otlp: {endpoint: 'grpc://[::1]:4317', token_file: t}}", ""},
		{"remote write over gRPC", "export: {remote_write: {url: 'grpc://prom:9090'}}", "export.remote_write.url: \"grpc://prom:9090\" is no URL of http"},
		{"signals", "export: {otlp: {signals: [traces]}}", "there is no \"traces\"; there are metrics, spans, logs"},
		{"every", "export: {otlp: {every: 1ms}}", "export.otlp.every"},
		{"certificate alone", "export: {otlp: {cert: c}}", "cert and key go together"},
		{"question time", "api: {question_time: 1ms}", "api.question_time"},
	} {
		_, err := Parse([]byte(c.text))
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: got %v, want none", c.name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: got %v, want %s in it", c.name, err, c.want)
		}
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "netfate.yaml")
	if _, err := Load(path); err == nil {
		t.Error("no file: got no error")
	}
	for text, want := range map[string]string{
		"interval: 2s\n": "", "intervall: 2s\n": path, strings.Repeat("#", maxFile+1): "larger than",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%.20s: got %v, want %q", text, err, want)
		}
	}
}

func TestListen(t *testing.T) {
	for text, want := range map[string]Listen{"unix:/run/x": {Path: "/run/x"}} {
		got, err := ParseListen(text)
		if err != nil || !reflect.DeepEqual(got, want) || got.String() != text || !got.Socket() {
			t.Errorf("%s: got %+v, %v", text, got, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("api: {listen: [&a b, *a]}\nhistory: {size: 1e3kB}\n"))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Parse(text)
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := Write(&out, c); err != nil {
			t.Fatal(err)
		}
		again, err := Parse(out.Bytes())
		if err != nil {
			t.Fatalf("%v in what was printed:\n%s", err, out.String())
		}
		if reload, restart := Changed(&c, &again); len(reload)+len(restart) > 0 {
			t.Fatalf("%q and %q change by printing:\n%s", reload, restart, out.String())
		}
	})
}
