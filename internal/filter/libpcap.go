package filter

import (
	"bytes"
	"context"
	_ "embed" // for libpcap.wasm
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"golang.org/x/net/bpf"
)

// libpcapWasm is libpcap's filter compiler, built by tools/libpcap-wasm/build.sh; its license is in libpcap.LICENSE.
//
//go:embed libpcap.wasm
var libpcapWasm []byte

const (
	// maxExpr bounds an expression, in bytes. The longest that tcpdump could get on a command line is 128 KiB.
	maxExpr = 128 << 10
	// shortExpr is the length in bytes up to which an expression is left to the interpreter: a dozen hosts.
	shortExpr = 200
	// maxTime bounds a compilation. libpcap takes 3 s for 200 hosts.
	maxTime = 10 * time.Second
	// maxPages bounds the module's memory, in pages of 64 KiB: 32 MiB. It starts with 18; 200 hosts take 107.
	maxPages = 512
	// maxErrbuf is libpcap's PCAP_ERRBUF_SIZE.
	maxErrbuf = 256
	// insnSize is the size of libpcap's struct bpf_insn.
	insnSize = 8
)

// errGaveUp is what the host function "fail" panics with: libpcap's way to end a compilation (setjmp.h in
// tools/libpcap-wasm).
var errGaveUp = errors.New("libpcap gave up")

// compiler makes instances of libpcap, one for each compilation: what libpcap leaves behind when it gives up goes with
// its memory.
type compiler struct {
	runtime wazero.Runtime
	libpcap wazero.CompiledModule
}

// newCompiler starts libpcap, for expressions of up to size bytes. wazero's interpreter starts in a fifth of the time
// that its compiler takes to make machine code (BenchmarkPrograms), and is enough for what people type. The time that
// libpcap's optimiser takes grows with the third power of an expression's length, so that a long one is worth machine
// code; nor does the interpreter's bound of 2,000 calls let the optimiser go as deep as it wants.
func newCompiler(ctx context.Context, size int) (*compiler, error) {
	config := wazero.NewRuntimeConfigInterpreter()
	if size > shortExpr {
		config = wazero.NewRuntimeConfig()
	}
	c := &compiler{runtime: wazero.NewRuntimeWithConfig(ctx, config.WithMemoryLimitPages(maxPages))}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start the filter compiler: %w", err), c.close(ctx))
	}
	return c, nil
}

func (c *compiler) start(ctx context.Context) error {
	names := &nameTables{}
	_, err := c.runtime.NewHostModuleBuilder("env").
		NewFunctionBuilder().WithFunc(func() { panic(errGaveUp) }).Export("fail").
		NewFunctionBuilder().WithFunc(func(ctx context.Context) {
		if err := ctx.Err(); err != nil {
			panic(err)
		}
	}).Export("tick").
		NewFunctionBuilder().WithFunc(func(_ context.Context, m api.Module, name, size, udp uint32) int32 {
		return names.service(wasmString(m, name, size), udp != 0)
	}).Export("service").
		NewFunctionBuilder().WithFunc(func(_ context.Context, m api.Module, name, size uint32) int32 {
		return names.protocol(wasmString(m, name, size))
	}).Export("protocol").
		Instantiate(ctx)
	if err != nil {
		return err
	}
	c.libpcap, err = c.runtime.CompileModule(ctx, libpcapWasm)
	return err
}

func (c *compiler) close(ctx context.Context) error {
	// The runtime must go even if the caller's time is up.
	return c.runtime.Close(context.WithoutCancel(ctx))
}

// compile compiles one expression, with an instance of its own.
func (c *compiler) compile(ctx context.Context, expr string, link Link, snaplen int) ([]bpf.RawInstruction, error) {
	if len(expr) > maxExpr {
		return nil, fmt.Errorf("compile filter: the expression has %d bytes, at most %d can be compiled", len(expr), maxExpr)
	}
	if strings.IndexByte(expr, 0) >= 0 {
		return nil, errors.New("compile filter: the expression holds a zero byte; remove it")
	}
	module, err := c.runtime.InstantiateModule(ctx, c.libpcap, wazero.NewModuleConfig().WithName(""))
	if err != nil {
		return nil, fmt.Errorf("compile filter: %w", err)
	}
	code, err := instance{module}.compile(ctx, expr, link, snaplen)
	if err := errors.Join(err, module.Close(context.WithoutCancel(ctx))); err != nil {
		return nil, err
	}
	switch err := check(code); {
	case errors.Is(err, errAncillary):
		return nil, &SyntaxError{Expr: expr, Message: "the expression looks at something outside of the packet"}
	case errors.Is(err, errLoop):
		return nil, &SyntaxError{
			Expr:    expr,
			Message: "'protochain' needs a loop, which BPF in the kernel does not have",
			Hint:    "write 'proto' and the number of the first header, or compare bytes",
		}
	case err != nil:
		return nil, fmt.Errorf("compile filter: %w", err)
	}
	return code, nil
}

// instance is one libpcap, good for one compilation.
type instance struct{ module api.Module }

func (i instance) call(ctx context.Context, name string, args ...uint64) (uint32, error) {
	results, err := i.module.ExportedFunction(name).Call(ctx, args...)
	if err != nil {
		return 0, err
	}
	return api.DecodeU32(results[0]), nil
}

func (i instance) compile(ctx context.Context, expr string, link Link, snaplen int) ([]bpf.RawInstruction, error) {
	errbuf, err := i.call(ctx, "errbuf") // now, since an instance that gave up answers no more
	if err != nil {
		return nil, fmt.Errorf("compile filter: %w", err)
	}
	text, err := i.call(ctx, "alloc", uint64(len(expr)+1))
	if err != nil {
		return nil, fmt.Errorf("compile filter: %w", err)
	}
	if text == 0 || !i.module.Memory().Write(text, append([]byte(expr), 0)) {
		return nil, errors.New("compile filter: no memory for the expression")
	}
	limited, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	n, err := i.call(limited, "compile", uint64(text), api.EncodeI32(int32(link)), api.EncodeI32(int32(snaplen)))
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("compile filter: %w", ctx.Err())
	case errors.Is(err, context.DeadlineExceeded):
		return nil, fmt.Errorf("compile filter: libpcap did not end in %v; make the expression shorter, say with nets for hosts", maxTime)
	case errors.Is(err, errGaveUp), err == nil && int32(n) < 0:
		return nil, i.refusal(errbuf, expr)
	case err != nil:
		// A trap: libpcap ran out of stack, since it parses and optimises by recursion. The rest of the message is a trace.
		reason, _, _ := strings.Cut(err.Error(), "\n")
		return nil, fmt.Errorf("compile filter: the expression is too deep for libpcap, make it shorter: %s", reason)
	}
	at, err := i.call(ctx, "insns")
	if err != nil {
		return nil, fmt.Errorf("compile filter: %w", err)
	}
	raw, ok := i.module.Memory().Read(at, n*insnSize)
	if !ok {
		return nil, errors.New("compile filter: libpcap's program lies outside of its memory")
	}
	return decodeInsns(raw), nil
}

// refusal makes the error of libpcap's message.
func (i instance) refusal(errbuf uint32, expr string) error {
	raw, ok := i.module.Memory().Read(errbuf, maxErrbuf)
	if !ok {
		return errors.New("compile filter: libpcap's message lies outside of its memory")
	}
	text, _, _ := bytes.Cut(raw, []byte{0})
	e := &SyntaxError{Expr: expr, Message: string(text)}
	for prefix, hint := range map[string]string{
		"unknown host":       "names are not looked up; write the address",
		"unknown network":    "names are not looked up; write the network's address",
		"unknown ether host": "names are not looked up; write the address",
		"netmask not known":  "write the broadcast address, as in dst host 255.255.255.255",
	} {
		if strings.HasPrefix(e.Message, prefix) {
			e.Hint = hint
		}
	}
	return e
}

func decodeInsns(raw []byte) []bpf.RawInstruction {
	code := make([]bpf.RawInstruction, 0, len(raw)/insnSize)
	for ; len(raw) >= insnSize; raw = raw[insnSize:] {
		code = append(code, bpf.RawInstruction{
			Op: binary.LittleEndian.Uint16(raw),
			Jt: raw[2],
			Jf: raw[3],
			K:  binary.LittleEndian.Uint32(raw[4:]),
		})
	}
	return code
}

// wasmString copies a string that the module points at; outside of its memory there is none.
func wasmString(m api.Module, at, size uint32) string {
	raw, _ := m.Memory().Read(at, size)
	return string(raw)
}
