package scenario

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

// podman runs containers of its own, apart from the host's.
type podman struct {
	t      *testing.T
	global []string
	group  string // cgroup that all containers are below
	socket string
}

// newPodman starts one that answers at a socket, with an image that has a program
// and nothing else.
func newPodman(t *testing.T, program string) *podman {
	t.Helper()
	dir := t.TempDir()
	p := &podman{t: t, group: fmt.Sprintf("netfate-test-%d", os.Getpid()), socket: filepath.Join(dir, "podman.sock")}
	p.global = []string{
		"--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"), "--tmpdir", filepath.Join(dir, "tmp"),
		"--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime", "runc",
	}
	t.Cleanup(p.remove)
	image := filepath.Join(dir, "image.tar")
	p.exec("tar", "-C", filepath.Dir(program), "-cf", image, filepath.Base(program))
	p.exec("podman", append(p.global, "import", image, "netfate-test")...)
	service := exec.Command("podman", append(p.global, "system", "service", "--time", "0", "unix://"+p.socket)...)
	if err := service.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = service.Process.Kill()
		_ = service.Wait() // it was killed
	})
	netlab.WaitFor(t, "podman to listen", func() bool {
		_, err := os.Stat(p.socket)
		return err == nil
	})
	return p
}

// run runs the image's program in a network namespace, until it ends.
func (p *podman) run(name string, n *netlab.NetNS, argv ...string) {
	p.t.Helper()
	p.exec("podman", append(append(p.global, "run", "--name", name, "--network", "ns:"+n.Path(), "--cgroup-parent", p.group,
		// The usual ones may be above what this host allows.
		"--ulimit", "nofile=256:256", "--ulimit", "nproc=256:256", "netfate-test"), argv...)...)
}

func (p *podman) exec(name string, args ...string) {
	p.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		p.t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

// remove leaves nothing: containers, mounts, cgroups.
func (p *podman) remove() {
	p.exec("podman", append(p.global, "rm", "--all", "--force", "--time", "0")...)
	for _, dir := range p.global[1:2] {
		for unix.Unmount(dir, 0) == nil {
			continue // podman binds its directory to itself, more than once
		}
	}
	var groups []string
	for _, pattern := range []string{"/sys/fs/cgroup/" + p.group, "/sys/fs/cgroup/*/" + p.group} {
		found, _ := filepath.Glob(pattern) // errs on bad patterns only
		groups = append(groups, found...)
	}
	for _, group := range groups {
		netlab.Poll(5*time.Second, func() bool { return removeGroups(group) == nil })
		if _, err := os.Stat(group); !errors.Is(err, fs.ErrNotExist) {
			p.t.Errorf("cgroup %s stays: %v", group, err)
		}
	}
}

// removeGroups removes a cgroup and those below it.
func removeGroups(dir string) error {
	below, err := filepath.Glob(filepath.Join(dir, "*", "cgroup.procs"))
	if err != nil {
		return err
	}
	for _, file := range below {
		if err := removeGroups(filepath.Dir(file)); err != nil {
			return err
		}
	}
	return unix.Rmdir(dir)
}

// TestPodmanNames has a container of podman talk: netfate calls it what podman does,
// while it runs and when it is over.
func TestPodmanNames(t *testing.T) {
	need.Root(t)
	need.Time(t)
	client, server := pair(netlab.New(t))
	p := newPodman(t, need.Command(t, "./asker"))
	listener := server.ListenTCP(serverAddr + ":7000")
	var mu sync.Mutex
	events := map[record.ConnEvent]string{} // the container's name in each
	fields := record.Fields(record.Conn{})
	name := fmt.Sprintf("shop-web-%d", os.Getpid())
	// Where cgroups are of version 1 a process has to be there yet when an interval
	// ends and /proc is read, in both.
	named := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return events[record.ConnOpen] == name && events[record.ConnOpened] == name
	}
	go func() { // the server answers once netfate knows who asks, or never will
		conn, err := listener.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil {
			t.Error(err)
		}
		netlab.Poll(10*time.Second, named)
		if _, err := conn.Write([]byte(line)); err != nil {
			t.Error(err)
		}
	}()
	each := func(row []byte) error {
		var c record.Conn
		if err := record.ParseJSON(row, fields, &c); err != nil {
			return err
		}
		if c.NetNS != client.Inode || c.Comm != "asker" {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		events[c.Event] = c.ContainerName
		if len(c.Container) != 12 || strings.Trim(c.Container, "0123456789abcdef") != "" {
			t.Errorf("got container %q, want the first 12 digits of an id", c.Container)
		}
		return nil
	}
	live := startWatch(t, each, "conns", "--live", "--every", "500ms", "--runtimes", "docker:"+p.socket)
	told := startWatch(t, each, "conns", "--runtimes", "docker:"+p.socket)
	p.run(name, client, "/asker", "tcp", clientAddr+":7001", serverAddr+":7000")
	live.stop()
	told.stop()
	if events[record.ConnOpen] != name || events[record.ConnClosed] != name {
		t.Errorf("got names %q, want %s while it is open and when it is closed", events, name)
	}
}
