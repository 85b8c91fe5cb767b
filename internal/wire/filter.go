package wire

import (
	"fmt"

	"github.com/gopacket/gopacket/layers"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// whole is what a filter returns to have all of a frame: libpcap's snapshot length.
const whole = 262144

// programFor is the filter that the socket gets: first what can hold TCP or UDP at
// all, then what was asked for.
func programFor(link layers.LinkType, asked func(layers.LinkType) ([]bpf.RawInstruction, error)) ([]bpf.RawInstruction, error) {
	list := append(tagged(), ethernet()...)
	if link != layers.LinkTypeEthernet {
		list = raw()
	}
	if asked == nil {
		list = append(list, bpf.RetConstant{Val: whole})
	}
	code, err := bpf.Assemble(list)
	if err != nil || asked == nil {
		return code, err
	}
	rest, err := asked(link)
	if err != nil {
		return nil, err
	}
	if n := len(code) + len(rest); n > maxInstructions {
		return nil, fmt.Errorf("the filter has %d instructions, at most %d can be attached; make the expression shorter, say with nets for hosts", n, maxInstructions)
	}
	return append(code, rest...), nil
}

// maxInstructions is the kernel's BPF_MAXINSNS.
const maxInstructions = 4096

// tagged lets everything through that has a VLAN tag, which is not where an
// expression looks for it.
func tagged() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtVLANTagPresent},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 1},
		bpf.RetConstant{Val: whole},
	}
}

// ethernet goes on behind itself with frames that can hold TCP or UDP, in tunnels
// and behind further tags too: those that package packet looks into.
func ethernet() []bpf.Instruction {
	const header, snap = 14, 0x600 // below are lengths, and types come after
	four, six := four(header), six(header)
	others := []uint32{unix.ETH_P_8021Q, unix.ETH_P_8021AD, unix.ETH_P_QINQ1}
	list := []bpf.Instruction{
		bpf.LoadAbsolute{Off: header - 2, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: snap, SkipFalse: uint8(1 + len(others) + 1 + 1 + len(four) + 1 + len(six))},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_IP, SkipTrue: uint8(len(others) + 1 + 1)},
	}
	list = append(list, bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_IPV6, SkipTrue: uint8(len(others) + 1 + len(four) + 1)})
	for i, kind := range others {
		list = append(list, bpf.JumpIf{Cond: bpf.JumpEqual, Val: kind, SkipTrue: uint8(len(others) - i - 1 + 1 + len(four) + 1 + len(six))})
	}
	list = append(list, bpf.RetConstant{})
	list = append(list, four...)
	list = append(list, bpf.Jump{Skip: uint32(len(six))})
	return append(list, six...)
}

// raw is the same for IP without a link.
func raw() []bpf.Instruction {
	four, six := four(0), six(0)
	list := []bpf.Instruction{
		bpf.LoadAbsolute{Off: 0, Size: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 4, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 6, SkipTrue: uint8(1 + len(four) + 1)},
		bpf.RetConstant{},
	}
	list = append(list, four...)
	list = append(list, bpf.Jump{Skip: uint32(len(six))})
	return append(list, six...)
}

// four goes on behind itself with IPv4 of the right protocols; every fragment has
// them.
func four(at uint32) []bpf.Instruction { return oneOf(at+9, protocols()) }

// six is the same for IPv6, behind whose extension headers anything may be.
func six(at uint32) []bpf.Instruction {
	return oneOf(at+6, append(protocols(), unix.IPPROTO_HOPOPTS, unix.IPPROTO_ROUTING, unix.IPPROTO_FRAGMENT, unix.IPPROTO_DSTOPTS,
		unix.IPPROTO_AH, unix.IPPROTO_MH, protoHIP, protoShim6))
}

// Numbers that x/sys/unix does not have (RFC 7401, RFC 5533).
const (
	protoHIP   = 139
	protoShim6 = 140
)

// protocols are TCP and UDP, and those of tunnels.
func protocols() []uint32 {
	return []uint32{unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_GRE, unix.IPPROTO_IPIP, unix.IPPROTO_IPV6}
}

// oneOf ends with 0 unless a byte is one of those.
func oneOf(at uint32, values []uint32) []bpf.Instruction {
	list := []bpf.Instruction{bpf.LoadAbsolute{Off: at, Size: 1}}
	for i, v := range values {
		list = append(list, bpf.JumpIf{Cond: bpf.JumpEqual, Val: v, SkipTrue: uint8(len(values) - i)})
	}
	return append(list, bpf.RetConstant{})
}
