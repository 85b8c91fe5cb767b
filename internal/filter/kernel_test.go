package filter

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/test/need"
)

// object compiles testdata/filter.bpf.c.
func object(t testing.TB) *ebpf.CollectionSpec {
	t.Helper()
	path := filepath.Join(t.TempDir(), "filter.bpf.o")
	out, err := exec.Command("clang-19", "-target", "bpf", "-O2", "-g", "-mcpu=v3", "-Wall", "-Werror",
		"-c", "testdata/filter.bpf.c", "-o", path).CombinedOutput()
	if err != nil {
		t.Fatalf("clang-19: %v\n%s", err, out)
	}
	spec, err := ebpf.LoadCollectionSpec(path)
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// loaded is a program that asks two filters in the kernel.
type loaded struct {
	coll  *ebpf.Collection
	insns int // that the verifier walked
}

// mustLoad installs the pair's filters in the object and loads it. The verifier has to take it.
func mustLoad(t testing.TB, spec *ebpf.CollectionSpec, p *Pair) *loaded {
	t.Helper()
	l, err := tryLoad(t, spec, p)
	if err != nil {
		t.Fatalf("load: %+v", err)
	}
	return l
}

func tryLoad(t testing.TB, spec *ebpf.CollectionSpec, p *Pair) (*loaded, error) {
	t.Helper()
	spec = spec.Copy()
	for symbol, link := range map[string]Link{"filter_match": Ethernet, "filter_match_raw": Raw} {
		code, err := Translate(p.Program(link), Options{})
		if err != nil {
			return nil, err
		}
		if err := Install(spec.Programs["ask"], symbol, code); err != nil {
			return nil, err
		}
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{
		Programs: ebpf.ProgramOptions{LogLevel: ebpf.LogLevelStats},
	})
	if err != nil {
		return nil, err
	}
	t.Cleanup(coll.Close)
	l := &loaded{coll: coll}
	for line := range strings.Lines(coll.Programs["ask"].VerifierLog) {
		if rest, ok := strings.CutPrefix(line, "processed "); ok {
			for _, c := range rest[:strings.IndexByte(rest, ' ')] {
				l.insns = l.insns*10 + int(c-'0')
			}
		}
	}
	return l, nil
}

// ask returns what the filter says in the kernel of the packet's first BufferSize bytes.
func (l *loaded) ask(t testing.TB, link Link, packet []byte, wireLen uint32) uint32 {
	t.Helper()
	var q [BufferSize + 12]byte
	for i := range q {
		q[i] = 0xee // what lies past caplen must not matter
	}
	caplen := copy(q[:BufferSize], packet)
	binary.NativeEndian.PutUint32(q[BufferSize:], uint32(caplen))
	binary.NativeEndian.PutUint32(q[BufferSize+4:], wireLen)
	raw := uint32(0)
	if link == Raw {
		raw = 1
	}
	binary.NativeEndian.PutUint32(q[BufferSize+8:], raw)
	if err := l.coll.Maps["questions"].Put(uint32(0), q[:]); err != nil {
		t.Fatal(err)
	}
	got, err := l.coll.Programs["ask"].Run(&ebpf.RunOptions{Data: make([]byte, 64)})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// settleEvery is how many programs a test may free before it calls settle.
const settleEvery = 16

// settle waits for a grace period of RCU, so that programs closed before are on their way out. It bounds how many await
// that at once. Without it the fuzz target brought Linux 6.18 to a standstill, host-wide: over 1,024 works
// bpf_prog_free_deferred, the most that the kernel's common workqueue runs, waited for pack_mutex; its owner was loading
// a program and waited in vm_unmap_aliases for a purge, which needed that workqueue. Nothing but a reboot helps.
func settle(t testing.TB) {
	t.Helper()
	const cmdGlobal = 1 // MEMBARRIER_CMD_GLOBAL is synchronize_rcu
	if _, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, cmdGlobal, 0, 0); errno != 0 {
		t.Fatalf("membarrier: %v; without it this test would be a danger to the host", errno)
	}
}

// reference runs a program in x/net/bpf's machine; ok is false for what that machine cannot do.
func reference(code []bpf.RawInstruction, packet []byte) (result uint32, ok bool) {
	if len(code) == 0 {
		return 0, true
	}
	insns, all := bpf.Disassemble(code)
	for _, ins := range insns {
		if _, neg := ins.(bpf.NegateA); neg || !all {
			return 0, false
		}
	}
	vm, err := bpf.NewVM(insns)
	if err != nil {
		return 0, false
	}
	n, err := vm.Run(packet)
	return uint32(n), err == nil
}

// The kernel, x/net/bpf's machine and run give the same answer for every expression, on packets that most of them match
// and on mutations of these.
func TestKernelAgrees(t *testing.T) {
	need.Root(t)
	const seed = 20
	r := rand.New(rand.NewPCG(seed, 0))
	spec := object(t)
	seeds := packets()
	c := start(t)
	asked, matched, compared, most := 0, 0, 0, 0
	for i, expr := range expressions {
		if i%settleEvery == 0 {
			settle(t)
		}
		var p Pair
		var err error
		if p.Ethernet, err = c.compile(t.Context(), expr, Ethernet, DefaultSnaplen); err != nil {
			t.Fatalf("%q: %v", expr, err)
		}
		p.Raw, _ = c.compile(t.Context(), expr, Raw, DefaultSnaplen) // none is an answer, too
		l := mustLoad(t, spec, &p)
		most = max(most, l.insns)
		all := append([][]byte{}, seeds...)
		for range 30 {
			all = append(all, mutate(r, seeds))
		}
		for _, packet := range all {
			for link := range linkNames {
				packet := packet
				if link == Raw {
					packet = packet[min(14, len(packet)):]
				}
				short := packet[:min(len(packet), BufferSize)]
				code := p.Program(link)
				got, want := l.ask(t, link, packet, uint32(len(packet))), run(code, short, uint32(len(packet)))
				if got != want {
					t.Errorf("%q, link %d, packet %x: the kernel says %d, run says %d (seed %d)", expr, link, packet, got, want, seed)
				}
				if len(packet) == len(short) {
					if vm, ok := reference(code, packet); ok {
						compared++
						if vm != want {
							t.Errorf("%q, link %d, packet %x: x/net/bpf says %d, run says %d (seed %d)", expr, link, packet, vm, want, seed)
						}
					}
				}
				if Match(&p, link, short, len(packet)) != (want != 0) {
					t.Errorf("%q, link %d, packet %x: Match differs from run (seed %d)", expr, link, packet, seed)
				}
				asked++
				if got != 0 {
					matched++
				}
			}
		}
		l.coll.Close()
	}
	t.Logf("%d questions, %d matches, %d compared with x/net/bpf too; the verifier walked at most %d instructions", asked, matched, compared, most)
	if matched < asked/20 || matched > asked*19/20 {
		t.Errorf("%d of %d match: the packets prove little", matched, asked)
	}
}

// A long expression verifies, and in time that grows with its length and not with its paths.
func TestLongExpression(t *testing.T) {
	need.Root(t)
	var hosts, ports []string
	for i := range 30 {
		hosts = append(hosts, "host 10.9.8."+string(rune('1'+i%9))+string(rune('0'+i/9)))
	}
	for i := range 30 {
		ports = append(ports, "portrange "+string(rune('1'+i%9))+"00"+string(rune('0'+i/9))+"-"+string(rune('1'+i%9))+"050")
	}
	for name, expr := range map[string]string{
		"hosts":      strings.Join(hosts, " or "),
		"ports":      strings.Join(ports, " or "),
		"both":       "(" + strings.Join(hosts[:20], " or ") + ") and not (" + strings.Join(ports[:20], " or ") + ")",
		"arithmetic": strings.TrimSuffix(strings.Repeat("(tcp[((tcp[12] & 0xf0) >> 2):4] > ip[2:2] * 3 or udp[8 + ip[8]] < 7) and ", 12), " and "),
	} {
		p, err := Programs(t.Context(), expr)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		code, err := Translate(p.Ethernet, Options{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		l := mustLoad(t, object(t), p)
		t.Logf("%s: %d classic instructions, %d in eBPF, the verifier walked %d", name, len(p.Ethernet), len(code), l.insns)
		if limit := 30 * (len(p.Ethernet) + len(p.Raw) + 20); l.insns > limit {
			t.Errorf("%s: the verifier walked %d instructions, want at most %d", name, l.insns, limit)
		}
	}
}

func TestInstall(t *testing.T) {
	code, err := Translate([]bpf.RawInstruction{{Op: classLd | modeLen}, {Op: classRet | retA}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	spec := object(t)
	prog := spec.Programs["ask"]
	before := functions(prog.Instructions)
	if err := Install(prog, "filter_match", code); err != nil {
		t.Fatal(err)
	}
	if got := functions(prog.Instructions); got != before {
		t.Errorf("got functions %s, want %s", got, before)
	}
	if strings.Count(prog.Instructions.String(), asm.Mov.Reg32(regCaplen, regCaplen).OpCode.String()) == 0 {
		t.Error("the filter's code is not in the program")
	}
	if code[0].Symbol() != "" {
		t.Error("Install changed the code it was given")
	}
	// Installing again replaces what was installed.
	length := len(prog.Instructions)
	if err := Install(prog, "filter_match", code); err != nil || len(prog.Instructions) != length {
		t.Errorf("again: got %d instructions, %v, want %d, nil", len(prog.Instructions), err, length)
	}
	if err := Install(prog, "no_such", code); err == nil {
		t.Error("got nil, want an error for a symbol that is not there")
	}
	if err := Install(prog, "filter_match", nil); err == nil {
		t.Error("got nil, want an error for no code")
	}
	// What clang makes of a placeholder that says "return 1".
	folded := &ebpf.ProgramSpec{Name: "folded", Instructions: asm.Instructions{
		asm.Mov.Imm(asm.R0, 0),
		asm.Return(),
		asm.Mov.Reg32(asm.R2, asm.R2).WithSymbol("filter_match"),
		asm.Return(),
	}}
	if err := Install(folded, "filter_match", code); err == nil || !strings.Contains(err.Error(), "asm volatile") {
		t.Errorf("got %v, want an error for a placeholder without a result", err)
	}
	prog.Instructions = append(prog.Instructions, asm.Return().WithSymbol("filter_match"))
	if err := Install(prog, "filter_match", code); err == nil {
		t.Error("got nil, want an error for a symbol that is there twice")
	}
}

// functions lists the symbols of a program with their BTF functions.
func functions(insns asm.Instructions) string {
	var b strings.Builder
	for i := range insns {
		if name := insns[i].Symbol(); name != "" {
			b.WriteString(name + "=")
			if fn := btf.FuncMetadata(&insns[i]); fn != nil {
				b.WriteString(fn.Name)
			}
			b.WriteString(" ")
		}
	}
	return b.String()
}

// generate makes a valid classic program of the bytes of data: every opcode, offsets near the bounds that matter.
func generate(data []byte) []bpf.RawInstruction {
	var code []bpf.RawInstruction
	n := min(len(data)/4, 64)
	offsets := []uint32{0, 1, 12, 13, 14, 20, 23, 26, 252, 253, 254, 255, 256, 1000, 0x7fffffff, 0x80000000, 0xffdfffff}
	for i := range n {
		d := data[i*4 : i*4+4]
		rest := n - i // instructions after this one, with the final return
		k := binary.LittleEndian.Uint32([]byte{d[2], d[3], d[1], d[2]})
		offset := offsets[int(d[2])%len(offsets)]
		forward := func(b byte) uint8 { return uint8(int(b) % min(rest, 256)) }
		size := []uint16{sizeW, sizeH, sizeB}[d[1]%3]
		var ins bpf.RawInstruction
		switch d[0] % 14 {
		case 0:
			ins = bpf.RawInstruction{Op: classLd | modeImm, K: k}
		case 1:
			ins = bpf.RawInstruction{Op: classLd | modeAbs | size, K: offset}
		case 2:
			ins = bpf.RawInstruction{Op: classLd | modeInd | size, K: offset}
		case 3:
			ins = bpf.RawInstruction{Op: classLd | modeMem, K: uint32(d[1] % scratchWords)}
		case 4:
			ins = bpf.RawInstruction{Op: classLd | modeLen}
		case 5:
			ins = bpf.RawInstruction{Op: classLdx | modeImm, K: []uint32{k, uint32(d[1] % 40)}[d[2]%2]}
		case 6:
			ins = bpf.RawInstruction{Op: []uint16{classLdx | modeMem, classSt, classStx}[d[2]%3], K: uint32(d[1] % scratchWords)}
		case 7:
			ins = bpf.RawInstruction{Op: classLdx | modeMsh | sizeB, K: offset}
		case 8, 9:
			op := uint16(d[1]%11) << 4
			if ins = (bpf.RawInstruction{Op: classAlu | op, K: k}); op == aluLsh || op == aluRsh {
				ins.K %= 32
			} else if (op == aluDiv || op == aluMod) && k == 0 {
				ins.K = 1
			}
			if op != aluNeg && d[0]%14 == 9 {
				ins.Op |= srcX
			}
		case 10, 11:
			ins = bpf.RawInstruction{Op: classJmp | uint16(1+d[1]%4)<<4, Jt: forward(d[2]), Jf: forward(d[3]), K: []uint32{k, uint32(d[2])}[d[3]%2]}
			if d[0]%14 == 11 {
				ins.Op |= srcX
			}
		case 12:
			ins = bpf.RawInstruction{Op: []uint16{classMisc, classMisc | txa}[d[1]%2]}
		case 13:
			switch d[1] % 4 {
			case 0:
				ins = bpf.RawInstruction{Op: classJmp | jmpJa, K: uint32(forward(d[2]))}
			case 1:
				ins = bpf.RawInstruction{Op: classRet, K: k}
			case 2:
				ins = bpf.RawInstruction{Op: classRet | retA}
			case 3:
				ins = bpf.RawInstruction{Op: classLdx | modeLen}
			}
		}
		code = append(code, ins)
	}
	return append(code, bpf.RawInstruction{Op: classRet | retA})
}

// usesLdxLen: x/net/bpf takes "ldx len" for "ld len".
func usesLdxLen(code []bpf.RawInstruction) bool {
	for _, ins := range code {
		if ins.Op == classLdx|modeLen {
			return true
		}
	}
	return false
}

// agree checks one program: the verifier takes it, and kernel, run and x/net/bpf say the same.
func agree(t *testing.T, spec *ebpf.CollectionSpec, code []bpf.RawInstruction, packets [][]byte) {
	t.Helper()
	l, err := tryLoad(t, spec, &Pair{Ethernet: code})
	if err != nil {
		t.Fatalf("%v: %+v", code, err)
	}
	defer l.coll.Close()
	for _, packet := range packets {
		packet = packet[:min(len(packet), BufferSize)]
		got, want := l.ask(t, Ethernet, packet, uint32(len(packet))), run(code, packet, uint32(len(packet)))
		if got != want {
			t.Fatalf("%v\npacket %x: the kernel says %d, run says %d", code, packet, got, want)
		}
		if vm, ok := reference(code, packet); ok && !usesLdxLen(code) && vm != want {
			t.Fatalf("%v\npacket %x: x/net/bpf says %d, run says %d", code, packet, vm, want)
		}
		if got := l.ask(t, Raw, packet, 0); got != 0 {
			t.Fatalf("no program: the kernel says %d, want 0", got)
		}
	}
}

// Random programs, far from what libpcap writes.
func TestRandomPrograms(t *testing.T) {
	need.Root(t)
	const seed = 4
	r := rand.New(rand.NewPCG(seed, 0))
	spec := object(t)
	seeds := packets()
	for i := range 200 {
		if i%settleEvery == 0 {
			settle(t)
		}
		data := make([]byte, 4*(1+r.IntN(40)))
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		agree(t, spec, generate(data), [][]byte{mutate(r, seeds), mutate(r, seeds), mutate(r, seeds), nil})
	}
}

func FuzzTranslate(f *testing.F) {
	need.Root(f)
	f.Add([]byte("\x01\x00\x02\x00\x0a\x00\x01\x01\x09\x03\x00\x00"), packets()[0])
	f.Add(bytes.Repeat([]byte{11, 1, 2, 3, 9, 6, 0, 0, 6, 1, 1, 0, 2, 1, 8, 0}, 10), packets()[5])
	spec := object(f)
	f.Fuzz(func(t *testing.T, data, packet []byte) {
		settle(t) // each time: a worker runs on for as long as it is told to
		agree(t, spec, generate(data), [][]byte{packet})
	})
}

func TestRefusedPrograms(t *testing.T) {
	ret := bpf.RawInstruction{Op: classRet}
	for name, code := range map[string][]bpf.RawInstruction{
		"no return":      {{Op: classLd | modeLen}},
		"jump":           {{Op: classJmp | jmpJa, K: 1}, ret},
		"far jump":       {{Op: classJmp | jmpJa, K: 0xffffffff}, ret},
		"branch":         {{Op: classJmp | jmpJeq, Jt: 1}, ret},
		"scratch":        {{Op: classSt, K: 16}, ret},
		"scratch load":   {{Op: classLd | modeMem, K: 16}, ret},
		"divide":         {{Op: classAlu | aluDiv}, ret},
		"modulo":         {{Op: classAlu | aluMod}, ret},
		"shift":          {{Op: classAlu | aluLsh, K: 32}, ret},
		"ancillary":      {{Op: classLd | modeAbs, K: 0xfffff000}, ret},
		"size":           {{Op: classLd | modeAbs | 0x18}, ret},
		"opcode":         {{Op: 0xffff}, ret},
		"high opcode":    {{Op: 0x100 | classLd | modeAbs}, ret},
		"msh as A":       {{Op: classLd | modeMsh | sizeB}, ret},
		"abs as X":       {{Op: classLdx | modeAbs}, ret},
		"return X":       {{Op: classRet | srcX}},
		"alu":            {{Op: classAlu | 0xb0}, ret},
		"too many":       make([]bpf.RawInstruction, maxInsns+1),
		"jump of nobody": {{Op: classJmp | 0x50}, ret},
	} {
		if _, err := Translate(code, Options{}); err == nil {
			t.Errorf("%s: got a program, want an error", name)
		}
		run(code, []byte{1, 2, 3}, 3) // must not panic
	}
	if _, err := Translate([]bpf.RawInstruction{ret}, Options{Buffer: -1}); err == nil {
		t.Error("negative buffer: got a program, want an error")
	}
}

// The wire length is the packet's, not what was captured of it.
func TestMatchWireLen(t *testing.T) {
	p, err := Programs(t.Context(), "greater 1000")
	if err != nil {
		t.Fatal(err)
	}
	for wireLen, want := range map[int]bool{999: false, 1000: true} {
		if got := Match(p, Ethernet, make([]byte, 64), wireLen); got != want {
			t.Errorf("%d bytes on the wire: got %v, want %v", wireLen, got, want)
		}
	}
	if !Match(nil, Raw, nil, 0) {
		t.Error("no expression: got false, want true")
	}
}
