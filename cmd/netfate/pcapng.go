package main

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/netfate/netfate/internal/agent"
	"github.com/netfate/netfate/internal/export/pcapng"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/internal/sensor/packet"
	"github.com/netfate/netfate/internal/verdict"
)

const (
	// dropSnaplen and maxDropSnaplen bound what is kept of a lost packet: of those
	// many come at once, and each takes as much of the ring as any may.
	dropSnaplen    = 256
	maxDropSnaplen = 2048
	// maxSnaplen is what is kept of other packets, unless less is wanted.
	maxSnaplen = packet.MaxSnaplen
	// captureEvery is how often a capture is written, and unbufferedEvery with -U.
	captureEvery    = 250 * time.Millisecond
	unbufferedEvery = 100 * time.Millisecond
	// everySample lets the programs sample each drop, as far as the ring has room.
	everySample = math.MaxInt32
)

// captureFlags are the flags of capture.
type captureFlags struct {
	path       string
	ring       string
	snaplen    uint32
	count      uint64
	unbuffered bool
	drops, all bool
}

func newCapture() *cobra.Command {
	w := &watch{noNames: true}
	var c captureFlags
	cmd := &cobra.Command{
		Use:   "capture -w {FILE|-} [FILTER]",
		Short: "Write packets, or lost ones, of all namespaces to a pcapng file, with whose they are",
		Long: `Capture writes packets as Wireshark and tshark read them, in pcapng: those of all
network namespaces at once, where interfaces receive and send them, attached to none.
Each has in its comments where it was seen and whose socket it belongs to, as far as
that is known, and its direction in its flags; each interface in each namespace has a
block, called netns/interface. A packet that crosses several interfaces is there as
often. A VLAN tag is in its place; a GSO or GRO buffer is one packet, as long as it
is.

With --drops it writes the packets that the kernel freed undelivered, with the reason,
the kernel function, the verdict and what to do about it in their comments. The time
is that of the loss. A lost packet is cut behind --snaplen bytes, and where its data
lies in pages beside its buffer, as that of large TCP segments does. Benign drops are
left out unless --all.

How many packets there were is counted apart from what is written: the difference is
in the statistics of the interfaces, and told at the end.

FILTER is a pcap-filter expression as tcpdump takes it, evaluated in the kernel. -w -
writes to a pipe; when its reader ends, so does capture. A file is whole up to the
last quarter second if netfate is killed. If the disk is full, capture ends with exit
code 4.`,
		Example: `  sudo netfate capture -w web.pcapng --netns web port 443
  sudo netfate capture -w - not port 22 | wireshark -k -i -
  sudo netfate capture -w curl.pcapng --comm curl -d 1m
  sudo netfate capture --drops -w lost.pcapng
  sudo netfate capture --drops -w - tcp | wireshark -k -i -
  sudo netfate capture --drops -c 100 -s 2048 -w - | tshark -r - -T fields -e frame.comment
  sudo netfate capture --drops --ring 10x100MB -w /var/tmp/lost.pcapng
  netfate capture --drops -r night.nfr -w lost.pcapng`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !c.drops && (c.all || w.read != "") {
				return usagef("--all and --read are for lost packets: say --drops, or leave them out")
			}
			target, err := c.target(w.describe(expression(args)))
			if err != nil {
				return err
			}
			if w.every = captureEvery; c.unbuffered {
				w.every = unbufferedEvery
			}
			if c.drops {
				w.cfg.Drops, w.cfg.Samples, w.cfg.Snaplen = true, everySample, uint16(target.About.Snaplen)
			}
			if err := w.prepare(cmd.Context(), args); err != nil {
				return err
			}
			if c.drops {
				return w.captureDrops(cmd.Context(), &c, target)
			}
			return w.capturePackets(cmd.Context(), &c, target)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVar(&c.drops, "drops", false, "write lost packets, with what became of each")
	f.StringVarP(&c.path, "write", "w", "", "file to write, - for standard output")
	f.StringVar(&c.ring, "ring", "", "instead of one file so many of about that size, for example 10x100MB: the oldest goes, names have number and time")
	f.Uint32VarP(&c.snaplen, "snaplen", "s", 0, fmt.Sprintf("bytes of each packet to keep (0: %d, of lost ones %d)", maxSnaplen, dropSnaplen))
	f.Uint64VarP(&c.count, "count", "c", 0, "stop after so many packets (0: until Ctrl-C)")
	f.DurationVarP(&w.duration, "duration", "d", 0, "stop after this long, for example 30s (0: until Ctrl-C)")
	f.BoolVarP(&c.unbuffered, "unbuffered", "U", false, "write each tenth of a second in place of each quarter")
	f.BoolVarP(&c.all, "all", "a", false, "with --drops: write benign ones too")
	f.StringVarP(&w.read, "read", "r", "", "with --drops: those of a recording, as far as it has samples")
	w.selection(cmd)
	w.calling(cmd)
	return cmd
}

// target turns flags into where packets go.
func (c *captureFlags) target(selected string) (t pcapng.Target, err error) {
	switch {
	case c.path == "":
		return t, usagef("capture needs -w FILE; '-w - | wireshark -k -i -' shows packets as they come")
	case c.path == "-" && c.ring != "":
		return t, usagef("--ring makes files: -w names them, and not standard output")
	case c.path == "-" && term.IsTerminal(int(os.Stdout.Fd())):
		return t, usagef("a capture is not for a terminal: give -w FILE, or '-w - | wireshark -k -i -'")
	}
	most, usual := uint32(maxSnaplen), uint32(maxSnaplen)
	if c.drops {
		most, usual = maxDropSnaplen, dropSnaplen
	}
	if c.snaplen > most {
		return t, usagef("--snaplen %d: it is %d at most", c.snaplen, most)
	}
	t.Path = c.path
	if c.path == "-" {
		t.Pipe = os.Stdout
	}
	if c.ring != "" {
		if t.Ring, err = parseRing(c.ring); err != nil {
			return t, err
		}
	}
	t.About, err = about(selected)
	t.About.Snaplen = cmp.Or(c.snaplen, usual)
	return t, err
}

// about says in a file what made it.
func about(selected string) (pcapng.About, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return pcapng.About{}, fmt.Errorf("read the kernel's release: %w", err)
	}
	a := pcapng.About{
		Netfate: "netfate " + version(), System: "Linux " + unix.ByteSliceToString(uts.Release[:]),
		Comment: "host " + unix.ByteSliceToString(uts.Nodename[:]),
	}
	if selected != "" {
		a.Comment += ", only " + selected
	}
	return a, nil
}

// parseRing reads a number of files and their size, as 10x100MB.
func parseRing(text string) (pcapng.Ring, error) {
	bad := usagef("--ring %s: it is a number of files and the size of each, for example 10x100MB, of at least 2 files and 64kB", text)
	number, size, ok := strings.Cut(text, "x")
	files, err := strconv.Atoi(number)
	if !ok || err != nil {
		return pcapng.Ring{}, bad
	}
	digits := strings.TrimRight(size, "kKMGiB")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return pcapng.Ring{}, bad
	}
	unit, ok := map[string]int64{
		"": 1, "B": 1, "k": 1e3, "kB": 1e3, "KB": 1e3, "M": 1e6, "MB": 1e6, "G": 1e9, "GB": 1e9,
		"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30,
	}[size[len(digits):]]
	const least = 64_000
	if !ok || files < 2 || n > math.MaxInt64/unit || n*unit < least {
		return pcapng.Ring{}, bad
	}
	return pcapng.Ring{Files: files, Bytes: n * unit}, nil
}

// captureDrops writes lost packets.
func (w *watch) captureDrops(ctx context.Context, c *captureFlags, t pcapng.Target) error {
	book, err := verdict.New()
	if err != nil {
		return err
	}
	w.cfg.Book = book
	signal.Ignore(syscall.SIGPIPE) // a reader that ends is no reason to die
	files, err := pcapng.OpenFiles(t, time.Now())
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	sink := pcapng.NewDrops(files)
	sink.All, sink.Most, sink.Read, sink.Stop = c.all, c.count, reading(book), stop
	err = w.run(ctx, "drops", []agent.Output{{Name: "the capture", Sink: sink}})
	tellCaptured(sink.Sums(), sink.Losses())
	return err
}

// capturePackets writes packets as they pass interfaces.
func (w *watch) capturePackets(ctx context.Context, c *captureFlags, t pcapng.Target) error {
	signal.Ignore(syscall.SIGPIPE)
	files, err := pcapng.OpenFiles(t, time.Now())
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	sink := pcapng.NewFrames(files)
	sink.Most, sink.Stop = c.count, stop
	n, err := agent.Capture(ctx, agent.CaptureConfig{
		Filter: w.cfg.Filter, Select: w.cfg.Select, Snaplen: t.About.Snaplen, Every: w.every, Containers: w.cfg.Containers, Raw: w.raw,
	}, sink, w.ready("packets", stop))
	sums := sink.Sums()
	if sums.Written != c.count || c.count == 0 {
		// Devices whose losses found no room are in the sum all the same.
		sums.Lost = max(sums.Lost, n.Matched-min(n.Matched, n.Read))
		sums.Seen = max(sums.Seen, sums.Written+sums.Lost)
	}
	tellCaptured(sums, sink.Losses())
	return err
}

// reading returns what says of a drop what it means and what to do.
func reading(book *verdict.Book) func(*record.Drop) pcapng.Reading {
	whys := why(book)
	return func(d *record.Drop) pcapng.Reading {
		r := pcapng.Reading{Why: whys(*d)}
		entry, err := book.Explain(d.Reason)
		if d.Verdict == record.Benign || err != nil || len(entry.Fix) == 0 {
			return r
		}
		r.Fix = fmt.Sprintf("%s (netfate explain %s)", strings.TrimPrefix(entry.Fix[0], "$ "), d.Reason)
		return r
	}
}

// tellCaptured says at the end what is in a capture and what is not.
func tellCaptured(n pcapng.Sums, losses []record.Lost) {
	fmt.Fprintf(os.Stderr, "netfate: wrote %d packets", n.Written)
	if n.Lost > 0 {
		fmt.Fprintf(os.Stderr, "; %d of %d are missing", n.Lost, n.Seen)
	}
	fmt.Fprintln(os.Stderr)
	for _, l := range losses {
		fmt.Fprintf(os.Stderr, "netfate: note: %s: %s: %d; %s\n", l.Place, l.Reason, l.Count, l.Effect)
	}
}
