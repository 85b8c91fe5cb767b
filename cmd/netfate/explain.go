package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/netfate/netfate/internal/agent"
	"github.com/netfate/netfate/internal/enrich/netns"
	"github.com/netfate/netfate/internal/evidence"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/internal/verdict"
	"github.com/netfate/netfate/internal/view/explain"
	"github.com/netfate/netfate/internal/view/table"
)

func newExplain() *cobra.Command {
	w := &watch{every: time.Second, rows: 5}
	var list bool
	cmd := &cobra.Command{
		Use:   "explain [REASON]",
		Short: "What a drop reason means, the evidence on this host, the fix",
		Long: `Explain says what a drop reason means, its usual causes, how to confirm them and
how to fix them, with the live values of this host that matter.

Without REASON it watches for five seconds (--duration) and explains the losses
that it sees, each with the values of the namespace, interface and socket that
lost the packets. With -r it explains those of a recording.

It speaks English, and Chinese where LC_ALL, LC_MESSAGES or LANG asks for it
(zh_CN.UTF-8).`,
		Example: `  netfate explain NETFILTER_DROP
  netfate explain --list                  every reason, by verdict
  sudo netfate explain                    whatever is being lost now
  sudo netfate explain -i eth0 -d 1m`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("explain takes one reason, got %d arguments", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			book, err := verdict.In(tongue())
			if err != nil {
				return err
			}
			e := explainer{book: book, watch: w, out: os.Stdout, errs: os.Stderr}
			e.style.Width, e.style.Colour = paper()
			e.style.Language = book.Language()
			switch {
			case list:
				return e.list()
			case len(args) == 1:
				return e.reason(cmd.Context(), args[0])
			}
			return e.seen(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVarP(&list, "list", "l", false, "list every reason with its verdict and meaning")
	f.StringVarP(&w.format, "output", "o", "table", "table (text) or json (one object a line)")
	f.DurationVarP(&w.duration, "duration", "d", 5*time.Second, "how long to watch, without REASON")
	f.IntVarP(&w.rows, "rows", "n", w.rows, "explain at most this many losses")
	f.StringVarP(&w.read, "read", "r", "", "explain what a recording lost; needs no privileges")
	w.selection(cmd)
	return cmd
}

// explainer prints entries with the evidence for them.
type explainer struct {
	book      *verdict.Book
	watch     *watch
	out, errs io.Writer
	style     explain.Style
}

func (e *explainer) list() error {
	return explain.WriteIndex(e.out, e.book, e.style)
}

// reason explains one reason by its name, with values of the namespace and
// interface that the flags name.
func (e *explainer) reason(ctx context.Context, name string) error {
	entry, err := e.book.Explain(name)
	if err != nil {
		return usageError{err}
	}
	subject := evidence.Subject{IfName: e.watch.iface, PID: e.watch.pid}
	if e.watch.netns != "" {
		names := netns.New(netns.Config{})
		inode, err := names.Resolve(ctx, e.watch.netns)
		if err != nil {
			return usageError{fmt.Errorf("--netns: %w", err)}
		}
		subject.NetNSPath = pathOf(ctx, names, inode)
	}
	return e.write(entry, evidence.Collect(ctx, entry.Evidence, subject), nil)
}

// pathOf returns a file that enters the namespace, "" if none is found.
func pathOf(ctx context.Context, names *netns.Names, inode uint32) string {
	names.Name(inode)
	if err := names.Refresh(ctx); err != nil {
		return ""
	}
	path, _ := names.Path(inode)
	return path
}

// seen watches, or reads a recording, and explains the worst losses.
func (e *explainer) seen(ctx context.Context) error {
	if err := e.watch.prepare(ctx, nil); err != nil {
		return err
	}
	e.watch.cfg.Drops, e.watch.cfg.Book = true, e.book
	losses := &lossList{}
	if e.watch.read == "" {
		say("looking for losses, for %v", e.watch.duration)
	}
	if err := e.watch.run(ctx, "drops", []agent.Output{{Name: "the list", Sink: losses}}); err != nil {
		return err
	}
	top := losses.worst(e.watch.rows)
	if len(top) == 0 {
		say("nothing was lost that matters (%d packets freed as drops were benign); "+
			"'netfate explain --list' lists the reasons there are", losses.benign)
		return nil
	}
	names := netns.New(netns.Config{})
	for i := range top {
		if err := e.loss(ctx, names, &top[i]); err != nil {
			return err
		}
	}
	if hidden := losses.len() - len(top); hidden > 0 {
		say("%d more kinds of loss were seen; -n %d explains them too", hidden, losses.len())
	}
	return nil
}

func (e *explainer) loss(ctx context.Context, names *netns.Names, d *record.Drop) error {
	reason := d.Reason
	if reason == "" {
		reason = verdict.NoReason
	}
	entry, err := e.book.Explain(reason)
	if err != nil {
		// The kernel has a reason that the rules don't know: say what is known.
		fmt.Fprintln(e.errs, "netfate:", tongue().Translate(err.Error()))
		return nil
	}
	var facts []evidence.Fact
	if e.watch.read == "" { // a recording may be of another host, at another time
		facts = evidence.Collect(ctx, entry.Evidence, evidence.Subject{
			NetNSPath: pathOf(ctx, names, d.NetNS), IfName: d.IfName, Proto: d.Proto, PID: d.PID,
			Src: netip.AddrPortFrom(d.SrcAddr, d.SrcPort), Dst: netip.AddrPortFrom(d.DstAddr, d.DstPort),
		})
	}
	return e.write(entry, facts, d)
}

// write prints one entry; d, if there is one, is the loss that it is about.
func (e *explainer) write(entry verdict.Entry, facts []evidence.Fact, d *record.Drop) error {
	facts = evidence.InWords(facts, e.book.Language())
	if e.watch.format == "json" {
		return e.writeJSON(entry, facts, d)
	}
	if e.watch.format != "table" {
		return usagef("--output is table or json, not %s", e.watch.format)
	}
	if d != nil {
		fmt.Fprintf(e.out, "%s\n\n", headline(d))
	}
	if err := explain.WriteEntry(e.out, entry, facts, e.style); err != nil {
		return err
	}
	_, err := fmt.Fprintln(e.out)
	return err
}

// headline says in one line what was lost.
func headline(d *record.Drop) string {
	var b strings.Builder
	b.WriteString(tongue().Sprintf("== %d packets at %s", d.Packets, d.Location))
	if d.SrcAddr.IsValid() {
		fmt.Fprintf(&b, ": %s %s > %s", d.Proto, endpoint(d.SrcAddr, d.SrcPort), endpoint(d.DstAddr, d.DstPort))
	}
	if d.IfName != "" || d.NetNSName != "" {
		fmt.Fprintf(&b, ", %s/%s", table.Plain(d.NetNSName), table.Plain(d.IfName))
	}
	if d.Comm != "" {
		fmt.Fprintf(&b, ", %s[%d]", table.Plain(d.Comm), d.PID)
	}
	return b.String()
}

func endpoint(a netip.Addr, port uint16) string {
	if port == 0 {
		return a.String()
	}
	return netip.AddrPortFrom(a, port).String()
}

func (e *explainer) writeJSON(entry verdict.Entry, facts []evidence.Fact, d *record.Drop) error {
	type fact struct {
		Key   string `json:"key"`
		Name  string `json:"name"`
		Value string `json:"value"`
		Note  string `json:"note,omitempty"`
	}
	out := struct {
		Reason   string          `json:"reason"`
		Verdict  record.Verdict  `json:"verdict"`
		Meaning  string          `json:"meaning"`
		Causes   []string        `json:"causes"`
		Confirm  []string        `json:"confirm"`
		Fix      []string        `json:"fix"`
		Evidence []fact          `json:"evidence"`
		Drop     json.RawMessage `json:"drop,omitempty"`
	}{entry.Reason, entry.Verdict, entry.Meaning, entry.Causes, entry.Confirm, entry.Fix, []fact{}, nil}
	for _, f := range facts {
		out.Evidence = append(out.Evidence, fact{f.Key, f.Name, f.Value, f.Note})
	}
	if d != nil {
		out.Drop = record.AppendJSON(nil, record.Fields(d), d, false)
	}
	return json.NewEncoder(e.out).Encode(out)
}

func paper() (width int, colour bool) {
	terminal := term.IsTerminal(int(os.Stdout.Fd()))
	if terminal {
		width, _ = terminalSize()
	}
	return width, table.ColourWanted(terminal, os.Getenv)
}

// lossList is a sink that keeps what was lost, by reason, place and namespace,
// each with its busiest flow.
type lossList struct {
	kinds  map[lossKind]*record.Drop
	most   map[lossKind]uint64
	benign uint64
}

type lossKind struct {
	reason, location string
	netns            uint32
}

// maxKinds bounds the list; nobody reads more.
const maxKinds = 1000

// Batch implements agent.Sink.
func (l *lossList) Batch(b *record.Batch) error {
	if l.kinds == nil {
		l.kinds, l.most = map[lossKind]*record.Drop{}, map[lossKind]uint64{}
	}
	for i := range b.Drops {
		d := b.Drops[i]
		if d.Verdict == record.Benign {
			l.benign += d.Packets
			continue
		}
		k := lossKind{d.Reason, d.Location, d.NetNS}
		have := l.kinds[k]
		if have == nil {
			if len(l.kinds) < maxKinds {
				l.kinds[k], l.most[k] = &d, d.Packets
			}
			continue
		}
		total := have.Packets + d.Packets
		if d.Packets > l.most[k] {
			l.most[k] = d.Packets
			*have = d
		}
		have.Packets = total
	}
	return nil
}

// Close implements agent.Sink.
func (l *lossList) Close() error { return nil }

func (l *lossList) len() int { return len(l.kinds) }

// worst returns up to n kinds, by verdict and then by packets.
func (l *lossList) worst(n int) []record.Drop {
	all := make([]record.Drop, 0, len(l.kinds))
	for _, d := range l.kinds {
		all = append(all, *d)
	}
	severity := record.Verdicts()
	slices.SortFunc(all, func(a, b record.Drop) int {
		return cmp.Or(
			cmp.Compare(slices.Index(severity, a.Verdict), slices.Index(severity, b.Verdict)),
			cmp.Compare(b.Packets, a.Packets),
			cmp.Compare(a.Location, b.Location),
		)
	})
	if n > 0 && len(all) > n {
		all = all[:n]
	}
	return all
}
