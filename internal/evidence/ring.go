package evidence

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ringParam is struct ethtool_ringparam of linux/ethtool.h.
type ringParam struct {
	cmd                                                 uint32
	rxMax, rxMiniMax, rxJumboMax, txMax                 uint32
	rxPending, rxMiniPending, rxJumboPending, txPending uint32
}

// ifreq is struct ifreq of linux/if.h with a pointer in its union.
type ifreq struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [16]byte // the union is larger than a pointer
}

const ethtoolGRingParam = 0x10 // ETHTOOL_GRINGPARAM

// ringFacts tells the length of the NIC's rings, now and at most.
func ringFacts(c *collector) ([]Fact, error) {
	if c.IfName == "" || len(c.IfName) >= unix.IFNAMSIZ {
		return nil, errNoInterface
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open socket: %w", err)
	}
	defer unix.Close(fd)
	p := ringParam{cmd: ethtoolGRingParam}
	r := ifreq{data: unsafe.Pointer(&p)}
	copy(r.name[:], c.IfName)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&r)))
	runtime.KeepAlive(&p)
	if errno == unix.EOPNOTSUPP {
		return []Fact{{Name: "ring of " + c.IfName, Value: "none", Note: "a virtual device, or a driver without this setting"}}, nil
	}
	if errno != 0 {
		return nil, fmt.Errorf("read ring of %s: %w", c.IfName, errno)
	}
	return []Fact{
		ringFact(c.IfName, "receive", "rx", p.rxPending, p.rxMax),
		ringFact(c.IfName, "send", "tx", p.txPending, p.txMax),
	}, nil
}

func ringFact(ifname, way, option string, now, limit uint32) Fact {
	f := Fact{Name: way + " ring of " + ifname, Value: fmt.Sprintf("%d of at most %d", now, limit)}
	if now < limit {
		f.Note = fmt.Sprintf("can grow: ethtool -G %s %s %d", ifname, option, limit)
	}
	return f
}
