package filter

import (
	"bufio"
	"bytes"
	"os"
	"strconv"
	"strings"
)

// nameTables answers libpcap's questions for ports and protocols by name: from the host's files, as tcpdump does, or, on
// a host without them, from small tables of our own. A file is read when it is first asked for.
type nameTables struct {
	services, protocols     []byte
	haveServices, haveProto bool
}

// maxTable bounds how much of a file of names is read. Debian's services file has 13 kB.
const maxTable = 1 << 20

// service returns the port of a service for TCP, or for UDP, and -1 for a name that is unknown.
func (t *nameTables) service(name string, udp bool) int32 {
	if !t.haveServices {
		t.services, t.haveServices = readTable("/etc/services", builtinServices), true
	}
	proto := "tcp"
	if udp {
		proto = "udp"
	}
	return lookup(t.services, name, "/"+proto, 65535)
}

// protocol returns the number of an IP protocol, and -1 for a name that is unknown.
func (t *nameTables) protocol(name string) int32 {
	if !t.haveProto {
		t.protocols, t.haveProto = readTable("/etc/protocols", builtinProtocols), true
	}
	return lookup(t.protocols, name, "", 255)
}

func readTable(path, builtin string) []byte {
	f, err := os.Open(path)
	if err != nil {
		return []byte(builtin)
	}
	defer f.Close()
	buf := make([]byte, maxTable)
	n := 0
	for n < len(buf) {
		m, err := f.Read(buf[n:])
		n += m
		if err != nil {
			break
		}
	}
	return buf[:n]
}

// lookup finds a name in a table in the format of services(5) and protocols(5): name, number, aliases, comment. The
// number must end with suffix. The first line counts.
func lookup(table []byte, name, suffix string, limit int) int32 {
	lines := bufio.NewScanner(bytes.NewReader(table))
	for lines.Scan() {
		line, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		number, ok := strings.CutSuffix(fields[1], suffix)
		if !ok {
			continue
		}
		n, err := strconv.Atoi(number)
		if err != nil || n < 0 || n > limit {
			continue
		}
		fields[1] = fields[0]
		for _, known := range fields[1:] {
			if known == name {
				return int32(n)
			}
		}
	}
	return -1
}

// builtinServices are the names that pcap-filter(7) and common usage need, in the format of services(5). Numbers are
// IANA's.
const builtinServices = `
ftp-data 20/tcp
ftp 21/tcp
ssh 22/tcp
telnet 23/tcp
smtp 25/tcp mail
domain 53/tcp
domain 53/udp
bootps 67/udp
bootpc 68/udp
tftp 69/udp
http 80/tcp www
kerberos 88/tcp
kerberos 88/udp
pop3 110/tcp pop-3
sunrpc 111/tcp portmapper
sunrpc 111/udp portmapper
ntp 123/udp
netbios-ns 137/udp
netbios-dgm 138/udp
netbios-ssn 139/tcp
imap2 143/tcp imap
snmp 161/tcp
snmp 161/udp
snmp-trap 162/udp snmptrap
bgp 179/tcp
ldap 389/tcp
ldap 389/udp
https 443/tcp
https 443/udp
microsoft-ds 445/tcp
submission 587/tcp
syslog 514/udp
ldaps 636/tcp
domain-s 853/tcp
domain-s 853/udp
imaps 993/tcp
pop3s 995/tcp
openvpn 1194/udp
ms-sql-s 1433/tcp
radius 1812/udp
nfs 2049/tcp
nfs 2049/udp
mysql 3306/tcp
sip 5060/tcp
sip 5060/udp
mdns 5353/udp
postgresql 5432/tcp postgres
redis 6379/tcp
http-alt 8080/tcp webcache
`

// builtinProtocols are protocol numbers by IANA's keyword, in the format of protocols(5).
const builtinProtocols = `
icmp 1 ICMP
igmp 2 IGMP
ipencap 4 IP-ENCAP
tcp 6 TCP
egp 8 EGP
igp 9 IGP
udp 17 UDP
dccp 33 DCCP
ipv6 41 IPv6
ipv6-route 43 IPv6-Route
ipv6-frag 44 IPv6-Frag
rsvp 46 RSVP
gre 47 GRE
esp 50 IPSEC-ESP
ah 51 IPSEC-AH
ipv6-icmp 58 IPv6-ICMP
ipv6-nonxt 59 IPv6-NoNxt
ipv6-opts 60 IPv6-Opts
eigrp 88 EIGRP
ospf 89 OSPFIGP
pim 103 PIM
vrrp 112 VRRP
l2tp 115 L2TP
sctp 132 SCTP
udplite 136 UDPLite
`
