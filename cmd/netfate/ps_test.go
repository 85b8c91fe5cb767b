package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/netfate/netfate/internal/inventory"
	"github.com/netfate/netfate/internal/loader"
	"github.com/netfate/netfate/test/need"
)

// play runs one command and returns what it prints and its exit code.
func play(t *testing.T, cmd *cobra.Command, args ...string) (stdout string, code int, err error) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	kept := os.Stdout
	os.Stdout = w
	read := make(chan string)
	go func() {
		text, _ := io.ReadAll(r)
		read <- string(text)
	}()
	root := newRoot()
	if c, _, err := root.Find([]string{cmd.Name()}); err == nil && c != root {
		root.RemoveCommand(c)
	}
	root.AddCommand(cmd)
	root.SetArgs(append([]string{cmd.Name()}, args...))
	err = root.ExecuteContext(t.Context())
	os.Stdout = kept
	_ = w.Close()
	stdout = <-read
	_ = r.Close()
	return stdout, exitCode(err), err
}

func TestPsAndLogUsage(t *testing.T) {
	for _, c := range []struct{ command, args, want string }{
		{"ps", "-o xml", "table, json or csv"},
		{"ps", "--watch --every 1ms", "shortest"},
		{"ps", "--watch -d -1s", "negative"},
		{"ps", "--sample -1s", "negative"},
		{"ps", "--every 1s", "for --watch"},
		{"ps", "x", "no arguments"},
		{"log", "-o csv", "table or json"},
		{"log", "-d -1s", "negative"},
		{"log", "--pid -1", "negative"},
		{"log", "x", "no arguments"},
	} {
		cmd := newPs()
		if c.command == "log" {
			cmd = newLog()
		}
		out, code, err := play(t, cmd, strings.Fields(c.args)...)
		if code != exitUsage || err == nil || !strings.Contains(err.Error(), c.want) || out != "" {
			t.Errorf("%s %s: got %d, %v, %q, want %q", c.command, c.args, code, err, out, c.want)
		}
	}
}

func TestProgramsCalled(t *testing.T) {
	found := []inventory.Program{{ID: 1, Name: "short"}, {ID: 2, Name: "handle_sys_ente"}, {ID: 3, Name: "handle_sys_enter_write"}, {ID: 4, Name: "short"}}
	for name, want := range map[string]string{"short": "[1 4]", "handle_sys_enter_write": "[2 3]", "3": "[3]", "other": "[]", "": "[]"} {
		if got := fmt.Sprint(programsCalled(found, name)); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

const printer = `
char LICENSE[] SEC("license") = "GPL";
SEC("raw_tp/task_rename") int renamed_in_ps_test(void *ctx)
{
	bpf_printk("ps test %d", (int)(bpf_get_current_pid_tgid() >> 32));
	return 0;
}
SEC("raw_tp/task_rename") int silent_ps_test(void *ctx) { return 0; }
`

// TestPsAndLog watches an object of a user's.
func TestPsAndLog(t *testing.T) {
	need.Root(t)
	object, err := loader.Open(loader.Config{Object: compileObject(t, printer, "-g"), StateDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	running, err := object.Load()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := running.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := running.Attach(); err != nil {
		t.Fatal(err)
	}
	defer rename(t)()

	out, _, err := play(t, newPs(), "--all")
	if err != nil || !strings.Contains(out, "renamed_in_ps_test") || !strings.Contains(out, "task_rename") {
		t.Errorf("got %v, %s", err, out)
	}
	out, _, err = play(t, newPs(), "--all", "--watch", "--every", "200ms", "-d", "500ms", "-o", "json")
	if err != nil || rateOf(t, out, "renamed_in_ps_test") == 0 {
		t.Errorf("got %v, %s", err, out)
	}
	out, _, err = play(t, newLog(), "--prog", "renamed_in_ps_test", "-d", "500ms", "-o", "json")
	if want := fmt.Sprintf(`"text":"ps test %d"`, os.Getpid()); err != nil || !strings.Contains(out, want) {
		t.Errorf("got %v, %s, want %s", err, out, want)
	}
	if out, _, err = play(t, newLog(), "--comm", "nobody by that", "-d", "100ms"); err != nil || strings.Contains(out, "ps test") {
		t.Errorf("got %v, %s", err, out)
	}
	for name, want := range map[string]string{"silent_ps_test": "cannot be told", "no such": "ps --all lists"} {
		if _, code, err := play(t, newLog(), "--prog", name, "-d", "10ms"); code != exitFailed || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%s: got %d, %v, want %s", name, code, err, want)
		}
	}
}

// rename renames a thread again and again until the result is called.
func rename(t *testing.T) func() {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				if err := os.WriteFile("/proc/thread-self/comm", []byte("netfate.test"), 0); err != nil {
					t.Error(err)
					return
				}
			}
		}
	}()
	return func() { close(stop); <-done }
}

// rateOf returns the runs a second of the last row of a program.
func rateOf(t *testing.T, lines, name string) float64 {
	t.Helper()
	rate := 0.0
	for line := range strings.Lines(lines) {
		var row struct {
			Name string
			Rate struct {
				RunsPerSecond float64 `json:"runs_per_second"`
			}
		}
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if row.Name == name {
			rate = row.Rate.RunsPerSecond
		}
	}
	return rate
}
