package main

import (
	"fmt"
	"net/http"
	"time"
)

// programs are the BPF programs of the made-up host: netfate's, systemd's, one that
// somebody has forgotten, and those of an agent that has too many.
func (f *fake) programs(*http.Request, span) (any, error) {
	type object = map[string]any
	netfate := []object{{"pid": 812, "comm": "netfate"}}
	place := func(where string) []object { return []object{{"how": "link", "where": where, "link_id": 9}} }
	programs, users := []object{}, map[int][]int{} // of each map
	add := func(name, kind string, attached, owners []object, rate, ns float64, more object) {
		id := 40 + 3*len(programs)
		o := object{
			"id": id, "name": name, "kind": kind, "tag": "f0e1d2c3b4a59687", "loaded": f.now.Add(-51 * time.Hour).Format(time.RFC3339), "uid": 0,
			"runs": int(rate * 180000), "ns_per_run": ns, "runs_per_second": rate, "cpu_percent": rate * ns / 1e7, "memory_bytes": 4096 * (1 + id%7),
			"map_ids": []int{70 + id%4}, "attached": attached, "owners": append([]object{}, owners...), "pins": []string{}, "netfate": false, "object": "",
		}
		users[70+id%4] = append(users[70+id%4], id)
		for k, v := range more {
			o[k] = v
		}
		programs = append(programs, o)
	}
	add("kfree_skb", "tp_btf", place("kfree_skb"), netfate, 31, 412, object{"netfate": true})
	add("netif_receive_skb", "tp_btf", place("netif_receive_skb"), netfate, 5900, 96, object{"netfate": true})
	add("net_dev_start_xmit", "tp_btf", place("net_dev_start_xmit"), netfate, 5100, 101, object{"netfate": true})
	add("sd_fw_egress", "cgroup_skb", place("/sys/fs/cgroup/system.slice/ssh.service egress"), []object{{"pid": 1, "comm": "systemd"}}, 12, 88, nil)
	add("count_urls", "cgroup_skb", place("/sys/fs/cgroup ingress"), nil, 900, 350, object{"netfate": true, "object": "urls", "pins": []string{"/sys/fs/bpf/netfate/urls"}})
	add("xdp_guard", "xdp", []object{{"how": "xdp", "where": "eth0 xdp"}}, []object{}, 2900, 61, nil)
	for i := range 120 {
		add(fmt.Sprintf("agent_probe_%03d", i), "kprobe", place(fmt.Sprintf("do_sys_%03d", i)), []object{{"pid": 3321, "comm": "agent"}}, 3, 900, nil)
	}
	maps := []object{}
	for i, name := range []string{"flows_0", "drop_samples", "sk_owner", "agent_events"} {
		maps = append(maps, object{
			"id": 70 + i, "name": name, "type": []string{"Hash", "RingBuf", "SkStorage", "PerfEventArray"}[i], "key_bytes": 4 * i, "value_bytes": 64, "max_entries": 65536 >> i,
			"memory_bytes": 9 << (20 - i), "program_ids": users[70+i], "owners": netfate, "pins": []string{}, "netfate": i < 3, "object": "",
		})
	}
	return object{
		"time": f.now.Format(time.RFC3339), "programs": programs, "maps": maps, "counted": true, "rates_s": 5, "cut": false, "missed": []string{},
	}, nil
}
