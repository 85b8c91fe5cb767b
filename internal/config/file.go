package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/netfate/netfate/internal/nearest"
)

// maxFile bounds the file: the defaults with all comments have 5 kB.
const maxFile = 1 << 20

// Load reads the file of that path over the defaults and checks it. The error
// has one line for each fault that there is.
func Load(path string) (Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return Config{}, fmt.Errorf("read the configuration: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return Config{}, fmt.Errorf("read the configuration: %w", err)
	}
	if len(text) > maxFile {
		return Config{}, fmt.Errorf("%s: larger than a configuration may be, %d bytes", path, maxFile)
	}
	c, err := Parse(text)
	if err != nil {
		return Config{}, fmt.Errorf("%s:\n%w", path, err)
	}
	return c, nil
}

// Parse reads text over the defaults and checks it.
func Parse(text []byte) (Config, error) {
	c := Default()
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return c, nil
	} else if err != nil {
		return c, err
	}
	if err := dec.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return c, errors.New("there is more than one document in it")
	}
	wrong := unknown(doc.Content[0], reflect.TypeFor[Config](), "")
	if err := doc.Decode(&c); err != nil {
		wrong = append(wrong, err)
	}
	if len(wrong) == 0 { // of half a configuration the checks would be beside the point
		return c, c.Check()
	}
	return c, errors.Join(wrong...)
}

// Check returns what cannot be meant, one line for each fault.
func (c *Config) Check() error { return errors.Join(c.check()...) }

// unknown returns an error for each key below n that t does not have, with the
// nearest one.
func unknown(n *yaml.Node, t reflect.Type, prefix string) (wrong []error) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.MappingNode || t.Kind() != reflect.Struct {
		return nil
	}
	fields := map[string]reflect.Type{}
	for i := range t.NumField() {
		fields[t.Field(i).Tag.Get("yaml")] = t.Field(i).Type
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if inner, ok := fields[key.Value]; ok {
			wrong = append(wrong, unknown(n.Content[i+1], inner, prefix+key.Value+".")...)
			continue
		}
		wrong = append(wrong, fmt.Errorf("line %d: there is no key %s; %s", key.Line, prefix+key.Value, meant(prefix, key.Value, slices.Collect(maps.Keys(fields)))))
	}
	return wrong
}

// meant offers the keys that may have been meant: of the same section first, then
// from anywhere.
func meant(prefix, key string, here []string) string {
	var everywhere []string
	paths := map[string]string{}
	for _, k := range Keys() {
		name := k.Path[strings.LastIndex(k.Path, ".")+1:]
		everywhere = append(everywhere, name)
		paths[name] = k.Path
	}
	if near := nearest.Of(key, here, 1); len(near) > 0 {
		return fmt.Sprintf("did you mean %s?", prefix+near[0])
	}
	if near := nearest.Of(key, everywhere, 1); len(near) > 0 {
		return fmt.Sprintf("did you mean %s?", paths[near[0]])
	}
	return "netfate serve --print-config lists all"
}

// Key is one key of the file.
type Key struct {
	Path   string // api.listen
	Doc    string
	Reload bool // SIGHUP takes it over
	index  []int
}

// Keys lists the keys that have values, in their order.
func Keys() []Key { return keys(reflect.TypeFor[Config](), "", nil) }

func keys(t reflect.Type, prefix string, index []int) (all []Key) {
	for i := range t.NumField() {
		f := t.Field(i)
		k := Key{Path: prefix + f.Tag.Get("yaml"), Doc: f.Tag.Get("doc"), Reload: f.Tag.Get("reload") != "", index: append(index[:len(index):len(index)], i)}
		if f.Type.Kind() == reflect.Struct {
			all = append(all, keys(f.Type, k.Path+".", k.index)...)
			continue
		}
		all = append(all, k)
	}
	return all
}

// Changed lists the keys whose values differ: those that a running daemon takes
// over, and those that need a restart.
func Changed(from, to *Config) (reload, restart []string) {
	a, b := reflect.ValueOf(from).Elem(), reflect.ValueOf(to).Elem()
	for _, k := range Keys() {
		if equal(a.FieldByIndex(k.index), b.FieldByIndex(k.index)) {
			continue
		}
		if k.Reload {
			reload = append(reload, k.Path)
		} else {
			restart = append(restart, k.Path)
		}
	}
	return reload, restart
}

// equal compares two values of a key; no list is the same as an empty one.
func equal(a, b reflect.Value) bool {
	if a.Kind() == reflect.Slice && a.Len() == 0 && b.Len() == 0 {
		return true
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}

// Write prints c as a file, each key under its meaning.
func Write(w io.Writer, c Config) error {
	n, err := node(reflect.ValueOf(c))
	if err != nil {
		return err
	}
	n.HeadComment = "netfate serve, /etc/netfate/netfate.yaml: all keys, with these values where the file is silent.\n" +
		"SIGHUP takes over what is marked so; the rest needs a restart."
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(&yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{n}}); err != nil {
		return err
	}
	_, err = w.Write(out.Bytes())
	return err
}

// node makes a mapping of a section, with comments.
func node(v reflect.Value) (*yaml.Node, error) {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		key := &yaml.Node{Kind: yaml.ScalarNode, Value: f.Tag.Get("yaml"), HeadComment: fold(f.Tag.Get("doc"))}
		if f.Tag.Get("reload") != "" {
			key.HeadComment = fold(f.Tag.Get("doc") + " (SIGHUP)")
		}
		value := &yaml.Node{}
		var err error
		if f.Type.Kind() == reflect.Struct {
			value, err = node(v.Field(i))
		} else {
			err = value.Encode(v.Field(i).Interface())
		}
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, key, value)
	}
	return n, nil
}

// width is where comments are folded.
const width = 90

// fold breaks text into lines.
func fold(text string) string {
	var b strings.Builder
	at := 0
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case at+1+len(word) > width:
			b.WriteByte('\n')
			at = 0
		default:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at += len(word)
	}
	return b.String()
}
