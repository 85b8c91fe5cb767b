package filter

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/bpf"
)

var linkNames = map[Link]string{Ethernet: "EN10MB", Raw: "RAW"}

// tcpdump returns what the installed tcpdump compiles expr to, or its message.
func tcpdump(t testing.TB, link Link, expr string) ([]bpf.RawInstruction, string) {
	t.Helper()
	cmd := exec.Command("tcpdump", "-ddd", "-y", linkNames[link], "--", expr)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	var exit *exec.ExitError
	if err := cmd.Run(); errors.As(err, &exit) {
		_, message, _ := strings.Cut(strings.TrimSpace(stderr.String()), "tcpdump: ")
		return nil, message
	} else if err != nil {
		t.Fatal(err)
	}
	var code []bpf.RawInstruction
	for _, line := range strings.Split(strings.TrimSpace(stdout.String()), "\n")[1:] {
		var ins bpf.RawInstruction
		if _, err := fmt.Sscan(line, &ins.Op, &ins.Jt, &ins.Jf, &ins.K); err != nil {
			t.Fatalf("tcpdump printed %q: %v", line, err)
		}
		code = append(code, ins)
	}
	return code, ""
}

// start starts a compiler that lives as long as the test.
func start(t testing.TB) *compiler {
	t.Helper()
	c, err := newCompiler(context.Background(), 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return c
}

// Instruction for instruction what tcpdump compiles, and word for word what it refuses.
func TestLikeTcpdump(t *testing.T) {
	c := start(t)
	refused := 0
	for i, expr := range slices.Concat(expressions, refusals) {
		if testing.Short() && i%16 != 0 { // it is the same on each kernel
			continue
		}
		for link, name := range linkNames {
			want, wantMessage := tcpdump(t, link, expr)
			got, err := c.compile(t.Context(), expr, link, DefaultSnaplen)
			gotMessage := ""
			if err != nil {
				var refusal *SyntaxError
				if !errors.As(err, &refusal) {
					t.Errorf("%s %q: got %v, want a *SyntaxError", name, expr, err)
					continue
				}
				gotMessage = refusal.Message
				refused++
			}
			if bad := i >= len(expressions); link == Ethernet && (err != nil) != bad {
				t.Errorf("%q: got %v, is in the wrong table", expr, err)
			}
			if gotMessage != wantMessage {
				t.Errorf("%s %q: got message %q, want tcpdump's %q", name, expr, gotMessage, wantMessage)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s %q: got a program other than tcpdump's (-want +got):\n%s", name, expr, diff)
			}
		}
	}
	t.Logf("%d expressions for 2 link types, %d of them refused", len(expressions)+len(refusals), refused)
}

// What netfate refuses otherwise than tcpdump: names that a resolver would be asked for, and what is not in a packet.
func TestRefusedHere(t *testing.T) {
	for expr, want := range map[string]SyntaxError{
		"host example.org":    {Message: "unknown host 'example.org'", Hint: "names are not looked up; write the address"},
		"net loopback-net":    {Message: "unknown network 'loopback-net'", Hint: "names are not looked up; write the network's address"},
		"ether host somebody": {Message: "unknown ether host 'somebody'", Hint: "names are not looked up; write the address"},
		"ip broadcast":        {Message: "netmask not known, so 'ip broadcast' not supported", Hint: "write the broadcast address, as in dst host 255.255.255.255"},
		"inbound":             {Message: "inbound/outbound not supported on Ethernet"},
		"ifindex 3":           {Message: "ifindex not supported on Ethernet"},
		"ip6 protochain 6": {
			Message: "'protochain' needs a loop, which BPF in the kernel does not have",
			Hint:    "write 'proto' and the number of the first header, or compare bytes",
		},
		"ether[0xfffff000] = 0x01": {Message: "the expression looks at something outside of the packet"},
	} {
		_, err := Programs(t.Context(), expr)
		want.Expr = expr
		var got *SyntaxError
		if !errors.As(err, &got) {
			t.Errorf("%q: got %v, want a *SyntaxError", expr, err)
			continue
		}
		if diff := cmp.Diff(want, *got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", expr, diff)
		}
	}
}

func TestPrograms(t *testing.T) {
	for _, empty := range []string{"", " \t\n"} {
		if p, err := Programs(t.Context(), empty); p != nil || err != nil {
			t.Errorf("%q: got %v, %v, want nil, nil", empty, p, err)
		}
	}
	p, err := Programs(t.Context(), "tcp port 80")
	if err != nil {
		t.Fatal(err)
	}
	for link := range linkNames {
		want, _ := tcpdump(t, link, "tcp port 80")
		if diff := cmp.Diff(want, p.Program(link)); diff != "" {
			t.Errorf("link %d (-want +got):\n%s", link, diff)
		}
	}
	p, err = Programs(t.Context(), "ether host 02:00:00:00:00:01")
	if err != nil {
		t.Fatal(err)
	}
	if p.Ethernet == nil || p.Raw != nil {
		t.Errorf("ether host: got programs of %d and %d instructions, want some and none", len(p.Ethernet), len(p.Raw))
	}
	if _, err = Programs(t.Context(), "tcp porrt 80"); err == nil || err.Error() != "can't parse filter expression: syntax error" {
		t.Errorf("bad expression: got %v, want libpcap's syntax error", err)
	}
}

// Nothing that a user can write crashes the compiler or keeps it busy for ever.
func TestHostile(t *testing.T) {
	deep := strings.Repeat("(", 60000) + "tcp" + strings.Repeat(")", 60000)
	var many []string
	for i := range 100 {
		many = append(many, fmt.Sprintf("host 10.0.%d.%d", i/250, i%250))
	}
	for name, expr := range map[string]string{
		"zero byte": "tcp\x00",
		"too long":  strings.Repeat(" ", maxExpr) + "tcp",
		"deep":      deep,
		"nots":      strings.Repeat("not ", 30000) + "tcp",
		"bytes":     "\xff\xfe\x80 tcp",
	} {
		if _, err := Compile(t.Context(), expr, Ethernet, DefaultSnaplen); err == nil {
			t.Errorf("%s: got a program, want an error", name)
		} else {
			t.Logf("%s: %v", name, err)
		}
	}
	if code, err := Compile(t.Context(), strings.Join(many, " or "), Ethernet, DefaultSnaplen); err != nil || len(code) < 100 {
		t.Errorf("100 hosts: got %d instructions, %v", len(code), err)
	}
}

func TestContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Programs(ctx, "tcp"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	// A context that ends while libpcap optimises stops it.
	c := start(t)
	module, err := c.runtime.Instantiate(t.Context(), libpcapWasm)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (instance{module}).compile(ctx, "tcp port 80", Ethernet, DefaultSnaplen); !errors.Is(err, context.Canceled) {
		t.Errorf("optimiser: got %v, want context.Canceled", err)
	}
}

func TestNames(t *testing.T) {
	var names nameTables
	names.services = []byte("# c\nhttp\t80/tcp\twww # WWW\nntp 123/udp\nbad x/tcp\nbig 99999/tcp\nhttp 81/tcp\n\nalone\n")
	names.haveServices = true
	for _, c := range []struct {
		name string
		udp  bool
		want int32
	}{
		{"http", false, 80}, {"www", false, 80}, {"http", true, -1}, {"ntp", true, 123}, {"ntp", false, -1},
		{"bad", false, -1}, {"big", false, -1}, {"alone", false, -1}, {"WWW", false, -1}, {"", false, -1}, {"80/tcp", false, -1},
	} {
		if got := names.service(c.name, c.udp); got != c.want {
			t.Errorf("service %q udp %v: got %d, want %d", c.name, c.udp, got, c.want)
		}
	}
	if got := lookup([]byte(builtinServices), "https", "/tcp", 65535); got != 443 {
		t.Errorf("built-in https: got %d, want 443", got)
	}
	if got := lookup([]byte(builtinProtocols), "GRE", "", 255); got != 47 {
		t.Errorf("built-in GRE: got %d, want 47", got)
	}
	if got := string(readTable("testdata/nosuchfile", "built in")); got != "built in" {
		t.Errorf("no file: got %q, want the built-in table", got)
	}
}

// The built-in tables say what the host's files say, where both know a name.
func TestBuiltinNames(t *testing.T) {
	for file, table := range map[string]string{"/etc/services": builtinServices, "/etc/protocols": builtinProtocols} {
		host := readTable(file, "")
		for _, line := range strings.Split(strings.TrimSpace(table), "\n") {
			fields := strings.Fields(line)
			number, suffix, _ := strings.Cut(fields[1], "/")
			if suffix != "" {
				suffix = "/" + suffix
			}
			got := lookup(host, fields[0], suffix, 65535)
			if got >= 0 && fmt.Sprint(got) != number {
				t.Errorf("%s: the file says %d, the built-in table %s", line, got, number)
			}
		}
	}
}

func BenchmarkPrograms(b *testing.B) {
	for b.Loop() {
		if _, err := Programs(b.Context(), "tcp port 80 and (((ip[2:2] - ((ip[0]&0xf)<<2)) - ((tcp[12]&0xf0)>>2)) != 0)"); err != nil {
			b.Fatal(err)
		}
	}
}
