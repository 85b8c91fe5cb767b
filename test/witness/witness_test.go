package witness

import (
	"net"
	"testing"

	"github.com/netfate/netfate/test/need"
)

// interrupts makes packets that the loopback receives in softirqs.
const interrupts = 1000

func receive(t *testing.T) {
	t.Helper()
	sink, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	buffer := make([]byte, 1)
	for range interrupts {
		if _, err := sink.WriteTo([]byte{1}, sink.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		if _, _, err := sink.ReadFrom(buffer); err != nil {
			t.Fatal(err)
		}
	}
}

func TestUnseen(t *testing.T) {
	need.Root(t)
	w := Watch(t)
	receive(t)
	seen, err := w.told()
	if err != nil {
		t.Fatal(err)
	}
	if seen -= w.seen; seen < interrupts {
		t.Errorf("the program saw %d softirqs, want at least %d", seen, interrupts)
	}
	// A machine may hide some; those of this process it does not.
	unseen, err := w.Unseen()
	if err != nil {
		t.Fatal(err)
	}
	if unseen > interrupts/2 {
		t.Errorf("got %d softirqs unseen, want few", unseen)
	}

	// Nobody looks any more.
	if err := w.link.Close(); err != nil {
		t.Fatal(err)
	}
	receive(t)
	blind, err := w.Unseen()
	if err != nil {
		t.Fatal(err)
	}
	if blind < unseen+interrupts {
		t.Errorf("got %d softirqs unseen, want at least %d more than %d", blind, interrupts, unseen)
	}
}

func TestSum(t *testing.T) {
	const text = `                    CPU0       CPU1
          HI:          9          9
       TIMER:          1          2
      NET_TX:          3          4
      NET_RX:          5          6
     TASKLET:          7          8
       SCHED:          9          9
     HRTIMER:         10         20
         RCU:          9          9
`
	got, err := sum([]byte(text))
	if err != nil || got != 66 {
		t.Errorf("got %d and %v, want 66", got, err)
	}
	for _, bad := range []string{"", "NET_RX: 1\n", "TIMER: 1\nNET_TX: x\nNET_RX: 1\nTASKLET: 1\nHRTIMER: 1\n"} {
		if got, err := sum([]byte(bad)); err == nil {
			t.Errorf("got %d of %q, want an error", got, bad)
		}
	}
}
