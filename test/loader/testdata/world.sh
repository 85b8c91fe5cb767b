# What every story begins with: file systems of its own, and how it waits and looks.
mount -t tmpfs tmpfs /run
mount -t bpf bpf /sys/fs/bpf
mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing
ip link set lo up
started= # what runs in the background: whatever fails, it ends with the story
trap 'kill $started 2> /dev/null || true' EXIT
until_said() { # FILE TEXT
	for i in $(seq 300); do
		grep -q "$2" "$1" && return
		sleep 0.1
	done
	cat "$1" >&2
	return 1
}
nothing_left() {
	find /sys/fs/bpf /run/netfate -mindepth 1 ! -name '*.debug' -exec echo left {} \;
}
