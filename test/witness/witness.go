// Package witness tells a test that counts exactly whether the kernel called
// programs at all. Some machines' kernels call none while certain tasks run: in
// a sandbox, for one, its agent may be hidden from tracing, and with it what
// interrupts do meanwhile. A packet that a timer sends just then is sent, and
// counted by its interfaces, and no tracing program can have seen it.
//
// The kernel counts softirqs itself, right beside the tracepoint that tells
// them. Where it has counted more than a program has seen, the difference ran
// unseen, and a test's numbers may lack what those did.
package witness

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
)

// softirqs are those that can send, receive or free packets, by their number
// in include/linux/interrupt.h and their name in /proc/softirqs.
var softirqs = map[string]uint32{"TIMER": 1, "NET_TX": 2, "NET_RX": 3, "TASKLET": 6, "HRTIMER": 8}

// vectors is more than the kernel has softirqs.
const vectors = 16

// Witness counts softirqs from Watch on.
type Witness struct {
	link  link.Link
	prog  *ebpf.Program
	count *ebpf.Map
	seen  uint64 // by the program, when the watch began
	ran   uint64 // by the kernel, a moment later
}

// Watch begins to count, until Excuse, or the end of the test. The test needs
// root.
func Watch(t testing.TB) *Witness {
	t.Helper()
	w, err := watch()
	if err != nil {
		t.Fatalf("count softirqs: %v", err)
	}
	t.Cleanup(w.close)
	return w
}

func watch() (*Witness, error) {
	count, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: vectors})
	if err != nil {
		return nil, err
	}
	w := &Witness{count: count}
	if w.prog, err = ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.RawTracepoint, License: "GPL", Instructions: counter(count)}); err != nil {
		w.close()
		return nil, err
	}
	if w.link, err = link.AttachRawTracepoint(link.RawTracepointOptions{Name: "softirq_entry", Program: w.prog}); err != nil {
		w.close()
		return nil, err
	}
	// In this order, and in Unseen in the other: a softirq between the two is
	// rather not missed than missed for nothing.
	if w.seen, err = w.told(); err == nil {
		w.ran, err = ran()
	}
	if err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

// counter is a program that adds one to the count of the softirq that begins.
func counter(count *ebpf.Map) asm.Instructions {
	return asm.Instructions{
		asm.LoadMem(asm.R6, asm.R1, 0, asm.DWord),
		asm.StoreMem(asm.RFP, -4, asm.R6, asm.Word),
		asm.LoadMapPtr(asm.R1, count.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.Mov.Imm(asm.R1, 1),
		asm.AddAtomic.Mem(asm.R0, asm.R1, asm.DWord, 0),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
		asm.Return(),
	}
}

// Unseen returns how many softirqs have run since Watch that no program was
// called for.
func (w *Witness) Unseen() (uint64, error) {
	now, err := ran()
	if err != nil {
		return 0, err
	}
	seen, err := w.told()
	if err != nil {
		return 0, err
	}
	if now -= w.ran; now > seen-w.seen {
		return now - (seen - w.seen), nil
	}
	return 0, nil
}

// told is how many softirqs the program has seen.
func (w *Witness) told() (sum uint64, err error) {
	for _, vector := range softirqs {
		var n uint64
		if err := w.count.Lookup(vector, &n); err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// close ends the watch, and does nothing the second time.
func (w *Witness) close() {
	if w.link != nil {
		w.link.Close()
	}
	w.prog.Close() // of nil too
	w.count.Close()
	w.link, w.prog, w.count = nil, nil, nil
}

// ran is how many softirqs the kernel has counted, on all CPUs.
func ran() (uint64, error) {
	text, err := os.ReadFile("/proc/softirqs")
	if err != nil {
		return 0, err
	}
	return sum(text)
}

// sum adds up those lines of /proc/softirqs that tell of softirqs.
func sum(text []byte) (total uint64, err error) {
	found := 0
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		name, counts, _ := strings.Cut(strings.TrimSpace(lines.Text()), ":")
		if _, wanted := softirqs[name]; !wanted {
			continue
		}
		found++
		for _, field := range strings.Fields(counts) {
			n, err := strconv.ParseUint(field, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("read /proc/softirqs: %w", err)
			}
			total += n
		}
	}
	if found != len(softirqs) {
		return 0, fmt.Errorf("read /proc/softirqs: found %d of %d lines", found, len(softirqs))
	}
	return total, lines.Err()
}

// tries is how often Agree calls a try whose kernel was not looking.
const tries = 5

// Agree calls try, which compares numbers and returns what is wrong with them,
// and fails the test with that. It is tried again only where softirqs ran
// meanwhile that no program was called for, or where those who were watched said
// themselves that the kernel had skipped their programs.
func Agree(t testing.TB, try func() (wrong []string, skipped bool)) {
	t.Helper()
	for left := tries - 1; ; left-- {
		w := Watch(t)
		wrong, skipped := try()
		excuse := w.Excuse(t, skipped)
		if len(wrong) == 0 {
			return
		}
		if excuse == "" || left == 0 {
			for _, complaint := range wrong {
				t.Error(complaint)
			}
			return
		}
		t.Logf("%s, so once more:\n%s", excuse, strings.Join(wrong, "\n"))
	}
}

// Excuse ends the watch and says why numbers may be wrong; it is empty if they
// have to be right. skipped says that a program was skipped, and that somebody
// was told: kernels since 7.0 may switch tasks within one, and skip it until the
// first task goes on.
func (w *Witness) Excuse(t testing.TB, skipped bool) string {
	t.Helper()
	unseen, err := w.Unseen()
	w.close()
	switch {
	case err != nil:
		t.Fatal(err)
	case unseen > 0:
		return fmt.Sprintf("this kernel called no program for %d softirqs meanwhile", unseen)
	case skipped:
		return "netfate said that the kernel skipped its programs"
	}
	return ""
}
