package explain

import (
	"github.com/netfate/netfate/internal/language"
	"github.com/netfate/netfate/internal/record"
)

// words are what the pages say by themselves, in one language.
type words struct {
	aliases, happened, bad, facts, causes, confirm, fix, blanks, places, members string

	colon, comma string
	open, end    string // what encloses a note behind a value
	more         string // of places, %d that are not shown
	kind         string // %s, and %d of its kind
	index        string

	// judgements say in plain words what a verdict means for the reader, shorts in
	// a few words.
	judgements, shorts map[record.Verdict]string
	unknown, obscure   string // what is said of a verdict that is neither
}

func (w *words) judgement(v record.Verdict) string {
	if s := w.judgements[v]; s != "" {
		return s
	}
	return w.unknown
}

// aside is a note behind a value.
func (w *words) aside(note string) string { return w.open + note + w.end }

func (w *words) short(v record.Verdict) string {
	if s := w.shorts[v]; s != "" {
		return s
	}
	return w.obscure
}

func wordsOf(l language.Language) *words {
	if l == language.Chinese {
		return chinese()
	}
	return english()
}

func english() *words {
	return &words{
		aliases: "also called ", happened: "What happened", bad: "Is it bad?", facts: "On this host, now", causes: "Usual causes",
		confirm: "Find out", fix: "Put it right", blanks: "Words in CAPITALS are yours to fill in.",
		places: "Elsewhere it means something else", members: "Its reasons",
		colon: ": ", comma: ", ", open: " (", end: ")", more: "and %d more", kind: "%s (and %d of its kind)",
		index: "netfate explain REASON tells what one of them means, what to look at and what to do.",
		judgements: map[record.Verdict]string{
			record.Loss:     "Yes. The packet should have arrived and did not. Somebody waits for it, or has to send it again.",
			record.Resource: "Yes, if it goes on. Something was full: the packet was good, but there was no room for it. A few in a burst are usually harmless.",
			record.Refused:  "Not for this host. Nobody here wanted the packet. It is bad only if somebody should have.",
			record.Policy:   "Only if it is not what you want. A rule or setting on this host asked for it.",
			record.Invalid:  "Not by itself. The packet was broken, out of place or forged, and is better dropped. Many from one honest sender point to a fault on the way.",
			record.Benign:   "No. The kernel counts it as a drop, but nobody lost anything. netfate hides it unless you ask for all.",
		},
		shorts: map[record.Verdict]string{
			record.Loss:     "should have arrived and did not",
			record.Resource: "lost for want of room",
			record.Refused:  "nobody here wanted it",
			record.Policy:   "a rule or setting here asked for it",
			record.Invalid:  "broken, out of place or forged",
			record.Benign:   "cost nobody anything",
		},
		unknown: "That is not known.", obscure: "not known",
	}
}

func chinese() *words {
	return &words{
		aliases: "又称 ", happened: "发生了什么", bad: "要紧吗？", facts: "本机当前的情况", causes: "常见原因",
		confirm: "如何确认", fix: "处理办法", blanks: "大写的词请换成你自己的值。",
		places: "在别处另有含义", members: "其中的各个原因",
		colon: "：", comma: "、", open: "（", end: "）", more: "另有 %d 个", kind: "%s（同类另有 %d 个）",
		index: "netfate explain REASON 会说明某个原因的含义、该看什么、该怎么办。",
		judgements: map[record.Verdict]string{
			record.Loss:     "要紧。数据包本该到达，却没有到达。有人在等它，或者只好重发。",
			record.Resource: "如果持续，就要紧。有什么满了：数据包没有问题，只是没有空间容纳它。突发时的少量丢失通常无妨。",
			record.Refused:  "对本机来说不要紧。这里没有谁要这个数据包。除非本来应当有，否则无妨。",
			record.Policy:   "除非这不是你想要的，否则不要紧。是本机的某条规则或设置要求的。",
			record.Invalid:  "本身不要紧。数据包损坏、不合时宜或者是伪造的，丢弃为好。如果大量来自同一个正常的发送方，说明途中有故障。",
			record.Benign:   "不要紧。内核把它计作丢包，但谁也没有损失什么。除非你要求全部显示，netfate 会把它隐藏。",
		},
		shorts: map[record.Verdict]string{
			record.Loss:     "丢失，本该到达，却没有到达",
			record.Resource: "资源不足，没有空间容纳",
			record.Refused:  "被拒绝，这里没有谁要它",
			record.Policy:   "策略，这里的规则或设置要求的",
			record.Invalid:  "无效，损坏、不合时宜或伪造",
			record.Benign:   "无害，谁也没有损失",
		},
		unknown: "含义未知。", obscure: "含义未知",
	}
}
