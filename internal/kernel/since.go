package kernel

// since returns the release that brought a capability, empty if the oldest that
// netfate runs on, 5.10, can have it. Nothing is decided by it: what works,
// works, and vendors port back. It tells people and tests what to expect.
func since(name string) string {
	return map[string]string{
		"memcg":          "5.11", // 97306be45fbe
		"drop_reasons":   "5.17", // c504e5c2f964
		"rx_sk":          "6.11", // c53795d48ee8
		"sk_storage":     "5.11", // 8e4597c627fb
		"sock_from_file": "5.11", // 4f19cab76136
		"sock_length":    "6.3",  // 6e6eda44b939
		"bpf_loop":       "5.17", // e6f2dd0f8067
		"module_btf":     "5.11", // 36e68442d1af
		"uprobe_multi":   "6.6",  // 89ae89f53d20
		"kprobe_multi":   "5.18", // 0dcac2725406
		"tcx":            "6.6",  // e420bed02507
		"netfilter":      "6.4",  // fd9c663b9ad6
		"struct_ops":     "6.4",  // 68b04864ca42, by links
	}[name]
}
