package confine

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// confinedEnv is the environment of a test binary that is to confine itself and say what it
// can still do: daemon, or the path of a history.
const confinedEnv = "NETFATE_TEST_CONFINED"

func TestMain(m *testing.M) {
	if as := os.Getenv(confinedEnv); as != "" {
		if err := json.NewEncoder(os.Stdout).Encode(confined(as)); err != nil {
			panic(err)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// can is what a confined process can do: errors by what it tried, "" for none.
type can struct {
	Holds   []string
	Failure string
	Calls   map[string][]string // by name, in each thread
	Tried   map[string]string
}

// threads is how many there are when the process is confined.
const threads = 8

// confined confines this process, and tries what it can in threads that were there
// before and in one that was not.
func confined(as string) (c can) {
	var begun, over, done sync.WaitGroup
	var mu sync.Mutex
	c.Calls, c.Tried = map[string][]string{}, map[string]string{}
	calls := daemonCalls()
	if as != "daemon" {
		calls = historyCalls()
	}
	try := func() {
		for _, name := range calls {
			if number, ok := number(name); ok {
				err := bare(number)
				mu.Lock()
				c.Calls[name] = append(c.Calls[name], err)
				mu.Unlock()
			}
		}
	}
	over.Add(1)
	for range threads {
		begun.Add(1)
		done.Go(func() {
			runtime.LockOSThread()
			begun.Done()
			over.Wait()
			try()
		})
	}
	begun.Wait()
	var err error
	if as == "daemon" {
		c.Holds, err = Daemon()
	} else {
		c.Holds, err = History(as)
	}
	if err != nil {
		c.Failure = err.Error()
		return c
	}
	over.Done()
	done.Wait()
	try()
	for what, do := range tries(as) {
		c.Tried[what] = ""
		if err := do(); err != nil {
			c.Tried[what] = err.Error()
		}
	}
	return c
}

// bare makes a system call with arguments that are wrong for each, and names its error.
func bare(number uintptr) string {
	const wrong = ^uintptr(0)
	if _, _, errno := unix.Syscall6(number, wrong, wrong, wrong, wrong, wrong, wrong); errno != 0 {
		return unix.ErrnoName(errno)
	}
	return ""
}

func number(name string) (uintptr, bool) {
	here, err := arch.GetInfo("")
	if err != nil {
		panic(err)
	}
	n, ok := here.SyscallNames[name]
	return uintptr(n), ok
}

// tries are what a process may want to do.
func tries(as string) map[string]func() error {
	dir := filepath.Dir(as)
	read := func(path string) func() error {
		return func() error {
			_, err := os.ReadFile(path)
			return err
		}
	}
	return map[string]func() error{
		"run a program": func() error {
			cmd := exec.Command("/proc/self/exe", "-test.run=^$")
			cmd.Env = []string{"HOME=/"} // which is not this one's
			return cmd.Run()
		},
		"make a socket": func() error { return closeFD(unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)) },
		"make a map":    func() error { return closeFD(bpfMap()) },
		"enter a netns": func() error { return enter("/proc/self/ns/net") },
		"read itself":   read("/proc/self/statm"),
		"read the host": read("/etc/passwd"),
		"look at others": func() error {
			_, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", os.Getppid()))
			return err
		},
		"write beside":     func() error { return os.WriteFile(filepath.Join(dir, "new"), []byte("x"), 0o600) },
		"write elsewhere":  func() error { return os.WriteFile(filepath.Join(filepath.Dir(dir), "elsewhere"), nil, 0o600) },
		"follow a link":    read(filepath.Join(dir, "link")),
		"signal a parent":  func() error { return unix.Kill(os.Getppid(), 0) },
		"begin a thread":   func() error { return thread() },
		"bound its memory": func() error { return unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: 1 << 40, Max: 1 << 40}) },
		"listen": func() error {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err == nil {
				err = l.Close()
			}
			return err
		},
	}
}

func closeFD(fd int, err error) error {
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// bpfMap makes an array of one word, if this process may.
func bpfMap() (int, error) {
	var attr [72]byte
	for i, v := range []uint32{2, 4, 4, 1} { // BPF_MAP_TYPE_ARRAY, its key, its value, one of them
		binary.NativeEndian.PutUint32(attr[4*i:], v)
	}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_MAP_CREATE, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// enter is into this very namespace.
func enter(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return errors.Join(unix.Setns(fd, unix.CLONE_NEWNET), unix.Close(fd))
}

// thread waits for one that did not exist.
func thread() error {
	done := make(chan struct{})
	go func() {
		runtime.LockOSThread() // and never unlocks: it ends
		close(done)
	}()
	<-done
	return nil
}

// child has this binary confine itself.
func child(t *testing.T, as string) (c can) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env, cmd.Dir = append(os.Environ(), confinedEnv+"="+as), t.TempDir() // what it can write, it does
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("confined: %v\n%s", err, said.String())
	}
	if err := json.Unmarshal(out, &c); err != nil || c.Failure != "" {
		t.Fatalf("got %q, %v, %s", out, err, c.Failure)
	}
	return c
}

// refused checks that all calls fail in all threads.
func (c *can) refused(t *testing.T, calls []string) {
	t.Helper()
	for _, name := range calls {
		if _, ok := number(name); !ok {
			continue
		}
		if got := c.Calls[name]; len(got) != threads+1 || slices.ContainsFunc(got, func(s string) bool { return s != "EPERM" }) {
			t.Errorf("%s: got %q, want EPERM in all %d threads", name, got, threads+1)
		}
	}
}

// works checks what a process can and cannot do, as far as a test may do it at all.
func (c *can) works(t *testing.T, want map[string]bool) {
	t.Helper()
	for what, want := range want {
		if got, ok := c.Tried[what]; !ok || (got == "") != want {
			t.Errorf("%s: got %q, want it to work: %v", what, got, want)
		}
	}
}

// place is a directory of a history, with a link out of it.
func place(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "history", "history.duckdb")
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(filepath.Dir(path), "link")); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDaemon(t *testing.T) {
	c := child(t, "daemon")
	if want, _ := Holds(); !slices.Equal(c.Holds, want) || len(want) == 0 {
		t.Fatalf("got %q, want %q", c.Holds, want)
	}
	c.refused(t, daemonCalls())
	root := os.Geteuid() == 0
	c.works(t, map[string]bool{
		"run a program": true, "make a socket": true, "listen": true, "make a map": root, "enter a netns": root, "read itself": true, "read the host": true,
	})
}

func TestHistory(t *testing.T) {
	path := place(t)
	c := child(t, path)
	if _, want := Holds(); !slices.Equal(c.Holds, want) || len(want) == 0 {
		t.Fatalf("got %q, want %q", c.Holds, want)
	}
	c.refused(t, historyCalls())
	land := slices.Contains(c.Holds, "landlock")
	c.works(t, map[string]bool{
		"run a program": false, "make a socket": false, "listen": false, "make a map": false, "enter a netns": false, "signal a parent": false,
		"read itself": true, "write beside": true, "begin a thread": true, "bound its memory": true,
		"read the host": !land, "follow a link": !land, "look at others": !land, "write elsewhere": !land,
	})
	t.Logf("what holds: %s", strings.Join(c.Holds, ", "))
}

// TestLinkedHistory has the file somewhere else than its path says.
func TestLinkedHistory(t *testing.T) {
	there := place(t)
	if err := os.WriteFile(there, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	path := place(t)
	if err := os.Symlink(there, path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(there), "file"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(filepath.Join(filepath.Dir(path), "link")), os.Symlink(filepath.Join(filepath.Dir(there), "file"), filepath.Join(filepath.Dir(path), "link"))); err != nil {
		t.Fatal(err)
	}
	c := child(t, path)
	c.works(t, map[string]bool{"write beside": true, "follow a link": true})
}

// TestFilter runs the filters on calls of this architecture and of others.
func TestFilter(t *testing.T) {
	here, err := arch.GetInfo("")
	if err != nil {
		t.Fatal(err)
	}
	const allowed, eperm, enosys = unix.SECCOMP_RET_ALLOW, unix.SECCOMP_RET_ERRNO | int(unix.EPERM), unix.SECCOMP_RET_ERRNO | int(unix.ENOSYS)
	for _, calls := range [][]string{daemonCalls(), historyCalls()} {
		raw, err := program(calls)
		if err != nil {
			t.Fatal(err)
		}
		code, ok := bpf.Disassemble(raw)
		if !ok {
			t.Fatal("the filter has instructions that nobody knows")
		}
		vm, err := bpf.NewVM(code)
		if err != nil {
			t.Fatal(err)
		}
		run := func(of *arch.Info, number int) int {
			var data [64]byte // struct seccomp_data, words as the machine of this test reads them
			binary.BigEndian.PutUint32(data[0:], uint32(number))
			binary.BigEndian.PutUint32(data[4:], uint32(of.ID))
			got, err := vm.Run(data[:])
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		for name, number := range here.SyscallNames {
			want := allowed
			if slices.Contains(calls, name) {
				want = eperm
			}
			if got := run(here, number); got != want {
				t.Errorf("%s: got %#x, want %#x", name, got, want)
			}
			for _, other := range []*arch.Info{arch.I386, arch.ARM, arch.X86_64, arch.AARCH64} {
				if other.ID != here.ID && run(other, number) != eperm {
					t.Errorf("call %d of %s passes", number, other.Name)
				}
			}
			if here.ID == arch.X86_64.ID && run(here, number|arch.X32.SeccompMask) != enosys {
				t.Errorf("%s passes as one of x32", name)
			}
		}
	}
}

// TestNames holds that no name is wrong, since one that an architecture does not have is
// left out, and none is there twice.
func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range historyCalls() {
		_, amd64 := arch.X86_64.SyscallNames[name]
		_, arm64 := arch.AARCH64.SyscallNames[name]
		if !amd64 && !arm64 {
			t.Errorf("there is no system call %q", name)
		}
		if seen[name] {
			t.Errorf("%s is there twice", name)
		}
		seen[name] = true
	}
}
