package tracelog

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	const at = 12345*time.Second + 678901*time.Microsecond
	for _, c := range []struct {
		name, line string
		want       Entry
		ok         bool
	}{
		{"usual", "            bash-1234    [001] d..31 12345.678901: bpf_trace_printk: hello 5",
			Entry{Since: at, PID: 1234, Comm: "bash", CPU: 1, Flags: "d..31", Event: "bpf_trace_printk", Text: "hello 5"}, true},
		{"before 5.9", "           <...>-7     [000] d... 12345.678901: 0x00000001: old",
			Entry{Since: at, PID: 7, Comm: "<...>", Flags: "d...", Event: "0x00000001", Text: "old"}, true},
		{"hostile comm", " a-1 [000] d: x:-1234567 [012] ....1 12345.678901: bpf_trace_printk: t",
			Entry{Since: at, PID: 1234567, Comm: "a-1 [000] d: x:", CPU: 12, Flags: "....1", Event: "bpf_trace_printk", Text: "t"}, true},
		{"too wide", "       kworker/-3-12      (     10) [001] d..31 12345.678901: bpf_trace_printk: t",
			Entry{}, false}, // 17 bytes before the dash: the kernel makes no such line
		{"record-tgid", "   Web Content-9-12      (     10) [001] d..31 12345.678901: bpf_trace_printk: t",
			Entry{Since: at, PID: 12, Comm: "Web Content-9", CPU: 1, Flags: "d..31", Event: "bpf_trace_printk", Text: "t"}, true},
		{"record-tgid, unknown", "   Web Content-9-12      (-------) [001] d..31 12345.678901: bpf_trace_printk: t",
			Entry{Since: at, PID: 12, Comm: "Web Content-9", CPU: 1, Flags: "d..31", Event: "bpf_trace_printk", Text: "t"}, true},
		{"no irq-info", "            bash-1234    [001] 12345.678901: bpf_trace_printk: a: b",
			Entry{Since: at, PID: 1234, Comm: "bash", CPU: 1, Event: "bpf_trace_printk", Text: "a: b"}, true},
		{"clock counter", "            bash-1234    [001] ..... 77: bpf_trace_printk: t",
			Entry{Since: 77, PID: 1234, Comm: "bash", CPU: 1, Flags: ".....", Event: "bpf_trace_printk", Text: "t"}, true},
		{"empty text", "            bash-1234    [001] d..31 12345.678901: bpf_trace_printk: ",
			Entry{Since: at, PID: 1234, Comm: "bash", CPU: 1, Flags: "d..31", Event: "bpf_trace_printk"}, true},
		{"another event", "            bash-1234    [001] d..31 12345.678901: sched_switch: prev_comm=a",
			Entry{Since: at, PID: 1234, Comm: "bash", CPU: 1, Flags: "d..31", Event: "sched_switch", Text: "prev_comm=a"}, true},
		{"lost", "CPU:3 [LOST 1500 EVENTS]", Entry{CPU: 3, Lost: 1500}, true},
		{"lost, unknown number", "CPU:3 [LOST EVENTS]", Entry{CPU: 3, Lost: 1}, true},
		{"lost nothing", "CPU:3 [LOST 0 EVENTS]", Entry{}, false},
		{"second line", "and more", Entry{}, false},
		{"nothing", "", Entry{}, false},
		{"no time", "            bash-1234    [001] d..31 x: bpf_trace_printk: t", Entry{}, false},
		{"no pid", "            bash-x       [001] d..31 1.000000: bpf_trace_printk: t", Entry{}, false},
		{"no cpu", "            bash-1234    (   1", Entry{}, false},
		{"endless time", "            bash-1234    [001] d..31 99999999999999999999.000000: bpf_trace_printk: t", Entry{}, false},
	} {
		got, ok := Parse([]byte(c.line))
		if !ok {
			got = Entry{}
		}
		if diff := cmp.Diff(c.want, got); diff != "" || ok != c.ok {
			t.Errorf("%s: ok %v, want %v (-want +got):\n%s", c.name, ok, c.ok, diff)
		}
	}
}

func TestFeed(t *testing.T) {
	const head = "            bash-1234    [001] d..31 1.000000: bpf_trace_printk: "
	text := head + "one\ntwo\n\nCPU:0 [LOST 5 EVENTS]\n" + head + "three\n" + head + strings.Repeat("x", maxLine) + "\n"
	for _, size := range []int{1, 7, 4096, len(text)} {
		var got []string
		lost := uint64(0)
		p := &Pipe{}
		for b := []byte(text); len(b) > 0; b = b[min(size, len(b)):] {
			if err := p.feed(b[:min(size, len(b))], func(e *Entry) error {
				lost += e.Lost
				if e.Lost == 0 {
					got = append(got, e.Text[:min(len(e.Text), 5)])
					if e.PID != 1234 {
						t.Errorf("%q: got pid %d", e.Text, e.PID)
					}
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff([]string{"one", "two", "three", "xxxxx"}, got[:4]); diff != "" || lost != 5 {
			t.Errorf("%d bytes at a time: lost %d (-want +got):\n%s", size, lost, diff)
		}
	}
	stop := errors.New("stop")
	if err := new(Pipe).feed([]byte(text), func(*Entry) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v, want %v", err, stop)
	}
}

// TestNameOfLines has a task that calls itself "a", line feed, line feed, "b".
func TestNameOfLines(t *testing.T) {
	var got []Entry
	p := &Pipe{}
	const text = "            a\n\nb-1234    [001] d..31 1.000000: bpf_trace_printk: one\nmore\n"
	if err := p.feed([]byte(text), func(e *Entry) error {
		got = append(got, *e)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	want := []Entry{
		{Text: "            a", Continued: true}, // not known yet to be a name
		{Since: time.Second, PID: 1234, Comm: "a\n\nb", CPU: 1, Flags: "d..31", Event: "bpf_trace_printk", Text: "one"},
		{Since: time.Second, PID: 1234, Comm: "a\n\nb", CPU: 1, Flags: "d..31", Event: "bpf_trace_printk", Text: "more", Continued: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestFormats(t *testing.T) {
	f := FindFormats([]byte("\x01\x00BPF triggered from PID %d.\n\x00first %d\nsecond\n\x00%s: 100%% of %llu at %pI4\x00\xff\xfe\x00ab\x00[x]+\x00"), []byte("plain"))
	for text, want := range map[string]bool{
		"BPF triggered from PID 12.":    true,
		"BPF triggered from PID 12":     false,
		"BPF triggered from PID 12.x":   false,
		"a b: 100% of 7 at 10.0.0.1":    true,
		"a b: 100%% of 7 at 10.0.0.1":   false,
		"first 1":                       true,
		"second":                        false,
		"plain":                         true,
		"ab":                            false, // too short to be told from chance
		"[x]+":                          true,
		"xx":                            false,
		"x BPF triggered from PID 12.":  false,
		"something of another program.": false,
	} {
		if got := f.Match(text); got != want {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
	if !FindFormats([]byte{1, 2, 3, 0, 0}).Empty() || f.Empty() {
		t.Error("Empty is wrong")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("            bash-1234    [001] d..31 12345.678901: bpf_trace_printk: hello 5"))
	f.Add([]byte("   Web Content-9-12      (-------) [001] d..31 12345.678901: bpf_trace_printk: t"))
	f.Add([]byte("CPU:3 [LOST 1500 EVENTS]"))
	f.Fuzz(func(t *testing.T, line []byte) {
		e, ok := Parse(line)
		if ok && (e.PID < 0 || e.CPU < 0 || e.Since < 0 || len(e.Text) > len(line) || e.Lost > 0 && e.Text != "") {
			t.Errorf("%q: got %+v", line, e)
		}
	})
}

func FuzzFormats(f *testing.F) {
	f.Add([]byte("%s: 100%% of %llu at %pI4\x00[x]+("), "a")
	f.Fuzz(func(_ *testing.T, data []byte, text string) {
		FindFormats(data).Match(text)
	})
}
