package main

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/netfate/netfate/internal/agent"
	"github.com/netfate/netfate/internal/alert"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/internal/verdict"
	"github.com/netfate/netfate/internal/view/table"
)

func newWatch() *cobra.Command {
	w := &watch{every: time.Second, noNames: true}
	learn := 3 * time.Minute
	var all, noLedger bool
	cmd := &cobra.Command{
		Use:   "watch [FILTER]",
		Short: "One line when losses begin, rise or end; silent otherwise",
		Long: `Watch says when something changes among what is lost, in all network namespaces,
and nothing while all is as usual:

  new   packets are lost at a place that lost none in the time to learn, nor in
        the day before: a reason, kernel function, namespace and interface
  high  a place loses far more than is usual there, by its own rate and by how
        much its numbers clump; no threshold has to be set
  over  what was told is over

It keeps the ledger's books as well (see netfate ledger), of whole namespaces: what
nothing explains is a place of its own, ~unexplained, and news if it grows and stays.
A FILTER, or a selection other than --netns, leaves them out, and so does --no-ledger,
which spares reading the kernel's counters in each interval.

Each line has what the loss means and the command that shows more of it. What comes
and goes is told ever less often; what is held back is counted. Losses that harm
nobody (benign) are left out.

FILTER is a pcap-filter expression as tcpdump takes it, evaluated in the kernel.`,
		Example: `  sudo netfate watch                       until Ctrl-C
  sudo netfate watch --learn 1h -o json    one object a line, for a pipe
  sudo netfate watch --container web       what changes for one container
  netfate watch -r night.nfr               what changed in a recording`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if learn < 0 {
				return usagef("--learn %v is negative", learn)
			}
			w.cfg.Drops = true
			if !noLedger && w.read == "" && expression(args) == "" && w.pid == 0 && w.comm == "" && w.container == "" && w.iface == "" {
				w.cfg.Ledger, w.cfg.Flows = true, true
			}
			if err := w.prepare(cmd.Context(), args); err != nil {
				return err
			}
			book, err := verdict.In(tongue())
			if err != nil {
				return err
			}
			w.cfg.Book = book
			losses := alert.NewLosses(alert.Config{
				Learn: learn, All: all, Split: w.read != "", Why: why(book), More: w.moreDrops, Books: w.moreBooks,
			})
			view, err := table.NewAlerts(os.Stdout, os.Stderr, w.options(), losses)
			if err != nil {
				return usageError{err}
			}
			return w.run(cmd.Context(), "losses, after "+learn.String()+" of learning,", []agent.Output{{Name: "the alerts", Sink: view}})
		},
	}
	f := cmd.Flags()
	f.DurationVar(&learn, "learn", learn, "what happens in this time at first is usual")
	f.BoolVar(&noLedger, "no-ledger", false, "watch drops only, not what the ledger leaves over")
	f.BoolVarP(&all, "all", "a", false, "alert on benign losses too")
	f.StringVarP(&w.format, "output", "o", "table", "table (a line an alert), json (one object a line) or csv")
	f.DurationVarP(&w.duration, "duration", "d", 0, "stop after this long, for example 8h (0: until Ctrl-C)")
	f.DurationVar(&w.every, "every", w.every, "length of an interval")
	f.StringVarP(&w.read, "read", "r", "", "read a recording instead of this host; needs no privileges")
	w.selection(cmd)
	w.calling(cmd)
	f.SortFlags = false
	return cmd
}

// moreDrops is the command that shows the drops where d was.
func (w *watch) moreDrops(d record.Drop) string {
	words := []string{"netfate drops"}
	if w.read != "" && w.read != "-" {
		words = append(words, "-r", shellWord(w.read))
	}
	if d.NetNS != 0 {
		words = append(words, "--netns", strconv.FormatUint(uint64(d.NetNS), 10))
	}
	if d.IfName != "" {
		words = append(words, "-i", shellWord(d.IfName))
	}
	return strings.Join(words, " ")
}

// moreBooks is the command that shows the books of a namespace.
func (w *watch) moreBooks(netns uint32) string {
	words := []string{"netfate ledger --layers"}
	if w.read != "" && w.read != "-" {
		words = append(words, "-r", shellWord(w.read))
	}
	if netns != 0 {
		words = append(words, "--netns", strconv.FormatUint(uint64(netns), 10))
	}
	return strings.Join(words, " ")
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:@%+=-]+$`)

// shellWord is s as a shell takes it for one word.
func shellWord(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
