package counters

import (
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/rogpeppe/go-internal/txtar"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/ethtool"
)

// recorder is a source that remembers what another one says.
type recorder struct {
	source
	said map[string]string
}

// replay is a source that says what a recorder heard.
type replay map[string]string

func fileKey(name string) string { return "file " + name }
func askKey(r request) string {
	return fmt.Sprintf("netlink %d %d %t %x", r.protocol, r.kind, r.dump, r.body)
}
func ethtoolKey(ifname string, command []byte) string {
	return fmt.Sprintf("ethtool %s %x", ifname, command[:4])
}
func tcxKey(index uint32, attach ebpf.AttachType) string {
	return fmt.Sprintf("tcx %d %d", index, attach)
}
func programKey(id uint32) string { return fmt.Sprintf("program %d", id) }

// An error is the first line of an answer.
const errorLine = "error "

func errorText(err error) string {
	var errno unix.Errno
	switch {
	case err == nil:
		return ""
	case errors.Is(err, errNoTCX):
		return errorLine + "tcx\n"
	case errors.As(err, &errno):
		return errorLine + strconv.Itoa(int(errno)) + "\n"
	}
	return errorLine + err.Error() + "\n"
}

// heard returns what was said, as lines or as an error.
func (p replay) heard(key string) ([]string, error) {
	text, ok := p[key]
	if !ok {
		return nil, fmt.Errorf("%s was not recorded", key)
	}
	if rest, ok := strings.CutPrefix(text, errorLine); ok {
		rest = strings.TrimSuffix(rest, "\n")
		if n, err := strconv.Atoi(rest); err == nil {
			return nil, unix.Errno(n)
		}
		switch rest {
		case "tcx":
			return nil, errNoTCX
		case ethtool.ErrNone.Error():
			return nil, ethtool.ErrNone
		}
		return nil, errors.New(rest)
	}
	return strings.FieldsFunc(text, func(r rune) bool { return r == '\n' }), nil
}

func (r recorder) file(name string) ([]byte, error) {
	text, err := r.source.file(name)
	r.said[fileKey(name)] = errorText(err) + string(text)
	return text, err
}

func (p replay) file(name string) ([]byte, error) {
	if _, err := p.heard(fileKey(name)); err != nil {
		return nil, err
	}
	return []byte(p[fileKey(name)]), nil
}

func (r recorder) tracked() bool {
	is := r.source.tracked()
	r.said["tracked"] = strconv.FormatBool(is) + "\n"
	return is
}

func (p replay) tracked() bool { return p["tracked"] == "true\n" }

func (r recorder) ask(q request, each func([]byte)) error {
	var b strings.Builder
	err := r.source.ask(q, func(body []byte) {
		fmt.Fprintf(&b, "%x\n", body)
		each(body)
	})
	r.said[askKey(q)] = errorText(err) + b.String()
	return err
}

func (p replay) ask(q request, each func([]byte)) error {
	lines, err := p.heard(askKey(q))
	for _, l := range lines {
		body, bad := hex.DecodeString(l)
		if bad != nil {
			return bad
		}
		each(body)
	}
	return err
}

func (r recorder) ethtool(ifname string, command []byte) error {
	key := ethtoolKey(ifname, command)
	err := r.source.ethtool(ifname, command)
	if err != nil {
		r.said[key] = errorText(err)
		return err
	}
	r.said[key] = fmt.Sprintf("%x\n", command)
	return nil
}

func (p replay) ethtool(ifname string, command []byte) error {
	lines, err := p.heard(ethtoolKey(ifname, command))
	if err != nil {
		return err
	}
	_, err = hex.Decode(command, []byte(lines[0]))
	return err
}

func (r recorder) tcx(index uint32, attach ebpf.AttachType) ([]uint32, error) {
	ids, err := r.source.tcx(index, attach)
	text := errorText(err)
	for _, id := range ids {
		text += fmt.Sprintln(id)
	}
	r.said[tcxKey(index, attach)] = text
	return ids, err
}

func (p replay) tcx(index uint32, attach ebpf.AttachType) ([]uint32, error) {
	lines, err := p.heard(tcxKey(index, attach))
	var ids []uint32
	for _, l := range lines {
		id, _ := strconv.ParseUint(l, 10, 32)
		ids = append(ids, uint32(id))
	}
	return ids, err
}

func (r recorder) program(id uint32) (string, error) {
	name, err := r.source.program(id)
	r.said[programKey(id)] = errorText(err) + name + "\n"
	return name, err
}

func (p replay) program(id uint32) (string, error) {
	lines, err := p.heard(programKey(id))
	if err != nil || len(lines) == 0 {
		return "", err
	}
	return lines[0], nil
}

// archive writes down what was said in several namespaces.
func archive(spaces map[string]map[string]string) []byte {
	a := &txtar.Archive{}
	for _, space := range sortedKeys(spaces) {
		for _, key := range sortedKeys(spaces[space]) {
			a.Files = append(a.Files, txtar.File{Name: space + "/" + key, Data: []byte(spaces[space][key])})
		}
	}
	return txtar.Format(a)
}

// unarchive reads what archive wrote.
func unarchive(text []byte) map[string]replay {
	spaces := map[string]replay{}
	for _, f := range txtar.Parse(text).Files {
		space, key, _ := strings.Cut(f.Name, "/")
		if spaces[space] == nil {
			spaces[space] = replay{}
		}
		spaces[space][key] = string(f.Data)
	}
	return spaces
}

func sortedKeys[K ~string, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// read reads a namespace from a source as Reader.Sample does.
func read(r *Reader, src source, n *Namespace) losses {
	v := reading{Reader: r, source: src, start: time.Now(), lost: losses{}}
	v.namespace(n)
	n.Reads, n.Gaps = v.reads, v.gaps
	return v.lost
}

// dump writes what is not zero in v, a line each, with when it was read left out.
func dump(b *strings.Builder, path string, v reflect.Value) {
	switch {
	case v.Type() == reflect.TypeFor[Counters]():
		c := v.Interface().(Counters)
		if len(c.Names) > 0 {
			fmt.Fprintf(b, "%s: %d counters, first %s, last %s\n", path, len(c.Names), c.Names[0], c.Names[len(c.Names)-1])
		}
		for i, value := range c.Values {
			if value != 0 {
				fmt.Fprintf(b, "%s.%s: %d\n", path, c.Names[i], value)
			}
		}
	case v.Type() == reflect.TypeFor[[]Read]():
	case v.Kind() == reflect.Struct && v.Type().PkgPath() == reflect.TypeFor[Sample]().PkgPath():
		for i := range v.NumField() {
			dump(b, path+"."+v.Type().Field(i).Name, v.Field(i))
		}
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			dump(b, fmt.Sprintf("%s[%d]", path, i), v.Index(i))
		}
	case v.Kind() == reflect.Pointer:
		if !v.IsNil() {
			dump(b, path, v.Elem())
		}
	case !v.IsZero():
		fmt.Fprintf(b, "%s: %v\n", path, v.Interface())
	}
}
