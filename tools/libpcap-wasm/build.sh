#!/bin/sh
# Builds libpcap's filter compiler as internal/filter/libpcap.wasm, from Debian's source package and Debian's tools, so
# that anyone with Debian 12 gets the same bytes. It needs root to install the tools; it leaves /etc/apt as it is.
#
#   build.sh           rebuild the committed files
#   build.sh --check   rebuild elsewhere and compare; exit 1 if the committed files differ
set -eu

version=1.10.3-1
here=$(cd "$(dirname "$0")" && pwd)
out=$here/../../internal/filter

check=
case ${1-} in
"") ;;
--check) check=1 ;;
*)
	echo "usage: build.sh [--check]" >&2
	exit 2
	;;
esac

tools="clang-19 lld-19 libclang-rt-19-dev-wasm32 wasi-libc flex bison dpkg-dev"
for tool in $tools; do
	if ! dpkg-query -W -f '${Status}' "$tool" 2>/dev/null | grep -q 'ok installed'; then
		echo "build.sh: installing $tools" >&2
		# shellcheck disable=SC2086
		apt-get install -y --no-install-recommends $tools >&2
		break
	fi
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
cd "$work"

# A source list of our own: apt reads and writes nothing outside of $work. apt-get checks the archive's signature.
mkdir -p apt/lists/partial apt/cache/archives/partial
echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main" \
	>apt/sources.list
own() {
	apt-get -q -o Dir::Etc::sourcelist="$work/apt/sources.list" -o Dir::Etc::sourceparts=- \
		-o Dir::State::lists="$work/apt/lists" -o Dir::Cache="$work/apt/cache" -o APT::Sandbox::User=root "$@" >&2
}
own update
own source "libpcap=$version"

src=libpcap-${version%-*}
sed 's/@REENTRANT_PARSER@/%define api.pure/' "$src/grammar.y.in" >grammar.y
bison -Wno-deprecated -p pcap_ -o grammar.c -d grammar.y
flex -P pcap_ --header-file=scanner.h --nounput -o scanner.c "$src/scanner.l"
cp -r "$here/include" "$here/shim.c" .

# Only relative paths and no debug information, so that the place of the build does not show. The optimiser takes nearly
# all of the time that a long expression needs, so it alone is built for speed (3 times the speed, 6 kB); it calls memset
# once in each of its passes, which is where the host gets to stop it.
objects=
for file in "$src/gencode.c" "$src/optimize.c" "$src/nametoaddr.c" grammar.c scanner.c shim.c; do
	object=$(basename "$file" .c).o
	flags=-Oz
	if [ "$object" = optimize.o ]; then
		flags="-O2 -Dmemset=shim_memset"
	fi
	# shellcheck disable=SC2086
	clang-19 --target=wasm32-wasi -nostdlibinc -isystem include -isystem /usr/include/wasm32-wasi \
		$flags -DHAVE_CONFIG_H -DBUILDING_PCAP -D_GNU_SOURCE -I. -I"$src" -c "$file" -o "$object"
	objects="$objects $object"
done
# No entry point and no start files: the host calls the exports. 1 MiB of stack, first in memory, so that running out of
# it is a trap and not a silent overwrite.
# shellcheck disable=SC2086
clang-19 --target=wasm32-wasi -nostartfiles -Oz $objects -o libpcap.wasm \
	-Wl,--no-entry -Wl,--gc-sections -Wl,--strip-all -Wl,--stack-first -Wl,-z,stack-size=1048576

{
	echo "libpcap.wasm is libpcap $version (Debian), linked with wasi-libc. The license of libpcap:"
	echo
	cat "$src/LICENSE"
	echo
	echo "The licenses of wasi-libc:"
	echo
	cat /usr/share/doc/wasi-libc/copyright
} >libpcap.LICENSE

if [ -n "$check" ]; then
	for file in libpcap.wasm libpcap.LICENSE; do
		if ! cmp "$file" "$out/$file"; then
			echo "build.sh: internal/filter/$file is not what its sources give; run tools/libpcap-wasm/build.sh" >&2
			exit 1
		fi
	done
	exit 0
fi
cp libpcap.wasm libpcap.LICENSE "$out/"
