// Package ethtool asks drivers for what only they know, by the ioctl of
// ethtool(8): the lengths of rings, and the statistics of a driver's own. It
// changes no setting. evidence and the ledger's counters import it.
//
// There are libraries for it: github.com/mdlayher/ethtool speaks netlink, which
// does not tell drivers' own statistics, and github.com/safchain/ethtool makes
// a map of strings of each answer.
package ethtool

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Commands and constants of linux/ethtool.h.
const (
	cmdRings    = 0x10 // ETHTOOL_GRINGPARAM
	cmdStrings  = 0x1b // ETHTOOL_GSTRINGS
	cmdStats    = 0x1d // ETHTOOL_GSTATS
	cmdSets     = 0x37 // ETHTOOL_GSSET_INFO
	setStats    = 1    // ETH_SS_STATS
	lenString   = 32   // ETH_GSTRING_LEN
	ringsLength = 36   // sizeof(struct ethtool_ringparam)

	// maxStats bounds what a driver may say; the largest have some thousands.
	maxStats = 65536
)

// ErrNone says that the device has nothing of the kind: it is virtual, or its
// driver does not tell.
var ErrNone = errors.New("the device has none")

// Ask hands a command to a device's driver, which answers in its place.
type Ask func(ifname string, command []byte) error

// Socket is a socket that asks the devices of the network namespace in which
// it was opened.
type Socket struct{ fd int }

// Open opens a socket in the calling thread's network namespace.
func Open() (Socket, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return Socket{}, fmt.Errorf("open socket: %w", err)
	}
	return Socket{fd}, nil
}

// Close closes the socket.
func (s Socket) Close() { unix.Close(s.fd) }

// ifreq is struct ifreq of linux/if.h with a pointer in its union.
type ifreq struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [16]byte // the union is larger than a pointer
}

// Ask implements the type of this name. It fails with ErrNone for devices that
// do not know the command.
func (s Socket) Ask(ifname string, command []byte) error {
	if len(ifname) >= unix.IFNAMSIZ || len(command) == 0 {
		return unix.EINVAL
	}
	r := ifreq{data: unsafe.Pointer(&command[0])}
	copy(r.name[:], ifname)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(s.fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&r)))
	runtime.KeepAlive(command)
	switch errno {
	case 0:
		return nil
	case unix.EOPNOTSUPP:
		return ErrNone
	}
	return errno
}

// Rings are the lengths of a NIC's descriptor rings, now and at most.
type Rings struct {
	Rx, RxMax, Tx, TxMax uint32
}

// ReadRings asks for the rings of a device.
func ReadRings(ask Ask, ifname string) (Rings, error) {
	// Command, then at most: rx, mini, jumbo, tx; then the same as they are.
	var b [ringsLength]byte
	binary.NativeEndian.PutUint32(b[:], cmdRings)
	if err := ask(ifname, b[:]); err != nil {
		return Rings{}, err
	}
	field := func(i int) uint32 { return binary.NativeEndian.Uint32(b[4*i:]) }
	return Rings{Rx: field(5), RxMax: field(1), Tx: field(8), TxMax: field(4)}, nil
}

// Statistics reads drivers' statistics. Its zero value is usable; it keeps
// buffers, and the names of what it read last.
type Statistics struct {
	buf   []byte
	lists map[string][]string // names, by the strings as the driver gave them
}

// maxLists bounds the lists of names kept: a driver and its number of queues
// make one.
const maxLists = 256

// Read returns the names and values of a device's statistics, in the driver's
// order. Names may be shared with other devices: do not change them.
func (s *Statistics) Read(ask Ask, ifname string) (names []string, values []uint64, err error) {
	count, err := s.count(ask, ifname)
	if err != nil {
		return nil, nil, err
	}
	if names, err = s.names(ask, ifname, count); err != nil {
		return nil, nil, err
	}
	b := s.command(cmdStats, 0, 8+8*count)
	binary.NativeEndian.PutUint32(b[4:], uint32(count))
	if err := ask(ifname, b); err != nil {
		return nil, nil, err
	}
	// A device whose queues changed meanwhile may tell fewer.
	count = min(count, int(binary.NativeEndian.Uint32(b[4:])))
	values = make([]uint64, count)
	for i := range values {
		values[i] = binary.NativeEndian.Uint64(b[8+8*i:])
	}
	return names[:count], values, nil
}

// count asks how many statistics there are.
func (s *Statistics) count(ask Ask, ifname string) (int, error) {
	b := s.command(cmdSets, 0, 20)
	binary.NativeEndian.PutUint64(b[8:], 1<<setStats)
	if err := ask(ifname, b); err != nil {
		return 0, err
	}
	count := binary.NativeEndian.Uint32(b[16:])
	if binary.NativeEndian.Uint64(b[8:])&(1<<setStats) == 0 || count == 0 {
		return 0, ErrNone
	}
	if count > maxStats {
		return 0, fmt.Errorf("%d statistics, want at most %d", count, maxStats)
	}
	return int(count), nil
}

func (s *Statistics) names(ask Ask, ifname string, count int) ([]string, error) {
	b := s.command(cmdStrings, setStats, 12+lenString*count)
	binary.NativeEndian.PutUint32(b[8:], uint32(count))
	if err := ask(ifname, b); err != nil {
		return nil, err
	}
	if got := binary.NativeEndian.Uint32(b[8:]); int(got) != count {
		return nil, fmt.Errorf("%d names of %d statistics: the device changed meanwhile", got, count)
	}
	b = b[12:]
	if names, ok := s.lists[string(b)]; ok {
		return names, nil
	}
	names := make([]string, count)
	for i := range names {
		name, _, _ := bytes.Cut(b[lenString*i:lenString*(i+1)], []byte{0})
		names[i] = string(bytes.TrimSpace(name))
	}
	if s.lists == nil || len(s.lists) >= maxLists {
		s.lists = map[string][]string{}
	}
	s.lists[string(b)] = names
	return names, nil
}

// command returns the buffer, empty but for the first two words. There is room
// for maxStats behind it: the kernel writes as many as there are by then, which
// may be more than it said before (ethtool_get_strings in net/ethtool/ioctl.c).
// Pages that are never written to take no memory.
func (s *Statistics) command(cmd, second uint32, size int) []byte {
	if s.buf == nil {
		s.buf = make([]byte, 12+lenString*maxStats)
	}
	b := s.buf[:size]
	clear(b)
	binary.NativeEndian.PutUint32(b, cmd)
	binary.NativeEndian.PutUint32(b[4:], second)
	return b
}
