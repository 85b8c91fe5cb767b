package record

import "time"

// Values of Alert.Event.
const (
	AlertNew  = "new"  // packets are lost where none were before
	AlertHigh = "high" // far more than is usual there
	AlertOver = "over" // what was told is over
)

// Alert is one line of `netfate watch`: losses that began, rose or ended at one
// place of the kernel, in one namespace and on one interface.
type Alert struct {
	Time         time.Time `rec:"time" role:"time" doc:"End of the interval that showed it."`
	Host         string    `rec:"host" doc:"Name of the host that saw it." otel:"host.name"`
	Event        string    `rec:"event" doc:"What is told: new (none were lost there before), high (far more than usual), over."`
	Verdict      Verdict   `rec:"verdict" doc:"What the loss means: loss, resource, refused, policy, invalid or benign."`
	Reason       string    `rec:"reason" doc:"The kernel's drop reason, without SKB_DROP_REASON_; ~other for all places that have no room of their own, ~unexplained for what the ledger leaves over." otel:"network.drop.reason"`
	Subsystem    string    `rec:"subsystem" doc:"Who defines the reason: core, mac80211_unusable, openvswitch …"`
	Location     string    `rec:"location" doc:"Kernel function that freed the packets, without offset; of ~unexplained the way and station of the ledger."`
	NetNS        uint32    `rec:"netns" doc:"Network namespace, as the inode number that ls -L /proc/PID/ns/net shows." otel:"linux.netns.inode"`
	NetNSName    string    `rec:"netns_name" doc:"Its name."`
	IfName       string    `rec:"ifname" doc:"Network interface, named as in its namespace." otel:"network.interface.name"`
	Start        time.Time `rec:"start" doc:"When the loss began, or began to rise, as far as intervals tell."`
	Packets      uint64    `rec:"packets" role:"measure" unit:"packets" doc:"Wire packets lost there since then."`
	Micros       uint64    `rec:"span_us" unit:"us" doc:"Time that was watched since then."`
	UsualPackets uint64    `rec:"usual_packets" role:"measure" unit:"packets" doc:"What is usual there: so many packets …"`
	UsualMicros  uint64    `rec:"usual_us" unit:"us" doc:"… in so much time, of which the older part weighs less."`
	Held         uint64    `rec:"held" role:"measure" doc:"Alerts of this place that were held back since its last one, to keep it from chattering."`
	Why          string    `rec:"why" doc:"What the loss means, in one line."`
	Command      string    `rec:"command" doc:"What to run to see more."`
}
