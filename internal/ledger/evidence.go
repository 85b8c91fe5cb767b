package ledger

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/netfate/netfate/internal/evidence"
	"github.com/netfate/netfate/internal/language"
	"github.com/netfate/netfate/internal/ledger/counters"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/internal/verdict"
)

// Question is what is asked about a loss: the facts of Keys, of that Subject in
// the namespace of that number, whose path the subject does not have.
type Question struct {
	NetNS   uint32
	What    string
	Keys    []string
	Subject evidence.Subject
}

// maxEvidence bounds what a line tells; netfate explain tells all.
const maxEvidence = 8

// unlisted are losses that have no buffer, so that the kernel has no reason for
// them.
func unlisted(what string, l language.Language) verdict.Entry {
	why := func(english, chinese string) string {
		if l == language.Chinese {
			return chinese
		}
		return english
	}
	switch what {
	case "RING":
		return verdict.Entry{
			Verdict: record.Resource,
			Why:     why("the NIC had no free descriptor: the host was too slow, or the ring is too small", "网卡没有空闲的描述符：主机太慢，或者环形队列太小"),
			Confirm: []string{`$ ethtool -S IFACE | grep -iE "miss|no_buf|fifo"`}, Evidence: []string{"ring", "link", "softnet", "sysctl:net.core.netdev_budget"},
		}
	case "RX_ERRORS":
		return verdict.Entry{
			Verdict: record.Invalid,
			Why:     why("frames that came damaged: cable, transceiver or port", "到达时已损坏的帧：网线、光模块或端口有问题"),
			Confirm: []string{"$ ip -s -s link show IFACE"}, Evidence: []string{"link"},
		}
	case "early_drop":
		return verdict.Entry{
			Verdict:  record.Resource,
			Why:      why("the table of tracked connections is full: unanswered ones were thrown out", "连接跟踪表已满：没有应答的连接被清除了"),
			Confirm:  []string{"$ sysctl net.netfilter.nf_conntrack_count net.netfilter.nf_conntrack_max"},
			Evidence: []string{"conntrack", "sysctl:net.netfilter.nf_conntrack_buckets"},
		}
	}
	return verdict.Entry{}
}

// entry returns what is known of a kind of loss.
func (b *book) entry(what string) verdict.Entry {
	if e, err := b.book().Explain(what); err == nil {
		return e
	}
	return unlisted(what, b.book().Language())
}

// prove puts live facts and a command to the line of a loss.
func (b *book) prove(e *record.Entry, l *loss, entry *verdict.Entry) {
	s := b.subject(l)
	e.Command = b.command(l, entry, &s)
	if b.interval.Look == nil || e.Line != record.LostLine {
		return
	}
	var keys []string
	for _, k := range entry.Evidence {
		if !strings.HasPrefix(k, "counter:") { // the ledger has those, of this interval
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return
	}
	for _, f := range b.interval.Look(Question{NetNS: b.Inode, What: l.what, Keys: keys, Subject: s}) {
		switch {
		case f.Unread:
		case len(e.Evidence) == maxEvidence:
			e.Evidence[maxEvidence-1] = "more: netfate explain " + l.what
			return
		default:
			e.Evidence = append(e.Evidence, words(f))
		}
	}
}

func words(f evidence.Fact) string {
	s := f.Name + ": " + f.Value
	if f.Note != "" {
		s += " (" + f.Note + ")"
	}
	return s
}

// subject is what facts are looked up by: the addresses of the row that lost
// most, or else what the counters tell.
func (b *book) subject(l *loss) evidence.Subject {
	s := evidence.Subject{IfName: l.ifname}
	if m := l.most; m != nil {
		s.IfName = cmp.Or(l.ifname, m.IfName)
		s.Proto, s.PID = m.Proto, m.PID
		s.Src, s.Dst = netip.AddrPortFrom(m.SrcAddr, m.SrcPort), netip.AddrPortFrom(m.DstAddr, m.DstPort)
		return s
	}
	switch l.what {
	case "SOCKET_RCVBUFF":
		if f := b.fullest("udp"); f != nil {
			s.Proto, s.Src, s.Dst = "udp", f.Remote, f.Local
		}
	case "TCP_LISTEN_OVERFLOW":
		if f := b.longest(); f != nil {
			s.Proto, s.Dst = "tcp", f.Local
		}
	}
	return s
}

var fillable = regexp.MustCompile(`\b(IFACE|PORT|SOURCE_ADDR|DEST_ADDR|ADDR|PID)\b`)

// command returns a shell command that confirms the loss, or mends it: the first
// one of its rule of which all is known, and that does more than count what the
// ledger has counted; else the first.
func (b *book) command(l *loss, entry *verdict.Entry, s *evidence.Subject) string {
	if l.what == "NETFILTER_DROP" {
		if grew, silent := b.rulesOf(l); len(grew)+len(silent) == 1 {
			r := slices.Concat(grew, silent)[0]
			return b.there(fmt.Sprintf("nft -a list chain %s %s %s", r.family, r.table, r.chain))
		}
	}
	if link := b.link(l.ifname); l.what == "RING" && link != nil && link.Rings != nil && link.Rings.Rx < link.Rings.RxMax {
		return b.there(fmt.Sprintf("ethtool -G %s rx %d", l.ifname, link.Rings.RxMax))
	}
	known := map[string]string{"IFACE": s.IfName}
	if s.PID != 0 {
		known["PID"] = strconv.FormatUint(uint64(s.PID), 10)
	}
	if s.Dst.Port() != 0 {
		known["PORT"] = strconv.Itoa(int(s.Dst.Port()))
	}
	if s.Dst.Addr().IsValid() {
		known["DEST_ADDR"], known["ADDR"] = s.Dst.Addr().String(), s.Dst.Addr().String()
	}
	if s.Src.Addr().IsValid() {
		known["SOURCE_ADDR"] = s.Src.Addr().String()
	}
	first := ""
	for _, steps := range [][]string{entry.Confirm, entry.Fix} {
		for _, step := range steps {
			c, ok := strings.CutPrefix(step, "$ ")
			if !ok {
				continue
			}
			c, _, _ = strings.Cut(c, "  #")
			whole := true
			c = fillable.ReplaceAllStringFunc(strings.TrimSpace(c), func(w string) string {
				whole = whole && known[w] != ""
				return cmp.Or(known[w], w)
			})
			if whole && !strings.HasPrefix(c, "nstat") {
				return b.there(c)
			}
			first = cmp.Or(first, c)
		}
	}
	return b.there(first)
}

// there is a command that has to run in the book's namespace.
func (b *book) there(command string) string {
	if command == "" || b.Path == "" || b.Inode == b.interval.Home || strings.HasPrefix(command, "netfate ") {
		return command
	}
	if strings.ContainsAny(command, "|;>") {
		return "nsenter --net=" + b.Path + " sh -c '" + strings.ReplaceAll(command, "'", `'\''`) + "'"
	}
	return "nsenter --net=" + b.Path + " " + command
}

// longest returns the listener that drops most, or whose queue is the longest;
// nil if there is none.
func (b *book) longest() (most *counters.Listener) {
	for i := range b.Listeners {
		if l := &b.Listeners[i]; most == nil || l.Drops > most.Drops || l.Drops == most.Drops && l.Waiting > most.Waiting {
			most = l
		}
	}
	return most
}
