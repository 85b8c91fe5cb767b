package ethtool

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

// driver answers as a driver with these statistics does.
func driver(names []string, values []uint64) Ask {
	return func(_ string, b []byte) error {
		switch binary.NativeEndian.Uint32(b) {
		case cmdSets:
			binary.NativeEndian.PutUint32(b[16:], uint32(len(names)))
		case cmdStrings:
			for i, n := range names[:min(len(names), (len(b)-12)/lenString)] {
				copy(b[12+lenString*i:], n)
			}
			binary.NativeEndian.PutUint32(b[8:], uint32(len(names)))
		case cmdStats:
			for i, v := range values {
				binary.NativeEndian.PutUint64(b[8+8*i:], v)
			}
			binary.NativeEndian.PutUint32(b[4:], uint32(len(values)))
		case cmdRings:
			for i := range 8 {
				binary.NativeEndian.PutUint32(b[4+4*i:], uint32(i+1))
			}
		default:
			return ErrNone
		}
		return nil
	}
}

func TestRead(t *testing.T) {
	var s Statistics
	names, values, err := s.Read(driver([]string{"rx_queue_0_drops", "  tx_timeout"}, []uint64{7, 1 << 40}), "eth0")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"rx_queue_0_drops", "tx_timeout"}, names); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]uint64{7, 1 << 40}, values); diff != "" {
		t.Errorf("values (-want +got):\n%s", diff)
	}
	again, _, err := s.Read(driver([]string{"rx_queue_0_drops", "  tx_timeout"}, []uint64{8, 0}), "eth1")
	if err != nil || &again[0] != &names[0] {
		t.Errorf("the same names are not shared, error %v", err)
	}
	if _, _, err := s.Read(driver(nil, nil), "eth0"); !errors.Is(err, ErrNone) {
		t.Errorf("no statistics: got error %v, want ErrNone", err)
	}
	if _, _, err := s.Read(driver(make([]string, maxStats+1), nil), "eth0"); err == nil {
		t.Error("too many statistics: got no error")
	}
	// Fewer by the time that they are told.
	names, values, err = s.Read(driver([]string{"a", "b"}, []uint64{3}), "eth0")
	if err != nil || len(names) != 1 || len(values) != 1 {
		t.Errorf("fewer values: got %q %d, error %v; want one", names, values, err)
	}
}

func TestReadRings(t *testing.T) {
	got, err := ReadRings(driver(nil, nil), "eth0")
	if want := (Rings{RxMax: 1, TxMax: 4, Rx: 5, Tx: 8}); err != nil || got != want {
		t.Errorf("got %+v, error %v; want %+v", got, err, want)
	}
}

func TestSocket(t *testing.T) {
	need.Root(t)
	lab := netlab.New(t)
	a, b := lab.NetNS("a"), lab.NetNS("b")
	lab.Veth(a, "va", b, "vb")
	var socket Socket
	a.Do(func() (err error) {
		socket, err = Open()
		return err
	})
	defer socket.Close()
	var s Statistics
	names, values, err := s.Read(socket.Ask, "va")
	if err != nil || len(names) == 0 || names[0] != "peer_ifindex" {
		t.Fatalf("statistics of a veth: got %q, error %v; want peer_ifindex first", names, err)
	}
	if want := uint64(b.Index("vb")); values[0] != want {
		t.Errorf("peer_ifindex: got %d, want %d", values[0], want)
	}
	if _, _, err := s.Read(socket.Ask, "lo"); !errors.Is(err, ErrNone) {
		t.Errorf("statistics of lo: got error %v, want ErrNone", err)
	}
	if _, _, err := s.Read(socket.Ask, "vb"); !errors.Is(err, unix.ENODEV) {
		t.Errorf("statistics of another namespace's device: got error %v, want ENODEV", err)
	}
	if _, err := ReadRings(socket.Ask, "lo"); !errors.Is(err, ErrNone) {
		t.Errorf("rings of lo: got error %v, want ErrNone", err)
	}
}

// FuzzRead reads what drivers may answer.
func FuzzRead(f *testing.F) {
	f.Add([]byte{2}, []byte("rx_drops"), []byte{1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, sets, strings, stats []byte) {
		ask := func(_ string, b []byte) error {
			switch binary.NativeEndian.Uint32(b) {
			case cmdSets:
				copy(b[16:], sets)
			case cmdStrings:
				copy(b[12:], strings)
			case cmdStats:
				copy(b[4:], stats)
			}
			return nil
		}
		var s Statistics
		names, values, err := s.Read(ask, "eth0")
		if err == nil && len(names) != len(values) {
			t.Errorf("%d names of %d values", len(names), len(values))
		}
	})
}
