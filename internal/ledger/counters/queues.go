package counters

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"
)

// struct tcmsg of linux/rtnetlink.h: family, interface, handle, parent, info.
const sizeofTcMsg = 20

// Attributes of linux/rtnetlink.h, gen_stats.h and pkt_sched.h.
const (
	tcaKind          = 1
	tcaOptions       = 2
	tcaStats2        = 7
	tcaDumpInvisible = 10
	tcaOffload       = 12

	statsBasic   = 1
	statsQueue   = 3
	statsPackets = 8 // TCA_STATS_PKT64

	handleClsact = 0xfffffff1 // parent of clsact and ingress
	minIngress   = 0xfffffff2
	minEgress    = 0xfffffff3
)

// tcMessage makes the request for what is below a parent of an interface.
func tcMessage(index, parent uint32) []byte {
	b := make([]byte, sizeofTcMsg)
	binary.NativeEndian.PutUint32(b[4:], index)
	binary.NativeEndian.PutUint32(b[12:], parent)
	return b
}

// qdiscs reads all queueing disciplines, the hidden ones too.
func (r *reading) qdiscs(n *Namespace) error {
	body := binary.NativeEndian.AppendUint16(tcMessage(0, 0), unix.SizeofNlAttr)
	body = binary.NativeEndian.AppendUint16(body, tcaDumpInvisible)
	var over uint64
	err := r.list(request{protocol: unix.NETLINK_ROUTE, kind: unix.RTM_GETQDISC, body: body},
		func() { n.Qdiscs, over = nil, 0 },
		func(b []byte) {
			q, ok := parseQdisc(b, &r.texts)
			switch {
			case !ok:
			case len(n.Qdiscs) == maxQueues:
				over++
			default:
				n.Qdiscs = append(n.Qdiscs, q)
			}
		})
	if err != nil {
		n.Qdiscs = nil
		return err
	}
	r.lost.add("qdiscs", over)
	for i := range n.Qdiscs {
		q := &n.Qdiscs[i]
		if q.Kind != "pfifo_fast" {
			continue
		}
		if link := n.Interface(q.Index); link != nil { // it takes the device's, for each of its three bands
			q.Limit = Limit{Value: uint64(link.TxQueueLen), Unit: "packets"}
		}
	}
	return nil
}

// parseQdisc reads an RTM_NEWQDISC message.
func parseQdisc(b []byte, text *texts) (Qdisc, bool) {
	if len(b) < sizeofTcMsg {
		return Qdisc{}, false
	}
	q := Qdisc{Index: u32(b, 4), Handle: u32(b, 8), Parent: u32(b, 12)}
	var options []byte
	for kind, value := range attributes(b[sizeofTcMsg:]) {
		switch kind {
		case tcaKind:
			q.Kind = text.of(value)
		case tcaOptions:
			options = value
		case tcaStats2:
			q.Stats = parseQueueStats(value)
		case tcaOffload:
			q.Offloaded = len(value) == 1 && value[0] != 0
		}
	}
	q.Limit, q.Rate = parseLimit(q.Kind, options)
	return q, true
}

// parseQueueStats reads TCA_STATS2, or the attributes of the same kind of a
// filter's action.
func parseQueueStats(b []byte) QueueStats {
	var s QueueStats
	var wide []byte
	for kind, value := range attributes(b) {
		switch kind {
		case statsBasic:
			s.Bytes, s.Packets = u64(value, 0), uint64(u32(value, 8))
		case statsPackets:
			wide = value
		case statsQueue:
			s.Qlen, s.Backlog, s.Drops = u32(value, 0), u32(value, 4), u32(value, 8)
			s.Requeues, s.Overlimits = u32(value, 12), u32(value, 16)
		}
	}
	if wide != nil { // where they do not fit the 32 bits of the other
		s.Packets = u64(wide, 0)
	}
	return s
}

// parseLimit reads the limit and rate of the kinds that have one.
func parseLimit(kind string, options []byte) (limit Limit, rate uint64) {
	packets := func(n uint32) Limit { return Limit{Value: uint64(n), Unit: "packets"} }
	switch kind {
	case "pfifo", "pfifo_head_drop": // struct tc_fifo_qopt
		if len(options) >= 4 {
			limit = packets(u32(options, 0))
		}
	case "bfifo":
		if len(options) >= 4 {
			limit = Limit{Value: uint64(u32(options, 0)), Unit: "bytes"}
		}
	case "tbf": // TCA_TBF_PARMS is struct tc_tbf_qopt; TCA_TBF_RATE64
		if p := attribute(options, 1); len(p) >= 28 {
			limit, rate = Limit{Value: uint64(u32(p, 24)), Unit: "bytes"}, uint64(u32(p, 8))
		}
		if wide := attribute(options, 4); wide != nil {
			rate = u64(wide, 0)
		}
	case "netem": // struct tc_netem_qopt
		if len(options) >= 8 {
			limit = packets(u32(options, 4))
		}
	case "sfq": // struct tc_sfq_qopt
		if len(options) >= 12 {
			limit = packets(u32(options, 8))
		}
	case "fq": // TCA_FQ_PLIMIT
		if v := attribute(options, 1); v != nil {
			limit = packets(u32(v, 0))
		}
	case "codel", "fq_codel": // TCA_CODEL_LIMIT, TCA_FQ_CODEL_LIMIT
		if v := attribute(options, 2); v != nil {
			limit = packets(u32(v, 0))
		}
	case "cake": // TCA_CAKE_MEMORY, TCA_CAKE_BASE_RATE64
		if v := u32(attribute(options, 10), 0); v != 0 {
			limit = Limit{Value: uint64(v), Unit: "bytes"}
		}
		rate = u64(attribute(options, 2), 0)
	}
	return limit, rate
}

// classful are the kinds whose classes are not just the device's queues.
var classful = []string{"htb", "hfsc", "prio", "drr", "qfq", "ets", "cbq"}

// classes reads the classes of classful qdiscs, an interface at a time: the
// kernel wants it so.
func (r *reading) classes(n *Namespace) error {
	var over uint64
	var all []Class
	var asked uint32
	for i := range n.Qdiscs {
		q := &n.Qdiscs[i]
		if !slices.Contains(classful, q.Kind) || q.Index == asked {
			continue
		}
		asked = q.Index // qdiscs of an interface follow each other
		begin := len(all)
		err := r.list(request{protocol: unix.NETLINK_ROUTE, kind: unix.RTM_GETTCLASS, body: tcMessage(q.Index, 0)},
			func() { all = all[:begin] },
			func(b []byte) {
				c, ok := parseClass(b, &r.texts)
				switch {
				case !ok:
				case len(all) == maxQueues:
					over++
				default:
					all = append(all, c)
				}
			})
		if err != nil {
			return err
		}
	}
	n.Classes = all
	r.lost.add("classes", over)
	return nil
}

// parseClass reads an RTM_NEWTCLASS message.
func parseClass(b []byte, text *texts) (Class, bool) {
	if len(b) < sizeofTcMsg {
		return Class{}, false
	}
	c := Class{Index: u32(b, 4), Handle: u32(b, 8), Parent: u32(b, 12)}
	for kind, value := range attributes(b[sizeofTcMsg:]) {
		switch kind {
		case tcaKind:
			c.Kind = text.of(value)
		case tcaStats2:
			c.Stats = parseQueueStats(value)
		}
	}
	return c, true
}

// filters reads the filters of each qdisc that can have some.
func (r *reading) filters(n *Namespace) error {
	var over uint64
	for i := range n.Qdiscs {
		q := &n.Qdiscs[i]
		var parents []uint32
		switch {
		case q.Kind == "clsact":
			parents = []uint32{minIngress, minEgress}
		case q.Kind == "ingress":
			parents = []uint32{minIngress}
		case slices.Contains(classful, q.Kind):
			parents = []uint32{q.Handle}
		}
		for _, parent := range parents {
			begin := len(n.Filters)
			err := r.list(request{protocol: unix.NETLINK_ROUTE, kind: unix.RTM_GETTFILTER, body: tcMessage(q.Index, parent)},
				func() { n.Filters = n.Filters[:begin] },
				func(b []byte) {
					f, ok := parseFilter(b, &r.texts)
					switch {
					case !ok:
					case len(n.Filters) == maxQueues:
						over++
					default:
						f.Index, f.Parent, f.Direction = q.Index, parent, direction(parent)
						n.Filters = append(n.Filters, f)
					}
				})
			if err != nil {
				n.Filters = nil
				return err
			}
		}
	}
	for i := range n.Filters {
		r.name(&n.Filters[i].Program)
	}
	r.lost.add("filters", over)
	return nil
}

func direction(parent uint32) string {
	switch parent {
	case minIngress:
		return "ingress"
	case minEgress:
		return "egress"
	}
	return "queue"
}

// Attributes of linux/pkt_cls.h.
const (
	bpfName = 7  // TCA_BPF_NAME
	bpfID   = 11 // TCA_BPF_ID

	actKind    = 1 // TCA_ACT_KIND
	actOptions = 2
	actIndex   = 3
	actStats   = 4
	gactParams = 2 // TCA_GACT_PARMS, struct tc_gact
	actShot    = 2 // TC_ACT_SHOT
)

// actionsOf returns the attribute of a classifier's options that has its
// actions; 0 for those that are not known.
func actionsOf(kind string) uint16 {
	switch kind {
	case "bpf", "cgroup":
		return 1
	case "matchall":
		return 2
	case "basic", "flower":
		return 3
	case "fw":
		return 4
	case "route":
		return 6
	case "u32":
		return 7
	case "flow":
		return 9
	}
	return 0
}

// parseFilter reads an RTM_NEWTFILTER message. Those without options only say
// that there is a classifier.
func parseFilter(b []byte, text *texts) (Filter, bool) {
	if len(b) < sizeofTcMsg {
		return Filter{}, false
	}
	info := u32(b, 16) // the priority, and the protocol in network order
	f := Filter{Handle: u32(b, 8), Priority: uint16(info >> 16), Protocol: swap16(uint16(info))}
	var options []byte
	for kind, value := range attributes(b[sizeofTcMsg:]) {
		switch kind {
		case tcaKind:
			f.Kind = text.of(value)
		case tcaOptions:
			options = value
		}
	}
	if options == nil || f.Handle == 0 {
		return Filter{}, false
	}
	actions := actionsOf(f.Kind)
	for kind, value := range attributes(options) {
		switch {
		case actions != 0 && kind == actions:
			f.Actions = parseActions(value, text)
		case f.Kind == "bpf" && kind == bpfName:
			f.Name = text.of(value)
		case f.Kind == "bpf" && kind == bpfID:
			f.Program.ID = u32(value, 0)
		}
	}
	return f, true
}

func parseActions(b []byte, text *texts) []Action {
	var actions []Action
	for _, one := range attributes(b) {
		if len(actions) == maxActions {
			break
		}
		var a Action
		for kind, value := range attributes(one) {
			switch kind {
			case actKind:
				a.Kind = text.of(value)
			case actIndex:
				a.Index = u32(value, 0)
			case actStats:
				a.Stats = parseQueueStats(value)
			case actOptions:
				if p := attribute(value, gactParams); a.Kind == "gact" && p != nil { // index, capab, action
					a.Index, a.Drops = u32(p, 0), u32(p, 8) == actShot
				}
			}
		}
		actions = append(actions, a)
	}
	return actions
}

// swap16 turns a number in network order that was read in the host's.
func swap16(n uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], n)
	return binary.BigEndian.Uint16(b[:])
}
