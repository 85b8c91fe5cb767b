// Package peers knows the programs that netfate is measured beside: how each is
// started at its best for a job, when it sees its first packet, what it tells in the
// end, and what it cannot do. It starts nothing and measures nothing: test/bench does.
// netfate is one of the tools and has no rights that others have not.
package peers

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// Job is a question that tools are asked.
type Job string

// The jobs, and what the keys of [Told] are in each.
const (
	Drops     Job = "drops"     // the kernel's reason, without SKB_DROP_REASON_
	Flows     Job = "flows"     // address and port that a UDP flow goes to
	Processes Job = "processes" // pid
	URLs      Job = "urls"      // path
	Names     Job = "names"     // name that was asked for, without the last dot
)

// Jobs returns all of them in the order of the page.
func Jobs() []Job { return []Job{Drops, Flows, Processes, URLs, Names} }

// Count is how much of one kind there was. A tool that does not tell one of both
// leaves it zero.
type Count struct {
	Events uint64 // packets, requests or queries
	Bytes  uint64 // IP packets of a flow, or what a process sent and received
}

// Told is what there was of each kind, by the keys of the job.
type Told map[string]Count

func (t Told) add(key string, c Count) {
	sum := t[key]
	sum.Events += c.Events
	sum.Bytes += c.Bytes
	t[key] = sum
}

// Where is the namespace that a tool runs in.
type Where int

// The network namespaces of the lab.
const (
	Host     Where = iota // sees all of them
	Receiver              // sees only the end of the wire that receives
	Sender                // likewise
)

// What tools find in the lab.
const (
	Device    = "wire"           // the interface, at both ends
	Collector = "127.0.0.1:9995" // where flows may be exported to
	Dir       = "{dir}"          // in Args and Files: a directory of the tool's own
)

// Recipe is how a tool does a job at its best.
type Recipe struct {
	Args   []string
	Why    string // that is its best; a sentence of the page
	Where  Where
	Files  map[string]string // that it needs in its directory
	Ready  Ready             // whether it has begun to watch
	Finish []string          // the command that makes it tell the rest and end, for which SIGINT is not enough
	Header uint64            // bytes that it counts of each packet over the payload, where it tells bytes only
	Read   func(Output) (Told, error)
}

// Output is what a tool has left behind when it has ended.
type Output struct {
	Path   string // of the tool
	Stdout io.Reader
	Export io.Reader // all that came to [Collector]
	Dir    string
}

// Tool is a program that watches a network. Every job is in Does or in Cannot.
type Tool struct {
	Name    string
	Command string         // its file's name, if that is not the tool's
	Package string         // Debian's that has it, empty if none
	Env     string         // the variable that has its path
	Kprobes bool           // it needs them
	Version []string       // arguments that make it say its version
	Does    map[Job]Recipe // how
	Cannot  map[Job]string // why not
}

// All returns netfate, by its path, and then its peers.
func All(netfate string) []Tool {
	return []Tool{
		ourselves(netfate), bpftrace(), perf(), tcpdump(), tshark(), ngrep(), httpry(), softflowd(), pmacct(), nethogs(), pwru(), retis(),
	}
}

// Find returns the path of the tool: what the environment names, or what a
// package has installed. The error is what a table says of one that is absent, or
// that cannot work on this kernel.
func (t Tool) Find() (string, error) {
	path, err := t.find()
	if _, refused := os.Stat(kprobes); t.Kprobes && refused != nil {
		needs := errors.New("it needs kprobes, which this kernel refuses")
		if err == nil {
			return "", needs
		}
		return "", fmt.Errorf("%w; %w", err, needs)
	}
	return path, err
}

// kprobes is there on kernels that have them.
const kprobes = "/sys/bus/event_source/devices/kprobe"

func (t Tool) find() (string, error) {
	if path := os.Getenv(t.Env); t.Env != "" && path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("absent: %s: %w", t.Env, err)
		}
		return path, nil
	}
	if t.Package == "" {
		return "", fmt.Errorf("absent: no package of Debian's has it, and %s does not name its path", t.Env)
	}
	command := t.Command
	if command == "" {
		command = t.Name
	}
	path, err := exec.LookPath(command)
	if errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("absent: Debian's package %s is not installed", t.Package)
	}
	return path, err
}

// captureOnly is what who reads packets of an interface cannot do.
func captureOnly(also map[Job]string) map[Job]string {
	cannot := map[Job]string{
		Drops:     "sees packets where they pass an interface, not what becomes of them",
		Processes: "knows no processes",
	}
	for job, why := range also {
		cannot[job] = why
	}
	return cannot
}
