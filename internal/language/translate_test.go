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
		"/etc/n.yaml:\nline 3: there is no key api.lissen; did you mean api.listen?\ninterval: 1ms is not from 100ms to 1h": "/etc/n.yaml:\n第 3 行：没有 api.lissen 这个键；是不是想写 api.listen？\ninterval：1ms 不在 100ms 至 1h 之间",
		`filter "prot 53": syntax error; did you mean proto?`:                                                               `过滤表达式 "prot 53"：syntax error；是不是想写 proto？`,
		`the history has no drops of 2026-11-30 to 2026-12-01`:                                                              `历史里没有 2026-11-30 至 2026-12-01 的 丢包`,
		`something that nobody has a word for: permission denied`:                                                           `something that nobody has a word for：权限不够`,
		``:           ``,
		`a: b; c: d`: `a：b；c：d`,
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
	sections := 0
	for _, section := range []map[string]string{commandLine(), times(), doing(), refused(), daemon(), configuration(), elsewhere()} {
		sections += len(section)
	}
	if n := len(Catalogue()); n != sections {
		t.Errorf("%d messages, but %d in the sections: one is there twice", n, sections)
	}
	for english, chinese := range Catalogue() {
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
						said[text] = true
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
