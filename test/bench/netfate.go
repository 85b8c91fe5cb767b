package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// netfate is a running netfate, as the kernel sees it.
type netfate struct {
	cmd      *exec.Cmd
	dir      string        // in /proc
	attached time.Duration // from its start until everything was attached
	rest     chan error    // the end of its stderr
}

// interval is how often netfate reports here.
const interval = time.Second

// startNetfate starts the real binary as a user would, with all sensors or those
// of a command, and waits until it says that it watches.
func startNetfate(path string, command ...string) (*netfate, error) {
	return startNetfateInto(path, nil, command...)
}

// startNetfateInto does, and what netfate prints goes into w.
func startNetfateInto(path string, w io.Writer, command ...string) (*netfate, error) {
	return launch(path, w, append(command, "--every", interval.String(), "--rows", "20")...)
}

// launch starts the binary with these arguments, and waits until it watches.
func launch(path string, w io.Writer, args ...string) (*netfate, error) {
	n := &netfate{cmd: exec.Command(path, args...), rest: make(chan error, 1)}
	n.cmd.Stdout = w
	stderr, err := n.cmd.StderrPipe()
	if err != nil {
		return nil, fmt.Errorf("start netfate: %w", err)
	}
	begin := time.Now()
	if err := n.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start netfate: %w", err)
	}
	n.dir = filepath.Join("/proc", strconv.Itoa(n.cmd.Process.Pid))
	lines := bufio.NewScanner(stderr)
	var said []string
	for lines.Scan() {
		if strings.Contains(lines.Text(), "watching") {
			n.attached = time.Since(begin)
			go func() {
				_, err := io.Copy(io.Discard, stderr)
				n.rest <- err
			}()
			return n, nil
		}
		said = append(said, lines.Text())
	}
	return nil, fmt.Errorf("start netfate: %w: %s", n.cmd.Wait(), strings.Join(said, "; "))
}

// stop ends it as Ctrl-C does, and waits.
func (n *netfate) stop() error {
	err := n.cmd.Process.Signal(unix.SIGINT)
	return errors.Join(err, <-n.rest, n.cmd.Wait())
}

// cpu returns the CPU time that it has taken, in the kernel's name too.
func (n *netfate) cpu() (time.Duration, error) { return processCPU(n.dir) }

// memory returns its resident memory, now and at the most, in bytes.
func (n *netfate) memory() (now, peak uint64, err error) {
	text, err := os.ReadFile(filepath.Join(n.dir, "status"))
	if err != nil {
		return 0, 0, fmt.Errorf("read netfate's memory: %w", err)
	}
	fields := parseFields(string(text))
	now, err = kilobytes(fields["VmRSS"])
	if err != nil {
		return 0, 0, err
	}
	peak, err = kilobytes(fields["VmHWM"])
	return now, peak, err
}

func kilobytes(text string) (uint64, error) {
	n, err := strconv.ParseUint(strings.TrimSuffix(text, " kB"), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("parse memory: %w", err)
	}
	return n * 1024, nil
}

// parseFields reads lines of "name:<space>value", as status and fdinfo have
// them.
func parseFields(text string) map[string]string {
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(line, ":"); ok {
			fields[name] = strings.TrimSpace(value)
		}
	}
	return fields
}

// files returns what the kernel says of each of its open files of a kind,
// such as bpf-map.
func (n *netfate) files(kind string) ([]map[string]string, error) {
	entries, err := os.ReadDir(filepath.Join(n.dir, "fd"))
	if err != nil {
		return nil, fmt.Errorf("list netfate's files: %w", err)
	}
	var all []map[string]string
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(n.dir, "fd", e.Name()))
		if errors.Is(err, os.ErrNotExist) {
			continue // closed meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("list netfate's files: %w", err)
		}
		if target != "anon_inode:"+kind {
			continue
		}
		text, err := os.ReadFile(filepath.Join(n.dir, "fdinfo", e.Name()))
		if err != nil {
			return nil, fmt.Errorf("list netfate's files: %w", err)
		}
		all = append(all, parseFields(string(text)))
	}
	return all, nil
}

// number reads a field of fdinfo.
func number(fields map[string]string, name string) (uint64, error) {
	n, err := strconv.ParseUint(fields[name], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("parse %s in fdinfo: %w", name, err)
	}
	return n, nil
}

// runs returns the statistics of its tracepoint programs by their hooks.
func (n *netfate) runs() (map[string]runs, error) {
	files, err := n.files("bpf-prog")
	if err != nil {
		return nil, err
	}
	all := map[string]runs{}
	for _, f := range files {
		id, err := number(f, "prog_id")
		if err != nil {
			return nil, err
		}
		hook, err := hookOf(ebpf.ProgramID(id))
		if err != nil {
			return nil, err
		}
		count, err1 := number(f, "run_cnt")
		ns, err2 := number(f, "run_time_ns")
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		all[hook] = runs{count, ns}
	}
	return all, nil
}

// hookOf returns the tracepoint that a program of netfate's is named after, or
// its name if it is on none.
func hookOf(id ebpf.ProgramID) (string, error) {
	p, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return "", fmt.Errorf("open a program of netfate's: %w", err)
	}
	info, err := p.Info()
	if err = errors.Join(err, p.Close()); err != nil {
		return "", fmt.Errorf("ask for a program's name: %w", err)
	}
	for _, name := range tracepoints() {
		if name == info.Name || len(name) > maxName && name[:maxName] == info.Name {
			return name, nil
		}
	}
	return info.Name, nil
}

// maxName is where the kernel cuts the names of programs: BPF_OBJ_NAME_LEN
// less one for the zero at the end.
const maxName = 15

// kernelMap is what one map takes.
type kernelMap struct {
	name  string
	bytes uint64
}

// maps returns what its maps take in the kernel.
func (n *netfate) maps() ([]kernelMap, error) {
	files, err := n.files("bpf-map")
	if err != nil {
		return nil, err
	}
	var all []kernelMap
	seen := map[uint64]bool{}
	for _, f := range files {
		id, err1 := number(f, "map_id")
		size, err2 := number(f, "memlock")
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		if seen[id] {
			continue
		}
		seen[id] = true
		m, err := ebpf.NewMapFromID(ebpf.MapID(id))
		if err != nil {
			return nil, fmt.Errorf("open a map of netfate's: %w", err)
		}
		info, err := m.Info()
		if err = errors.Join(err, m.Close()); err != nil {
			return nil, fmt.Errorf("ask for a map's name: %w", err)
		}
		all = append(all, kernelMap{info.Name, size})
	}
	return all, nil
}
