// Package clickhouse runs a ClickHouse server that tests keep their history in: the one
// that `make bin/clickhouse` unpacks, below a directory of its own, on loopback only.
// For tests.
package clickhouse

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// startTime is how long a server may take to answer.
const startTime = time.Minute

// User and Password are those of a server.
const (
	User     = "netfate"
	Password = "a password, with ' and \\"
)

// config is a server's file. Its time is not UTC: nothing may depend on that.
const config = `<yandex>
	<logger><level>warning</level><log>%[1]s/log</log><errorlog>%[1]s/errors</errorlog></logger>
	<listen_host>127.0.0.1</listen_host> <http_port>%[2]d</http_port> <tcp_port>%[3]d</tcp_port>
	<path>%[1]s/data/</path> <tmp_path>%[1]s/tmp/</tmp_path> <user_files_path>%[1]s/files/</user_files_path>
	<timezone>Asia/Shanghai</timezone> <mark_cache_size>67108864</mark_cache_size>
	<users_config>users.xml</users_config> <default_profile>default</default_profile> <default_database>default</default_database>
	<remote_servers><` + Cluster + `>%[4]s</` + Cluster + `></remote_servers>
</yandex>
`

// Cluster is what servers that know each other call themselves.
const Cluster = "fleet"

const shard = "<shard><replica><host>127.0.0.1</host><port>%d</port><user>%s</user><password>%s</password></replica></shard>"

const users = `<yandex>
	<profiles><default><insert_distributed_sync>1</insert_distributed_sync></default></profiles> <quotas><default/></quotas>
	<users><%[1]s><password>%[2]s</password><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota></%[1]s></users>
</yandex>
`

// Server is a server of one test, or of several that use databases of their own.
type Server struct {
	Addr string // where it speaks HTTP

	dir, program string
	process      *exec.Cmd
	gone         chan struct{} // closed when the process has ended
}

// Start starts a server that is killed when the test ends.
func Start(tb testing.TB) *Server {
	tb.Helper()
	return StartShards(tb, 1)[0]
}

// StartShards starts servers that know each other as the shards of [Cluster].
func StartShards(tb testing.TB, n int) (all []*Server) {
	tb.Helper()
	var password bytes.Buffer
	if err := xml.EscapeText(&password, []byte(Password)); err != nil {
		tb.Fatal(err)
	}
	ports := freePorts(tb, 2*n)
	var shards strings.Builder
	for i := range n {
		fmt.Fprintf(&shards, shard, ports[2*i+1], User, password.String())
	}
	for i := range n {
		all = append(all, start(tb, ports[2*i], ports[2*i+1], password.String(), shards.String()))
	}
	return all
}

func start(tb testing.TB, http, tcp int, password, shards string) *Server {
	tb.Helper()
	dir, err := os.MkdirTemp("", "netfate-clickhouse-")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &Server{Addr: fmt.Sprint("127.0.0.1:", http), dir: dir, program: program(tb)}
	for name, text := range map[string]string{
		"config.xml": fmt.Sprintf(config, dir, http, tcp, shards), "users.xml": fmt.Sprintf(users, User, password),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	s.Run(tb)
	tb.Cleanup(s.Kill)
	return s
}

// URL is that of a database of the server.
func (s *Server) URL(database string) string {
	return fmt.Sprintf("clickhouse://%s@%s/%s", User, s.Addr, database)
}

// Run runs the server, again if it was killed, and returns when it answers.
func (s *Server) Run(tb testing.TB) {
	tb.Helper()
	root := filepath.Join(filepath.Dir(s.program), "../..")
	var libraries []string
	for _, pattern := range []string{"usr/lib/*-linux-gnu", "lib/*-linux-gnu"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			tb.Fatal(err)
		}
		libraries = append(libraries, found...)
	}
	s.process = exec.Command(s.program, "--config-file="+filepath.Join(s.dir, "config.xml"))
	s.process.Env = append(os.Environ(), "LD_LIBRARY_PATH="+strings.Join(libraries, ":"))
	var said bytes.Buffer
	s.process.Stdout, s.process.Stderr = &said, &said
	if err := s.process.Start(); err != nil {
		tb.Fatal(err)
	}
	process, gone := s.process, make(chan struct{})
	s.gone = gone
	go func() {
		_ = process.Wait() // it is killed, or what it said is told
		close(gone)
	}()
	if s.answers() {
		return
	}
	s.Kill()
	log, _ := os.ReadFile(filepath.Join(s.dir, "errors")) // what there is
	tb.Fatalf("ClickHouse does not answer at %s; it says:\n%s\n%s", s.Addr, said.String(), log)
}

// answers waits until the server answers, or has ended.
func (s *Server) answers() bool {
	for begin := time.Now(); time.Since(begin) < startTime; {
		resp, err := http.Get("http://" + s.Addr + "/ping")
		if err == nil && resp.Body.Close() == nil && resp.StatusCode == http.StatusOK {
			return true
		}
		select {
		case <-s.gone:
			return false
		case <-time.After(20 * time.Millisecond):
		}
	}
	return false
}

// CPU is the time of processors that the server has taken (proc_pid_stat(5)).
func (s *Server) CPU(tb testing.TB) time.Duration {
	tb.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.process.Process.Pid))
	if err != nil {
		tb.Fatal(err)
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	var user, system int64
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		tb.Fatal(err)
	}
	const tick = time.Second / 100 // USER_HZ
	return time.Duration(user+system) * tick
}

// Kill kills the server as a failing host does. It may be called again.
func (s *Server) Kill() {
	_ = s.process.Process.Kill() // it may have ended
	<-s.gone
}

// program is the unpacked server, from a package of tests and from the project's root.
func program(tb testing.TB) string {
	tb.Helper()
	for _, up := range []string{".", "..", "../..", "../../.."} {
		path, err := filepath.Abs(filepath.Join(up, "bin/clickhouse/usr/sbin/clickhouse-server"))
		if err != nil {
			tb.Fatal(err)
		}
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	tb.Fatal("no ClickHouse: `make bin/clickhouse` unpacks it")
	return ""
}

// freePorts are some that nobody listens at.
func freePorts(tb testing.TB, n int) (ports []int) {
	tb.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}
