package wire

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The ring: 32 MiB are a quarter of a second of a full gigabit. A frame is no longer
// than a block: what segmentation offload makes has 64 KiB, BIG TCP's 512.
const (
	blockSize = 1 << 20
	blocks    = 32
	frameSize = 1 << 11 // only divides blocks for the kernel's arithmetic
	// retire is how long the kernel keeps a block that is not full.
	retire = 50 * time.Millisecond
	// tagSize is a VLAN tag's; the kernel leaves so much room before each frame.
	tagSize = 4
)

// ring is memory that the kernel writes frames to, block by block.
type ring struct {
	memory []byte
	block  int    // the one that is read, or waited for
	left   uint32 // frames in it that are not read yet
	at     uint32 // where in the block the next one is
	taken  bool   // the block is ours
}

// open gives a socket its ring.
func (r *ring) open(fd int) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_RESERVE, tagSize); err != nil {
		return err
	}
	err := unix.SetsockoptTpacketReq3(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &unix.TpacketReq3{
		Block_size: blockSize, Block_nr: blocks, Frame_size: frameSize, Frame_nr: blockSize / frameSize * blocks,
		Retire_blk_tov: uint32(retire.Milliseconds()),
	})
	if err != nil {
		return err
	}
	r.memory, err = unix.Mmap(fd, 0, blockSize*blocks, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map it: %w", err)
	}
	return nil
}

func (r *ring) close() error {
	if r.memory == nil {
		return nil
	}
	memory := r.memory
	r.memory = nil
	return unix.Munmap(memory)
}

// header is how the block begins.
func (r *ring) header() *unix.TpacketHdrV1 {
	d := (*unix.TpacketBlockDesc)(unsafe.Pointer(&r.memory[r.block*blockSize]))
	return (*unix.TpacketHdrV1)(unsafe.Pointer(&d.Hdr))
}

// ready reports whether the kernel has handed the block over.
func (r *ring) ready() bool {
	return atomic.LoadUint32(&r.header().Block_status)&unix.TP_STATUS_USER != 0
}

// next returns the next frame, if the kernel has handed over one. It gives a block
// back when the first frame behind it is asked for.
func (r *ring) next() (Frame, bool) {
	for r.left == 0 {
		if r.taken {
			atomic.StoreUint32(&r.header().Block_status, unix.TP_STATUS_KERNEL)
			r.block, r.taken = (r.block+1)%blocks, false
		}
		if !r.ready() {
			return Frame{}, false
		}
		h := r.header()
		r.taken, r.left, r.at = true, h.Num_pkts, h.Offset_to_first_pkt
	}
	b := r.memory[r.block*blockSize:][r.at:blockSize]
	h := (*unix.Tpacket3Hdr)(unsafe.Pointer(&b[0]))
	r.left--
	r.at += h.Next_offset
	return frameOf(b, h), true
}

// frameOf reads a frame and puts back its VLAN tag, before the addresses' end.
func frameOf(b []byte, h *unix.Tpacket3Hdr) Frame {
	const addresses = 12
	f := Frame{
		Time:  time.Unix(int64(h.Sec), int64(h.Nsec)),
		Bytes: b[h.Mac:][:h.Snaplen], Length: int(h.Len),
	}
	if h.Status&unix.TP_STATUS_VLAN_VALID == 0 || h.Snaplen < addresses {
		return f
	}
	kind := uint16(unix.ETH_P_8021Q)
	if h.Status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
		kind = h.Hv1.Vlan_tpid
	}
	f.Bytes, f.Length = b[h.Mac-tagSize:][:h.Snaplen+tagSize], f.Length+tagSize
	copy(f.Bytes, f.Bytes[tagSize:][:addresses])
	binary.BigEndian.PutUint16(f.Bytes[addresses:], kind)
	binary.BigEndian.PutUint16(f.Bytes[addresses+2:], uint16(h.Hv1.Vlan_tci))
	return f
}
