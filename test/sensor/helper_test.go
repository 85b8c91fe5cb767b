package sensor

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// helperEnv tells this program that it is to be a worker, and not to test.
const helperEnv = "NETFATE_SENSOR_HELPER"

func TestMain(m *testing.M) {
	switch os.Getenv(helperEnv) {
	case "":
		os.Exit(m.Run())
	case tlsHelper:
		if err := speakTLS(os.Args[1:]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if err := obey(strings.Fields(lines.Text())); err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println("done")
	}
}

// obey does with an inherited socket what a line says: use N [ADDRESS] sends a
// byte, to the address if there is one; get N receives.
func obey(words []string) error {
	fd, err := strconv.Atoi(words[1])
	if err != nil {
		return err
	}
	switch {
	case words[0] == "get":
		_, _, err = unix.Recvfrom(fd, make([]byte, 16), 0)
	case len(words) == 2:
		_, err = unix.Write(fd, []byte{1})
	default:
		err = unix.Sendto(fd, []byte{1}, 0, sockaddr(netip.MustParseAddrPort(words[2])))
	}
	return err
}

func sockaddr(addr netip.AddrPort) unix.Sockaddr {
	if addr.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: addr.Addr().As4(), Port: int(addr.Port())}
	}
	return &unix.SockaddrInet6{Addr: addr.Addr().As16(), Port: int(addr.Port())}
}

// worker is a process that inherits sockets and does with them what it is told.
type worker struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines io.WriteCloser
	says  *bufio.Reader
}

// startWorker hands sockets to a process of their own: the first is its number
// 3. This process has them no longer.
func startWorker(t *testing.T, sockets []int) *worker {
	t.Helper()
	self, err := os.Executable()
	check(t, err)
	w := &worker{t: t, cmd: exec.Command(self)}
	w.cmd.Env = append(os.Environ(), helperEnv+"=1")
	w.cmd.Stderr = os.Stderr
	for _, fd := range sockets {
		w.cmd.ExtraFiles = append(w.cmd.ExtraFiles, os.NewFile(uintptr(fd), "socket"))
	}
	w.lines, err = w.cmd.StdinPipe()
	check(t, err)
	out, err := w.cmd.StdoutPipe()
	check(t, err)
	w.says = bufio.NewReader(out)
	check(t, w.cmd.Start())
	for _, f := range w.cmd.ExtraFiles {
		check(t, f.Close())
	}
	t.Cleanup(w.stop)
	return w
}

// do waits until the worker has done something with a socket.
func (w *worker) do(format string, args ...any) {
	w.t.Helper()
	_, err := fmt.Fprintf(w.lines, format+"\n", args...)
	check(w.t, err)
	if said, err := w.says.ReadString('\n'); err != nil || said != "done\n" {
		w.t.Fatalf("worker, told "+format+": got %q, %v", append(args, said, err)...)
	}
}

func (w *worker) pid() uint32 { return uint32(w.cmd.Process.Pid) }

// stop ends the worker, and with it its sockets. It may be called twice.
func (w *worker) stop() {
	w.lines.Close()
	_ = w.cmd.Wait()
}
