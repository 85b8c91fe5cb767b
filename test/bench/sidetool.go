package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/test/bench/peers"
	"github.com/netfate/netfate/test/netlab"
)

// How long tools may take: until they watch, until they have read what waits for
// them, and until they have ended.
const (
	startLimit = 30 * time.Second
	drainLimit = 20 * time.Second
	endLimit   = time.Minute
)

// running is a tool at work, netfate or a peer.
type running struct {
	recipe peers.Recipe
	path   string
	dir    string // its own; stdout and stderr are files there
	cmd    *exec.Cmd
	space  *netlab.NetNS // that it runs in, nil for the host's
	export *collector
	ended  chan struct{} // closed when it has
}

// startTool starts a tool for a job, and returns when it watches.
func startTool(w *wire, path string, recipe peers.Recipe) (r *running, err error) {
	r = &running{recipe: recipe, path: path, ended: make(chan struct{})}
	switch recipe.Where {
	case peers.Receiver:
		r.space = w.rx
	case peers.Sender:
		r.space = w.tx
	case peers.Host:
	}
	if r.dir, err = os.MkdirTemp("", "netfate-peer-"); err != nil {
		return nil, fmt.Errorf("make a directory: %w", err)
	}
	// Some give up root's rights, and write there all the same.
	if err := os.Chmod(r.dir, 0o777); err != nil {
		return nil, fmt.Errorf("open a directory for a tool: %w", err)
	}
	for name, text := range recipe.Files {
		if err := os.WriteFile(filepath.Join(r.dir, name), []byte(r.inDir(text)), 0o600); err != nil {
			return nil, fmt.Errorf("write what a tool reads: %w", err)
		}
	}
	if r.export, err = newCollector(w); err != nil {
		return nil, err
	}
	if err := r.launch(w); err != nil {
		_, closed := r.export.close()
		return nil, errors.Join(err, closed)
	}
	if !netlab.Poll(startLimit, func() bool { return r.hasEnded() || recipe.Ready(r.now()) }) || r.hasEnded() {
		said := lastLines(r.now().Said)
		return nil, errors.Join(fmt.Errorf("it does not begin to watch; it says: %s", said), r.kill())
	}
	time.Sleep(settle)
	return r, nil
}

func (r *running) inDir(text string) string { return strings.ReplaceAll(text, peers.Dir, r.dir) }

// launch starts the process; what it prints goes to files, which costs it what a
// user's file would.
func (r *running) launch(w *wire) error {
	args := make([]string, len(r.recipe.Args))
	for i, a := range r.recipe.Args {
		args[i] = r.inDir(a)
	}
	r.cmd = exec.Command(r.path, args...)
	stdout, err := os.Create(filepath.Join(r.dir, "stdout"))
	if err != nil {
		return fmt.Errorf("make a file for what a tool prints: %w", err)
	}
	defer stdout.Close()
	stderr, err := os.Create(filepath.Join(r.dir, "stderr"))
	if err != nil {
		return fmt.Errorf("make a file for what a tool says: %w", err)
	}
	defer stderr.Close()
	r.cmd.Stdout, r.cmd.Stderr = stdout, stderr
	if r.space != nil {
		r.space.Start(r.cmd)
	} else {
		if err := r.cmd.Start(); err != nil {
			return fmt.Errorf("start it: %w", err)
		}
		// If the lab goes away before it ends.
		w.rx.TB().Cleanup(func() { _ = r.cmd.Process.Kill() })
	}
	go func() {
		_ = r.cmd.Wait() // tools end with a status of their own taste
		close(r.ended)
	}()
	return nil
}

func (r *running) hasEnded() bool {
	select {
	case <-r.ended:
		return true
	default:
		return false
	}
}

// now returns what there is to see of it.
func (r *running) now() peers.Running {
	said, _ := os.ReadFile(filepath.Join(r.dir, "stderr")) // what is not there yet was not said
	return peers.Running{PIDs: family(r.cmd.Process.Pid), Said: string(said)}
}

// family returns a process and all that it has started.
func family(pid int) []int {
	pids := []int{pid}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid))
	if err != nil {
		return pids // it has ended
	}
	for _, child := range strings.Fields(string(text)) {
		if n, err := strconv.Atoi(child); err == nil {
			pids = append(pids, family(n)...)
		}
	}
	return pids
}

func procDir(pid int) string { return filepath.Join("/proc", strconv.Itoa(pid)) }

// cpu returns the CPU time that it and what it has started have taken.
func (r *running) cpu() (sum time.Duration) {
	for _, pid := range family(r.cmd.Process.Pid) {
		if t, err := processCPU(procDir(pid)); err == nil { // else it has just ended
			sum += t
		}
	}
	return sum
}

// memory returns the most that each of its processes had resident, added up, in bytes.
func (r *running) memory() (sum uint64) {
	for _, pid := range family(r.cmd.Process.Pid) {
		if _, peak, err := (&netfate{dir: procDir(pid)}).memory(); err == nil { // else it has just ended
			sum += peak
		}
	}
	return sum
}

// held is how many BPF programs a tool holds, and what they have run.
type held struct {
	runs
	held int
}

// programs returns those of all its processes.
func (r *running) programs() (sum held, err error) {
	seen := map[string]bool{}
	for _, pid := range family(r.cmd.Process.Pid) {
		files, err := (&netfate{dir: procDir(pid)}).files("bpf-prog")
		if err != nil {
			return sum, err
		}
		for _, f := range files {
			if seen[f["prog_id"]] {
				continue
			}
			seen[f["prog_id"]] = true
			count, err1 := number(f, "run_cnt")
			ns, err2 := number(f, "run_time_ns")
			if err := errors.Join(err1, err2); err != nil {
				return sum, err
			}
			sum.held++
			sum.count += count
			sum.ns += ns
		}
	}
	return sum, nil
}

// drain waits until it has read what waited for it: its interval is over, and it
// takes no CPU time any more.
func (r *running) drain() {
	const pause = settle / 3
	time.Sleep(interval + pause)
	for end := time.Now().Add(drainLimit); time.Now().Before(end); {
		before := r.cpu()
		time.Sleep(pause)
		if r.cpu()-before <= tick {
			return
		}
	}
}

// lifetime returns the CPU time of a tool that has ended, and of what it has started
// and waited for.
func (r *running) lifetime() time.Duration {
	return r.cmd.ProcessState.UserTime() + r.cmd.ProcessState.SystemTime()
}

// finish ends it, and returns what it has told.
func (r *running) finish() (peers.Told, error) {
	defer os.RemoveAll(r.dir)
	if len(r.recipe.Finish) > 0 {
		args := make([]string, len(r.recipe.Finish))
		for i, a := range r.recipe.Finish {
			args[i] = r.inDir(a)
		}
		if out, err := r.space.TryExec(args...); err != nil {
			return nil, errors.Join(fmt.Errorf("end it: %w: %s", err, lastLines(out)), r.kill())
		}
	} else if err := r.cmd.Process.Signal(unix.SIGINT); err != nil {
		return nil, errors.Join(fmt.Errorf("end it: %w", err), r.kill())
	}
	select {
	case <-r.ended:
	case <-time.After(endLimit):
		return nil, errors.Join(fmt.Errorf("it did not end within %v", endLimit), r.kill())
	}
	stdout, err := os.Open(filepath.Join(r.dir, "stdout"))
	if err != nil {
		return nil, fmt.Errorf("read what it printed: %w", err)
	}
	defer stdout.Close()
	exported, err := r.export.close()
	if err != nil {
		return nil, err
	}
	return r.recipe.Read(peers.Output{Path: r.path, Stdout: stdout, Export: exported, Dir: r.dir})
}

// kill ends it without a word.
func (r *running) kill() error {
	err := r.cmd.Process.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	_, closed := r.export.close()
	return errors.Join(err, closed, os.RemoveAll(r.dir))
}

// lastLines returns the end of what a tool says, on one line.
func lastLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], " / ")
}

var versionNumber = regexp.MustCompile(`\d+\.\d+[\w.+~-]*`)

// versionOf asks a tool for its version; netfate has none before it is released.
func versionOf(path string, args []string) string {
	out, _ := exec.Command(path, args...).CombinedOutput() // some fail where they are asked for help
	if v := versionNumber.Find(out); v != nil {
		return strings.TrimRight(string(v), ".")
	}
	return "of this tree"
}
