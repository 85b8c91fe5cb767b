package language

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

func TestTranslate(t *testing.T) {
	for message, want := range map[string]string{
		`unknown command "drps"; 'netfate --help' lists the commands`:    `没有 "drps" 这个命令；'netfate --help' 列出所有命令`,
		`unknown flag: --colour; 'netfate drops --help' shows the flags`: `没有 --colour 这个选项；'netfate drops --help' 列出所有选项`,
		`--every 1ms is too short: 100ms is the shortest`:                `--every 1ms 太短：最短为 100ms`,
		// An error within an error, and one of the system within that.
		`read a.nfr: open a.nfr: no such file or directory`: `读取 a.nfr：打开 a.nfr：没有这个文件或目录`,
		`--netns: no network namespace "x": no such name in /run/netns or /run/docker/netns, and no process in a container called so; for a process say pid:x, ip netns lists names`: `--netns：没有网络命名空间 "x"：/run/netns 和 /run/docker/netns 里没有这个名字，也没有进程在叫这个名字的容器里；如果是进程，请写 pid:x；ip netns 列出所有名字`,
		// What was tried has no counterpart; the rest has.
		`attach kfree_skb: operation not permitted: this process lacks CAP_BPF; run netfate as root`:                 `attach kfree_skb：不允许的操作：该进程缺少 CAP_BPF；请以 root 运行 netfate`,
		`netfate cannot watch this host: this kernel has no BTF, the description of its types; take another kernel.`: `netfate 无法监视本机：这个内核没有 BTF（对其类型的描述）；请换一个内核。`,
		// One fault a line.
		"/etc/n.yaml:\nline 3: there is no key api.lissen; did you mean api.listen?\ninterval: 1ms is not from 100ms to 1h": "/etc/n.yaml:\n第 3 行：没有 api.lissen 这个键；是不是想写 api.listen？\ninterval: 1ms 不在 100ms 至 1h 之间",
		`filter "prot 53": syntax error; did you mean proto?`:                                                               `过滤表达式 "prot 53"：syntax error；是不是想写 proto？`,
		`the history has no drops of 2026-11-30 to 2026-12-01`:                                                              `历史里没有 2026-11-30 至 2026-12-01 的 丢包`,
		`something that nobody has a word for: permission denied`:                                                           `something that nobody has a word for：权限不够`,
		``:           ``,
		`a: b; c: d`: `a: b; c: d`,
	} {
		if got := Chinese.Translate(message); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", message, got, want)
		}
		if got := English.Translate(message); got != message {
			t.Errorf("English: got %s, want %s", got, message)
		}
	}
}

// A message may hold what users and other hosts wrote.
func TestTranslateIsBounded(t *testing.T) {
	for _, message := range []string{
		strings.Repeat("read a: ", 2000), strings.Repeat("; ", 1000), strings.Repeat("read x: ", 20), "\xff: \x00; ", strings.Repeat("\n", 100),
		"100% of %d: %s: %[9]s %!",
	} {
		if got := Chinese.Translate(message); len(got) > 4*len(message)+100 {
			t.Errorf("%.40q: %d bytes became %d", message, len(message), len(got))
		}
	}
}

func TestFacts(t *testing.T) {
	names, values := NewTranslator(Chinese, FactNames()), NewTranslator(Chinese, FactValues(), Catalogue())
	for text, want := range map[string]string{
		"udp socket 10.2.0.2:5004, receive buffer": "udp 套接字 10.2.0.2:5004，接收缓冲区", "interface eth0, receive missed": "接口 eth0，接收遗漏",
		"net.core.rmem_max": "net.core.rmem_max", "tc ingress filter on eth0": "eth0 上的 tc ingress 过滤器",
	} {
		if got := names.Translate(text); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"208 KiB: what a socket gets that asks for nothing":                                    "208 KiB：不作要求的套接字得到的大小",
		"the larger counts, 1: strict: drops what would not be answered by the same interface": "较大者生效，即 1：严格：应答不从同一接口出去的，一律丢弃",
		"not read: needs root (open sock_diag: operation not permitted)":                       "没有读取：需要 root（打开 sock_diag：不允许的操作）",
		// What others wrote stays as they did.
		`tcp dport { 80, 443 } counter comment "web: all; see wiki" drop`: `tcp dport { 80, 443 } counter comment "web: all; see wiki" drop`,
	} {
		if got := values.Translate(text); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}

func TestSprintf(t *testing.T) {
	if got, want := Chinese.Sprintf("watching %s of namespace %s; Ctrl-C ends", "DNS", "blue"), "正在监视命名空间 blue：DNS；按 Ctrl-C 结束"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := English.Sprintf("first report in %v", 3), "first report in 3"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := Chinese.Sprintf("not in the catalogue: %d", 3), "not in the catalogue: 3"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// Translations print the same values, and are Chinese.
func TestCatalogue(t *testing.T) {
	for _, catalogue := range []map[string]string{Catalogue(), FactNames(), FactValues()} {
		checkCatalogue(t, catalogue)
	}
	sections := 0
	for _, section := range []map[string]string{commandLine(), times(), doing(), refused(), lacking(), daemon(), configuration(), elsewhere()} {
		sections += len(section)
	}
	if n := len(Catalogue()); n != sections {
		t.Errorf("%d messages, but %d in the sections: one is there twice", n, sections)
	}
}

func checkCatalogue(t *testing.T, catalogue map[string]string) {
	t.Helper()
	for english, chinese := range catalogue {
		if got, want := verbs(chinese), verbs(english); !maps.Equal(got, want) {
			t.Errorf("%s: got the verbs %v, want %v", english, got, want)
		}
		words := strings.TrimSpace(verb.ReplaceAllString(chinese, ""))
		if strings.HasSuffix(english, ".") || strings.ContainsAny(english, "\n") || !strings.ContainsFunc(verb.ReplaceAllString(english, ""), unicode.IsLetter) {
			t.Errorf("%q: not a message that could be found again", english)
		}
		if strings.Contains(chinese, ", ") || strings.Contains(chinese, "; ") || strings.Contains(chinese, ": ") {
			t.Errorf("%s: punctuation of another script: %s", english, chinese)
		}
		if words == strings.TrimSpace(verb.ReplaceAllString(english, "")) {
			t.Errorf("%s: not translated", english)
		}
	}
}

// verbs are the arguments that a format prints, and how.
func verbs(format string) map[argument]bool {
	all := map[argument]bool{}
	number := 0
	for _, m := range verb.FindAllStringSubmatch(format, -1) {
		if m[2] == "%" {
			continue
		}
		number = following(number, m[1])
		all[argument{number, strings.Replace(m[2], "w", "s", 1)}] = true
	}
	return all
}

// covered are the files whose messages all have a translation: the command line, the
// configuration, why the kernel refuses, and who does not answer.
func covered(t *testing.T) []string {
	t.Helper()
	var list []string
	for _, pattern := range []string{
		"cmd/netfate/*.go", "internal/config/*.go", "internal/kernel/diagnose.go", "internal/enrich/netns/resolve.go", "internal/verdict/explain.go",
		"internal/view/table/view.go", "internal/history/history.go", "internal/history/remote/remote.go", "internal/history/duckdb/config.go",
		"internal/api/listen.go", "internal/api/guard.go",
	} {
		found, err := filepath.Glob(filepath.Join("..", "..", pattern))
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: no file, %v", pattern, err)
		}
		list = append(list, slices.DeleteFunc(found, func(name string) bool { return strings.HasSuffix(name, "_test.go") })...)
	}
	return list
}

// makers are the functions whose argument of that number is a message.
func makers() map[string]int {
	return map[string]int{"fmt.Errorf": 0, "errors.New": 0, "usagef": 0, "say": 0, "config.say": 1}
}

func TestMessagesHaveTranslations(t *testing.T) {
	catalogue, seen := Catalogue(), 0
	for _, name := range covered(t) {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, message := range messages(file) {
			if !strings.ContainsFunc(verb.ReplaceAllString(message, ""), unicode.IsLetter) {
				continue // it only joins others
			}
			seen++
			if catalogue[message] == "" {
				t.Errorf("%s: no Chinese for %q in chinese.go", filepath.Base(name), message)
			}
		}
	}
	if seen < 200 {
		t.Errorf("found %d messages: the test looks in the wrong places", seen)
	}
}

// messages are the formats and sentences that a file makes errors and notes of.
func messages(file *ast.File) (list []string) {
	add := func(e ast.Expr) {
		if text, ok := constant(e); ok {
			list = append(list, text)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			name := called(n.Fun)
			if name == "say" && file.Name.Name == "config" {
				name = "config.say"
			}
			if i, ok := makers()[name]; ok && i < len(n.Args) {
				add(n.Args[i])
			}
		case *ast.AssignStmt: // of kernel.Refusal
			for i, left := range n.Lhs {
				if s, ok := left.(*ast.SelectorExpr); ok && (s.Sel.Name == "Cause" || s.Sel.Name == "Remedy") && i < len(n.Rhs) {
					add(n.Rhs[i])
				}
			}
		case *ast.ValueSpec:
			for i, id := range n.Names {
				if strings.HasPrefix(id.Name, "remedy") && i < len(n.Values) {
					add(n.Values[i])
				}
			}
		}
		return true
	})
	return list
}

func called(f ast.Expr) string {
	switch f := f.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		if x, ok := f.X.(*ast.Ident); ok {
			return x.Name + "." + f.Sel.Name
		}
	}
	return ""
}

// constant is the text of an expression; what is not constant in it is %s.
func constant(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		return text, err == nil
	case *ast.BinaryExpr:
		left, known := constant(e.X)
		right, also := constant(e.Y)
		if !known {
			left = "%s"
		}
		if !also {
			right = "%s"
		}
		return left + right, e.Op == token.ADD && (known || also)
	}
	return "", false
}

// Live values are told in few words, all of them in package evidence.
func TestFactsHaveTranslations(t *testing.T) {
	found, err := filepath.Glob(filepath.Join("..", "..", "internal", "evidence", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	names, values, seen := FactNames(), FactValues(), 0
	known := func(text string) bool {
		// A name may be put together of several.
		for name := range names {
			if strings.Contains(name, strings.TrimPrefix(text, "%s")) {
				return true
			}
		}
		return values[text] != "" || slices.Contains(alike(), text)
	}
	for _, name := range found {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range sentences(file) {
			seen++
			if !known(text) {
				t.Errorf("%s: no Chinese for %q in facts.go", filepath.Base(name), text)
			}
		}
	}
	if seen < 100 {
		t.Errorf("found %d texts: the test looks in the wrong places", seen)
	}
}

// alike are the texts of facts that are the same in every language.
func alike() []string {
	return []string{
		" %s, program %d", "%.0f KiB", "%.1f GiB", "%.1f MiB", "%d B", "%d of %d", "%s %s %s", "%s of %s", "%s pref %d", "%s, %s", "%s, %s, MTU %d, queue %d",
		"%s: %s", "%s; %s", "default class %x", "dev %s", "limit %d packets", "limit %d packets, %d a flow", "limit %d packets, loss %.2f %%", "of %s",
		"policy drop", "rate %d bit/s, limit %d bytes", "src %s", "state %#x", "via %s",
	}
}

// sentences are the longest constant texts with a space in them.
func sentences(file *ast.File) (list []string) {
	ast.Inspect(file, func(n ast.Node) bool {
		if _, ok := n.(*ast.ImportSpec); ok {
			return false
		}
		e, ok := n.(ast.Expr)
		if !ok {
			return true
		}
		text, ok := constant(e)
		if ok && strings.Contains(strings.TrimSpace(text), " ") {
			list = append(list, text)
		}
		return !ok
	})
	return list
}

// What nobody says any more does not stay in the catalogue.
func TestNothingIsStale(t *testing.T) {
	said := map[string]bool{}
	for _, dir := range []string{"cmd", "internal"} {
		err := filepath.WalkDir(filepath.Join("..", "..", dir), func(name string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(name, ".go") || filepath.Base(filepath.Dir(name)) == "language" {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
			if err != nil {
				return fmt.Errorf("parse %s: %w", name, err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if e, ok := n.(ast.Expr); ok {
					if text, ok := constant(e); ok {
						said[strings.TrimPrefix(text, "; ")] = true
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	others := elsewhere()
	for message := range Catalogue() {
		if _, ok := others[message]; !ok && !said[message] {
			t.Errorf("nobody says %q any more", message)
		}
	}
}
