package scenario

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

// named is who calls whom by which name: in a namespace, from a process.
type named struct {
	NetNS, PID uint32
	Port       uint16
	Name       string
}

// TestPeersHaveNames lets processes ask dnsmasq and connect, and wants flows,
// connections and drops to call each peer as its process does: one address has
// several names, and other ones in another namespace.
func TestPeersHaveNames(t *testing.T) {
	need.Root(t)
	caller := need.Command(t, "./caller")
	lab := netlab.New(t)
	client, server := pair(lab)
	server.IPv6()
	client.IPv6()
	server.Addr("eth0", "fd00::2/64")
	client.Addr("eth0", "fd00::1/64")
	client.Neigh("eth0", "fd00::2", server.MAC("eth0"))
	server.Neigh("eth0", "fd00::1", client.MAC("eth0"))
	otherClient, otherServer := lab.NetNS("client2"), lab.NetNS("server2")
	lab.Veth(otherClient, "eth0", otherServer, "eth0")
	otherClient.Addr("eth0", clientAddr+"/24")
	otherServer.Addr("eth0", serverAddr+"/24")
	startDNSMasq(server, serverAddr, "--local-ttl=1", "--host-record=alpha.test,10.0.0.2", "--host-record=beta.test,10.0.0.2",
		"--host-record=gamma.test,10.0.0.2", "--cname=alias.test,again.test", "--cname=again.test,gamma.test", "--host-record=six.test,fd00::2")
	startDNSMasq(otherServer, serverAddr, "--host-record=delta.test,10.0.0.2")
	for _, l := range []struct {
		n    *netlab.NetNS
		addr string
	}{{server, "0.0.0.0:7000"}, {server, "[fd00::2]:7000"}, {otherServer, "0.0.0.0:7000"}} {
		go answerTCP(l.n.ListenTCP(l.addr))
	}
	client.NFT(`table inet lossy { chain out { type filter hook output priority 0; tcp dport 7002 drop; }; }`)

	file := filepath.Join(t.TempDir(), "names.nfr")
	stop := startRecording(t, file)
	var want []named
	run := func(n *netlab.NetNS, network, kind string, code int, to ...string) uint32 {
		t.Helper()
		var said bytes.Buffer
		cmd := exec.Command(caller, append([]string{network, serverAddr + ":53", kind}, to...)...)
		cmd.Stderr = &said
		n.Start(cmd)
		_ = cmd.Wait()
		if got := cmd.ProcessState.ExitCode(); got != code {
			t.Fatalf("caller %v: got exit code %d, want %d; it says %s", to, got, code, &said)
		}
		return uint32(cmd.Process.Pid)
	}
	expect := func(n *netlab.NetNS, network, kind, name string) {
		t.Helper()
		pid := run(n, network, kind, 0, name+":7000")
		want = append(want, named{n.Inode, pid, 7000, name})
	}
	expect(client, "udp", "A", "alpha.test")
	expect(client, "udp", "A", "beta.test")
	expect(client, "tcp", "A", "gamma.test")
	expect(client, "udp", "A", "alias.test")
	expect(client, "udp", "AAAA", "six.test")
	expect(otherClient, "udp", "A", "delta.test")
	// One process, two names, one after the other.
	pid := run(client, "udp", "A", 0, "alpha.test:7000", "beta.test:7000")
	want = append(want, named{client.Inode, pid, 7000, "alpha.test"}, named{client.Inode, pid, 7000, "beta.test"})
	dropped := named{client.Inode, run(client, "udp", "A", 1, "beta.test:7002"), 7002, "beta.test"}
	stop()

	conns := replayed(t, file, "conns", record.Conn{}, func(c *record.Conn) (named, bool) {
		return named{c.NetNS, c.PID, c.DstPort, c.Name}, c.Side == record.Client && c.Event == record.ConnClosed && c.DstPort == 7000
	})
	if diff := cmp.Diff(want, conns); diff != "" {
		t.Errorf("connections (-want +got):\n%s", diff)
	}
	flows := replayed(t, file, "flows", record.Flow{}, func(f *record.Flow) (named, bool) {
		return named{f.NetNS, f.PID, f.DstPort, f.Name}, f.Direction == record.Out && f.DstPort == 7000 && f.IfName == "eth0"
	})
	if diff := cmp.Diff(count(want), count(flows)); diff != "" {
		t.Errorf("flows (-want +got):\n%s", diff)
	}
	drops := replayed(t, file, "drops", record.Drop{}, func(d *record.Drop) (named, bool) {
		return named{d.NetNS, d.PID, d.DstPort, d.Name}, d.DstPort == 7002
	})
	if got := count(drops); len(got) != 1 || got[dropped] == 0 {
		t.Errorf("drops: got %v, want only %v", got, dropped)
	}
}

// count counts equal rows: a flow has one in each interval that it is seen in.
func count(list []named) map[named]int {
	m := map[named]int{}
	for _, n := range list {
		m[n] = 1
	}
	return m
}

// startRecording starts `netfate record`, and returns what ends it and waits.
func startRecording(t *testing.T, file string) (stop func()) {
	t.Helper()
	said := &netlab.Lines{}
	cmd := exec.Command(os.Getenv(binaryEnv), "record", "-w", file, "--duration", "600s")
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		t.Fatalf("start netfate: %v", err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	netlab.WaitFor(t, "netfate to record", func() bool { return bytes.Contains([]byte(said.String()), []byte("netfate: watching")) })
	return sync.OnceFunc(func() {
		t.Helper()
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Fatalf("netfate: %v; it says:\n%s", err, said)
		}
		t.Logf("netfate said:\n%s", said)
	})
}

// replayed returns what the rows of a recording say, of those that are wanted.
func replayed[R any](t *testing.T, file, command string, zero R, of func(*R) (named, bool)) (list []named) {
	t.Helper()
	for _, r := range replay(t, file, command, zero) {
		if n, ok := of(&r); ok {
			list = append(list, n)
		}
	}
	return list
}

// replay returns the rows that a command, with flags, reads from a recording.
func replay[R any](t *testing.T, file, command string, zero R, flags ...string) []R {
	t.Helper()
	return rowsOf(t, zero, append([]string{command, "-r", file, "-o", "json"}, flags...)...)
}

// rowsOf returns the rows that netfate prints as JSON.
func rowsOf[R any](t *testing.T, zero R, args ...string) (list []R) {
	t.Helper()
	out, err := exec.Command(os.Getenv(binaryEnv), args...).Output()
	if err != nil {
		t.Fatalf("netfate %v: %v", args, err)
	}
	fields := record.Fields(zero)
	for row := range bytes.Lines(out) {
		var r R
		if err := record.ParseJSON(row, fields, &r); err != nil {
			t.Fatal(err)
		}
		list = append(list, r)
	}
	return list
}

// TestNamesLive: the names are there without being asked for, and not with
// --no-names.
func TestNamesLive(t *testing.T) {
	need.Root(t)
	caller := need.Command(t, "./caller")
	client, server := pair(netlab.New(t))
	startDNSMasq(server, serverAddr, "--host-record=alpha.test,10.0.0.2")
	go answerTCP(server.ListenTCP("0.0.0.0:7000"))
	var mu sync.Mutex
	got := map[string][]string{}
	fields := record.Fields(record.Conn{})
	start := func(name string, flags ...string) *watch {
		return startWatch(t, func(row []byte) error {
			var c record.Conn
			if err := record.ParseJSON(row, fields, &c); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			if c.NetNS == client.Inode && c.DstPort == 7000 && c.Event == record.ConnOpened {
				got[name] = append(got[name], c.Name)
			}
			return nil
		}, append([]string{"conns"}, flags...)...)
	}
	with, without := start("with"), start("without", "--no-names")
	if out, err := client.TryExec(caller, "udp", serverAddr+":53", "A", "alpha.test:7000"); err != nil {
		t.Fatalf("caller: %v\n%s", err, out)
	}
	with.stop()
	without.stop()
	if diff := cmp.Diff(map[string][]string{"with": {"alpha.test"}, "without": {""}}, got); diff != "" {
		t.Errorf("names of the connection (-want +got):\n%s", diff)
	}
}
