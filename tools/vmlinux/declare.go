package main

import (
	"fmt"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// body returns the members in list that are wanted, all of them if w is nil, as
// lines indented by depth tabs. Members of anonymous structs and unions are
// lifted out of them if only some are wanted: CO-RE looks through both.
func (g *generator) body(list []btf.Member, w *members, depth int) string {
	var b strings.Builder
	for _, m := range list {
		_, inner, isComposite := composite(m.Type)
		var sub *members
		if w != nil {
			if m.Name == "" && isComposite {
				b.WriteString(g.body(inner, w, depth))
				continue
			}
			var ok bool
			if sub, ok = w.names[m.Name]; !ok {
				continue
			}
		}
		b.WriteString(strings.Repeat("\t", depth))
		b.WriteString(g.declaration(m.Type, m.Name, sub, depth))
		if m.BitfieldSize > 0 {
			fmt.Fprintf(&b, " : %d", m.BitfieldSize)
		}
		b.WriteString(";\n")
	}
	return b.String()
}

// declaration returns the C declaration of name as a t. What it needs is
// defined or declared first. If sub is not nil, t is a struct or union without
// a name, or made one, with only those members. depth is that of the line.
func (g *generator) declaration(t btf.Type, name string, sub *members, depth int) string {
	if sub != nil {
		return g.inline(btf.UnderlyingType(t), name, sub, depth)
	}
	switch t := t.(type) {
	case *btf.Void:
		return join("void", name)
	case *btf.Int:
		return join(t.Name, name)
	case *btf.Typedef:
		g.typedef(t)
		return join(t.Name, name)
	case *btf.Const:
		return g.qualified("const", t.Type, name, depth)
	case *btf.Volatile:
		return g.qualified("volatile", t.Type, name, depth)
	case *btf.Restrict:
		return g.declaration(t.Type, name, nil, depth)
	case *btf.TypeTag: // __rcu, __user: the verifier reads the running kernel's
		return g.declaration(t.Type, name, nil, depth)
	case *btf.Array:
		return g.declaration(t.Type, fmt.Sprintf("%s[%d]", name, t.Nelems), nil, depth)
	case *btf.Pointer:
		return g.pointer(t, name, depth)
	case *btf.Enum:
		if t.Name == "" || !g.enums[t.Name] {
			g.missing = append(g.missing, fmt.Errorf("member %s: list the values wanted of its enum %s", name, t.Name))
		}
		return join("enum "+t.Name, name)
	case *btf.Struct, *btf.Union:
		return g.embedded(t, name, depth)
	}
	g.missing = append(g.missing, fmt.Errorf("member %s: cannot write a %v", name, t))
	return name
}

// embedded declares name as a struct or union by value.
func (g *generator) embedded(t btf.Type, name string, depth int) string {
	keyword, _, _ := composite(t)
	if t.TypeName() == "" {
		return g.inline(t, name, nil, depth)
	}
	full := keyword + " " + t.TypeName()
	if _, ok := g.want[full]; !ok {
		g.missing = append(g.missing, fmt.Errorf("member %s: list the members wanted of its %s", name, full))
		return name
	}
	g.define(full)
	return join(full, name)
}

// inline declares name as a struct or union without a name.
func (g *generator) inline(t btf.Type, name string, w *members, depth int) string {
	keyword, list, ok := composite(t)
	if !ok {
		g.missing = append(g.missing, fmt.Errorf("member %s: has no members, it is a %v", name, t))
		return name
	}
	return join(fmt.Sprintf("%s {\n%s%s}", keyword, g.body(list, w, depth+1), strings.Repeat("\t", depth)), name)
}

// pointer declares name as a pointer. Structs behind it need no definition;
// functions and enums are pointed to as void.
func (g *generator) pointer(p *btf.Pointer, name string, depth int) string {
	star := "*" + name
	switch target := btf.UnderlyingType(p.Target).(type) {
	case *btf.FuncProto, *btf.Enum:
		return "void " + star
	case *btf.Array:
		return g.declaration(p.Target, "("+star+")", nil, depth)
	case *btf.Struct, *btf.Union:
		keyword, _, _ := composite(target)
		g.declare(keyword, target.TypeName())
	case *btf.Fwd:
		keyword := "struct"
		if target.Kind == btf.FwdUnion {
			keyword = "union"
		}
		g.declare(keyword, target.Name)
	}
	return g.pointed(p.Target, star, depth)
}

// pointed declares star, which begins with a star, to point to a t.
func (g *generator) pointed(t btf.Type, star string, depth int) string {
	switch t := t.(type) {
	case *btf.Struct, *btf.Union:
		if keyword, _, _ := composite(t); t.TypeName() != "" {
			return join(keyword+" "+t.TypeName(), star)
		}
	case *btf.Fwd:
		if t.Kind == btf.FwdUnion {
			return join("union "+t.Name, star)
		}
		return join("struct "+t.Name, star)
	case *btf.Const:
		if _, ok := t.Type.(*btf.Pointer); !ok {
			return "const " + g.pointed(t.Type, star, depth)
		}
	case *btf.Volatile:
		if _, ok := t.Type.(*btf.Pointer); !ok {
			return "volatile " + g.pointed(t.Type, star, depth)
		}
	case *btf.TypeTag:
		return g.pointed(t.Type, star, depth)
	}
	return g.declaration(t, star, nil, depth)
}

// declare declares a struct or union that nothing has declared yet.
func (g *generator) declare(keyword, name string) {
	full := keyword + " " + name
	if name == "" || g.declared[full] {
		return
	}
	g.declared[full] = true
	g.write(full + ";\n")
}

// qualified declares name as a const or volatile t: of a pointer it is the
// pointer that is, and the qualifier stands right of the star.
func (g *generator) qualified(qualifier string, t btf.Type, name string, depth int) string {
	if _, ok := t.(*btf.Pointer); ok {
		return g.declaration(t, join(qualifier, name), nil, depth)
	}
	return qualifier + " " + g.declaration(t, name, nil, depth)
}

// join joins a type and what it declares.
func join(left, right string) string {
	return strings.TrimSuffix(left+" "+right, " ")
}
