package section

import (
	"fmt"
	"strconv"
	"strings"
)

// ParseUprobe reads PATH:FUNCTION or PATH:FUNCTION+OFFSET, as in
// /usr/bin/bash:readline, libc.so.6:malloc or //usr/bin/x:main.main+0x10.
func ParseUprobe(text string) (path, symbol string, offset uint64, err error) {
	at := strings.LastIndexByte(text, ':')
	if at <= 0 || at == len(text)-1 {
		return "", "", 0, fmt.Errorf("what a uprobe hangs on is PATH:FUNCTION, as in /usr/bin/bash:readline, not %q", text)
	}
	path, symbol = cleanPath(text[:at]), text[at+1:]
	if name, off, ok := strings.Cut(symbol, "+"); ok {
		n, err := strconv.ParseUint(off, 0, 64)
		if err != nil {
			return "", "", 0, fmt.Errorf("offset %q in %q is no number", off, text)
		}
		symbol, offset = name, n
	}
	return path, symbol, offset, nil
}

// ParseUSDT reads PATH:PROVIDER:NAME.
func ParseUSDT(text string) (path, provider, name string, err error) {
	rest, name, ok := cutLast(text)
	if ok {
		path, provider, ok = cutLast(rest)
	}
	if !ok || path == "" || provider == "" || name == "" {
		return "", "", "", fmt.Errorf("what a USDT program hangs on is PATH:PROVIDER:NAME, as in libc.so.6:libc:setjmp, not %q", text)
	}
	return cleanPath(path), provider, name, nil
}

func cutLast(text string) (before, after string, ok bool) {
	at := strings.LastIndexByte(text, ':')
	if at < 0 {
		return text, "", false
	}
	return text[:at], text[at+1:], true
}

// cleanPath takes the second slash off a path that a section gives as
// uprobe//abs/path, whose first one ends the kind.
func cleanPath(path string) string {
	if strings.HasPrefix(path, "//") {
		return path[1:]
	}
	return path
}
