package loader

import (
	"strings"
	"testing"
)

// TestActive tells programs that only watch from those that could do more by
// what clang makes of them.
func TestActive(t *testing.T) {
	object := compile(t, `
int total;
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __type(key, int); __type(value, int); } seen SEC(".maps");

SEC("xdp") int pass(struct xdp_md *ctx) { total++; return XDP_PASS; }
SEC("xdp") int sometimes(struct xdp_md *ctx) { return ctx->data_end - ctx->data > 100 ? XDP_DROP : XDP_PASS; }
SEC("xdp") int looked_up(struct xdp_md *ctx)
{
	int key = 1, *v = bpf_map_lookup_elem(&seen, &key);

	return v ? *v : XDP_PASS;
}
static __noinline int verdict(struct xdp_md *ctx)
{
	volatile int drop = XDP_DROP;

	return drop;
}
SEC("xdp") int called(struct xdp_md *ctx) { return verdict(ctx); }
SEC("xdp") int calls_and_passes(struct xdp_md *ctx) { total += verdict(ctx); return XDP_PASS; }
SEC("xdp") int loops(struct xdp_md *ctx)
{
	for (volatile int i = 0; i < 10; i++)
		if (i == total)
			return XDP_PASS;
	return XDP_PASS;
}
SEC("tc") int next(struct __sk_buff *skb) { return -1; }
SEC("tc") int shot(struct __sk_buff *skb) { return 2; }
SEC("tc") int stamps(struct __sk_buff *skb) { char b = 0; bpf_skb_store_bytes(skb, 0, &b, 1, 0); return 0; }
SEC("cgroup_skb/egress") int allows(struct __sk_buff *skb) { return 1; }
SEC("cgroup_skb/egress") int denies(struct __sk_buff *skb) { return skb->len < 100; }
SEC("raw_tp/sys_enter") int watches(void *ctx) { return total; }
SEC("raw_tp/sys_enter") int kills(void *ctx) { bpf_send_signal(9); return 0; }
SEC("lsm/file_open") int hooks(void *ctx) { return 0; }
`)
	o, err := Open(Config{Object: object})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"pass": "", "sometimes": "can return 1", "looked_up": "cannot be told", "called": "cannot be told", "calls_and_passes": "",
		"loops": "", "next": "", "shot": "can return 2", "stamps": "FnSkbStoreBytes", "allows": "", "denies": "",
		"watches": "", "kills": "FnSendSignal", "hooks": "can deny",
	}
	// clang may compare without a branch: what it computes is not a constant.
	delete(want, "denies")
	for _, p := range o.Programs() {
		part, ok := want[p.Name]
		if !ok {
			if got := active(&p); got == "" {
				t.Errorf("%s: got nothing, want that it may do more than watch", p.Name)
			}
			continue
		}
		delete(want, p.Name)
		if got := active(&p); (got == "") != (part == "") || !strings.Contains(got, part) {
			t.Errorf("%s: got %q, want %q", p.Name, got, part)
		}
	}
	if len(want) > 0 {
		t.Errorf("programs that were not there: %v", names(want))
	}
}
