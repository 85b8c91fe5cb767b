package api

import (
	"context"

	"github.com/danielgtaylor/huma/v2"

	"github.com/netfate/netfate/internal/evidence"
	"github.com/netfate/netfate/internal/record"
)

// Explanation is what a drop reason means; as `netfate explain -o json`.
type Explanation struct {
	Reason   string         `json:"reason"`
	Verdict  record.Verdict `json:"verdict"`
	Meaning  string         `json:"meaning"`
	Causes   []string       `json:"causes" nullable:"false"`
	Confirm  []string       `json:"confirm" nullable:"false" doc:"Commands that confirm a cause."`
	Fix      []string       `json:"fix" nullable:"false"`
	Evidence []Fact         `json:"evidence" nullable:"false" doc:"Live values of this host."`
}

// Fact is one live value.
type Fact struct {
	Key   string `json:"key"`
	Name  string `json:"name"`
	Value string `json:"value"`
	Note  string `json:"note,omitempty"`
}

type explainInput struct {
	Reader
	Reason string `path:"reason" maxLength:"128" doc:"The kernel's name of it, with or without SKB_DROP_REASON_."`
	NetNS  uint32 `query:"netns" doc:"Inode of the network namespace whose values are read; that of netfate if it is 0."`
	IfName string `query:"ifname" maxLength:"15" doc:"Interface in it."`
	PID    uint32 `query:"pid" doc:"Process that owns the socket."`
	Proto  string `query:"proto" maxLength:"16" doc:"Transport protocol."`
}

type explainAnswer struct{ Body Explanation }

func (s *Server) explain(ctx context.Context, in *explainInput) (*explainAnswer, error) {
	book := s.book(in.Reader)
	entry, err := book.Explain(in.Reason)
	if err != nil {
		return nil, huma.Error404NotFound(err.Error())
	}
	return ask(ctx, s, func(ctx context.Context) (*explainAnswer, error) {
		subject := evidence.Subject{IfName: in.IfName, PID: in.PID, Proto: in.Proto}
		if in.NetNS != 0 && s.cfg.Path != nil && s.cfg.Recording == nil {
			if subject.NetNSPath = s.cfg.Path(ctx, in.NetNS); subject.NetNSPath == "" {
				return nil, huma.Error404NotFound("nothing holds that network namespace any more")
			}
		}
		out := Explanation{
			Reason: entry.Reason, Verdict: entry.Verdict, Meaning: entry.Meaning,
			Causes: some(entry.Causes), Confirm: some(entry.Confirm), Fix: some(entry.Fix), Evidence: []Fact{},
		}
		if s.cfg.Recording != nil { // it may be of another host, at another time
			return &explainAnswer{out}, nil
		}
		for _, f := range evidence.InWords(evidence.Collect(ctx, entry.Evidence, subject), book.Language()) {
			out.Evidence = append(out.Evidence, Fact{Key: f.Key, Name: f.Name, Value: f.Value, Note: f.Note})
		}
		return &explainAnswer{out}, nil
	})
}

// some is a list that is never null.
func some(list []string) []string { return append([]string{}, list...) }
