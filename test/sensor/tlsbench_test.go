package sensor

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/sensor/tls"
	"github.com/netfate/netfate/test/need"
)

// callsLibrary is a library whose calls do nothing, so that what is measured are
// the hits.
const callsLibrary = `
void SSL_set_connect_state(void *ssl) {}
int SSL_write(void *ssl, const void *buffer, int size) { return size; }
void SSL_free(void *ssl) {}
`

// callsProgram makes as many calls as it is told and prints the nanoseconds that
// each took.
const callsProgram = `
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
void SSL_set_connect_state(void *ssl);
int SSL_write(void *ssl, const void *buffer, int size);
void SSL_free(void *ssl);
int main(int argc, char **argv) {
	static char request[300] = "GET /path HTTP/1.1\r\nHost: example.com\r\n";
	char ssl[64];
	struct timespec a, b;
	int count = atoi(argv[1]);
	SSL_set_connect_state(ssl);
	clock_gettime(CLOCK_MONOTONIC, &a);
	for (int i = 0; i < count; i++) SSL_write(ssl, request, sizeof(request));
	clock_gettime(CLOCK_MONOTONIC, &b);
	SSL_free(ssl);
	printf("%ld\n", ((b.tv_sec - a.tv_sec) * 1000000000L + b.tv_nsec - a.tv_nsec) / count);
}
`

// BenchmarkTLSCall measures a call that is read beside one with empty programs
// at the same places and one with none, in turns, and reports their medians.
func BenchmarkTLSCall(b *testing.B) {
	need.Capability(b, "uprobe_multi")
	const calls = 4000 // whose rows the ring has room for
	library, program := compileCalls(b)
	sensor := func() func() {
		s, err := tls.New(tls.Config{})
		check(b, err)
		check(b, s.Attach())
		watchOnly(b, s, library)
		return func() {
			rows := 0
			var e decode.PacketEvent
			for ok := true; ok; {
				_, more, err := s.Next(time.Now(), &e)
				check(b, err)
				if ok = more; ok && e.Captured > 0 {
					rows++
				}
			}
			if rows < calls {
				b.Errorf("got %d rows of %d calls", rows, calls)
			}
			check(b, s.Close())
		}
	}
	ways := []struct {
		name  string
		start func() func()
	}{
		{"off-ns/call", func() func() { return func() {} }},
		{"empty-ns/call", func() func() { return hangEmpty(b, library) }},
		{"read-ns/call", sensor},
	}
	took := map[string][]float64{}
	for b.Loop() {
		for _, w := range ways {
			stop := w.start()
			out, err := exec.Command(program, strconv.Itoa(calls)).Output()
			check(b, err)
			stop()
			ns, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
			check(b, err)
			took[w.name] = append(took[w.name], ns)
		}
	}
	for name, ns := range took {
		slices.Sort(ns)
		b.ReportMetric(ns[len(ns)/2], name)
	}
}

func compileCalls(b *testing.B) (library, program string) {
	b.Helper()
	dir := b.TempDir()
	build := func(name, source string, args ...string) string {
		path := filepath.Join(dir, name)
		check(b, os.WriteFile(path+".c", []byte(source), 0o600))
		if out, err := exec.Command("gcc", append([]string{"-O1", "-o", path, path + ".c"}, args...)...).CombinedOutput(); err != nil {
			b.Fatalf("compile %s: %v\n%s", name, err, out)
		}
		return path
	}
	library = build("libssl.so", callsLibrary, "-shared", "-fPIC")
	return library, build("calls", callsProgram, library, "-Wl,-rpath,"+dir)
}

// watchOnly has the sensor look at a process that has mapped the library.
func watchOnly(b *testing.B, s *tls.Sensor, library string) {
	b.Helper()
	cmd := exec.Command("sleep", "10")
	cmd.Env = append(os.Environ(), "LD_PRELOAD="+library)
	check(b, cmd.Start())
	// It maps its libraries before it is asked for anything.
	for mapped := false; !mapped; {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", cmd.Process.Pid))
		check(b, err)
		mapped = strings.Count(string(text), library) > 1
	}
	s.Look(uint32(cmd.Process.Pid))
	check(b, cmd.Process.Kill())
	_ = cmd.Wait()
}

// hangEmpty puts programs that do nothing where the sensor has some.
func hangEmpty(b *testing.B, library string) func() {
	b.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.Kprobe, AttachType: ebpf.AttachTraceUprobeMulti, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	check(b, err)
	exe, err := link.OpenExecutable(library)
	check(b, err)
	begins, err := exe.UprobeMulti([]string{"SSL_write"}, p, nil)
	check(b, err)
	ends, err := exe.UretprobeMulti([]string{"SSL_write"}, p, nil)
	check(b, err)
	return func() {
		check(b, begins.Close())
		check(b, ends.Close())
		check(b, p.Close())
	}
}
