package main

import "strings"

// section is a part of the navigation: pages by their sources, in the order in which
// they are shown.
type section struct {
	Title string
	Pages []item
}

// item is one page of the navigation. Where the title is empty it is the page's own.
type item struct{ Source, Title string }

// navigation lists every page of the site. A test holds that nothing below docs/ is
// missing.
func navigation() []section {
	docs := func(names ...string) (pages []item) {
		for _, name := range names {
			pages = append(pages, item{Source: "docs/" + name + ".md"})
		}
		return pages
	}
	return []section{
		{"Start", []item{
			{"README.md", "netfate"}, {"README.zh-CN.md", "中文"}, {Source: "docs/install.md"},
		}},
		{"Tutorials", docs("tutorials/find-a-drop", "tutorials/find-a-slow-url", "tutorials/find-who-used-the-bandwidth", "tutorials/watch-a-fleet")},
		{"Commands", docs("top", "filter", "watch", "ledger", "diff", "capture", "recording", "history", "run", "doctor")},
		{"Daemon", docs("serve", "web", "api", "export", "scale", "security")},
		{"Meaning", docs("verdicts", "kernels", "scenarios", "benchmarks", "peers", "prove")},
		{"Reference", docs("reference/fields", "reference/metrics", "reference/ipfix")},
		{"Inside", []item{
			{"ARCHITECTURE.md", "Architecture"}, {Source: "docs/decisions.md"}, {"CONTRIBUTING.md", "Contributing"}, {Source: "docs/releasing.md"}, {"CHANGELOG.md", "Changes"},
			{"bpf/examples/README.md", "Example programs"}, {"ui/README.md", "The page's sources"},
		}},
	}
}

// target is the name of a page in the site.
func target(source string) string {
	switch source {
	case "README.md":
		return "index.html"
	case "README.zh-CN.md":
		return "zh-CN.html"
	}
	return strings.TrimSuffix(source, ".md") + ".html"
}

// language is the page's, as HTML wants it.
func language(source string) string {
	if source == "README.zh-CN.md" {
		return "zh-CN"
	}
	return "en"
}

// labels are what a page says around its text.
type labels struct{ Skip, Pages, Here string }

func labelsOf(p *page) labels {
	if p.Language == "zh-CN" {
		return labels{"跳到正文", "所有页面", "本页内容"}
	}
	return labels{"Skip to the text", "Pages", "On this page"}
}
