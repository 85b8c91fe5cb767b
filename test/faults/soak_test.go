package faults

import (
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

var soak = flag.Duration("soak", 0, "how long TestSoak soaks")

// moment is what a daemon takes at one time: bytes resident, of its own and of the
// history's process, and what is open.
type moment struct {
	own, store                 uint64
	files, goroutines, objects int
}

func (d *daemon) moment(t *testing.T) moment {
	h := held(t, d.pid())
	m := moment{own: netlab.StatusOf(d.pid(), "VmRSS: %d kB") << 10, files: h.total(), goroutines: d.status().Process.Goroutines, objects: len(h.objects)}
	for _, pid := range netlab.Children(d.pid()) {
		m.store += netlab.StatusOf(pid, "VmRSS: %d kB") << 10
	}
	return m
}

// most is the largest of each.
func most(all []moment) (m moment) {
	for _, one := range all {
		m = moment{max(m.own, one.own), max(m.store, one.store), max(m.files, one.files), max(m.goroutines, one.goroutines), max(m.objects, one.objects)}
	}
	return m
}

// grow is by how much memory may differ between two quarters of a soak, in bytes: the
// collector's, and the history's buffers, come and go.
const grow = 48 << 20

// TestSoak has a daemon that watches everything, as it is by default, live with drops, flows,
// connections and requests: in the last quarter it takes no more than in the second one.
func TestSoak(t *testing.T) {
	need.Root(t)
	need.Asked(t, *soak > 0, "-soak")
	dir := t.TempDir()
	d := start(t, dir, fmt.Sprintf("history: {path: %s}\n", filepath.Join(dir, "history.duckdb")), nil)
	client, server := pair(d.lab())
	var load sync.WaitGroup
	stop := make(chan struct{})
	load.Go(func() { busy(t, client, server, stop) })
	const samples = 120
	var all []moment
	for began := time.Now(); time.Since(began) < *soak; time.Sleep(*soak / samples) { // it is the soak
		if d.over() {
			t.Fatalf("netfate has ended, %v, after %v; it said:\n%s", d.cmd.ProcessState, time.Since(began), d.said)
		}
		all = append(all, d.moment(t))
	}
	close(stop)
	load.Wait()
	quarter := len(all) / 4
	before, after := most(all[quarter:2*quarter]), most(all[3*quarter:])
	told := &table{head: []string{"The most in", "Daemon, MB", "History's process, MB", "Files", "Goroutines", "Programs, links, maps"}}
	for i, name := range []string{"first", "second", "third", "last"} {
		m := most(all[i*quarter : (i+1)*quarter])
		told.add("the "+name+" quarter of "+soak.String(), m.own>>20, m.store>>20, m.files, m.goroutines, m.objects)
	}
	publish(t, "soak", told)
	if after.own > before.own+grow || after.store > before.store+grow {
		t.Errorf("got %d and %d MB resident in the last quarter, want about the %d and %d of the second", after.own>>20, after.store>>20, before.own>>20, before.store>>20)
	}
	if after.files > before.files+few || after.goroutines > before.goroutines+few || after.objects > before.objects+few {
		t.Errorf("got %+v in the last quarter, want about %+v as in the second", after, before)
	}
}

// busy has the namespaces talk until stop is closed: a thousand packets that are lost, of
// changing flows, and some requests, ten times a second.
func busy(t *testing.T, client, server *netlab.NetNS, stop <-chan struct{}) {
	web := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "here") })}
	listener := server.ListenTCP(serverAddr + ":80")
	go func() { _ = web.Serve(listener) }()
	defer web.Close()
	to := netip.MustParseAddrPort(serverAddr + ":80")
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		flood(client, server, 1000, 100)
		for j := range 5 {
			var c net.Conn
			err := client.Try(func() (err error) { c, err = net.DialTimeout("tcp4", to.String(), 10*time.Second); return err })
			if err != nil {
				t.Errorf("connect: %v", err)
				return
			}
			fmt.Fprintf(c, "GET /%d/%d HTTP/1.1\r\nHost: soak\r\nConnection: close\r\n\r\n", i%1000, j)
			_, _ = io.Copy(io.Discard, c) // netfate says what came of it
			c.Close()
		}
	}
}
