package dns

import "slices"

// maxAskers bounds the hosts that wait for an answer to one question.
const maxAskers = 100

// askers holds the questions of mDNS by what they are for, which is all that an
// answer to a group is known by (RFC 6762, section 6). The oldest is first.
type askers map[name][]*question

func (m askers) add(q *question) { m[q.name] = append(m[q.name], q) }

func (m askers) remove(q *question) {
	at := slices.Index(m[q.name], q)
	if rest := slices.Delete(m[q.name], at, at+1); len(rest) > 0 {
		m[q.name] = rest
	} else {
		delete(m, q.name)
	}
}

// announce takes in a response of mDNS, which answers every question for one of
// its records: of the host it is sent to, or of all. One that nobody asked for is
// an announcement and makes no row.
func (t *Tracker) announce(a arrival) {
	for i := range t.message.Records {
		r := &t.message.Records[i]
		if r.Section != Answer {
			continue
		}
		for _, qtype := range [...]string{typeName(r.Type), "ANY"} {
			for _, q := range t.mdns[name{r.Name, qtype}] {
				if a.dst.Addr().IsMulticast() || a.dst == q.key.client {
					t.close(q, a, "")
				}
			}
		}
	}
}
