package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"io/fs"
	"path"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
)

// repository is where files are that are no pages.
const repository = "https://github.com/netfate/netfate/blob/master/"

//go:embed page.html
var pageHTML string

//go:embed site.css
var siteCSS []byte

// page is one page of the site.
type page struct {
	Source, Title, Language string
	Headings                []heading // of the second level
	markdown                []byte
	tree                    ast.Node
	anchors                 map[string]bool
}

type heading struct{ ID, Title string }

// site is what is built, and from what.
type site struct {
	sources fs.FS
	pages   map[string]*page
	files   map[string][]byte // by their names in the site
	shell   goldmark.Markdown
}

// build returns the files of the site. A link that leads nowhere is an error.
func build(sources fs.FS) (map[string][]byte, error) {
	layout, err := template.New("page").Parse(pageHTML)
	if err != nil {
		return nil, fmt.Errorf("parse page.html: %w", err)
	}
	s := &site{
		sources: sources, pages: map[string]*page{}, files: map[string][]byte{"site.css": siteCSS},
		shell: goldmark.New(goldmark.WithExtensions(extension.GFM, extension.NewCJK(extension.WithEastAsianLineBreaks())), goldmark.WithParserOptions(parser.WithAutoHeadingID())),
	}
	var order []*page
	for _, part := range navigation() {
		for _, i := range part.Pages {
			p, err := s.read(i)
			if err != nil {
				return nil, err
			}
			order = append(order, p)
		}
	}
	for _, p := range order {
		if err := s.link(p); err != nil {
			return nil, err
		}
		if err := s.write(layout, p); err != nil {
			return nil, err
		}
	}
	return s.files, nil
}

// read parses a page.
func (s *site) read(i item) (*page, error) {
	markdown, err := fs.ReadFile(s.sources, i.Source)
	if err != nil {
		return nil, fmt.Errorf("read a page: %w", err)
	}
	p := &page{Source: i.Source, Title: i.Title, Language: language(i.Source), markdown: markdown, anchors: map[string]bool{}}
	p.tree = s.shell.Parser().Parse(text.NewReader(markdown), parser.WithContext(parser.NewContext(parser.WithIDs(ids{}))))
	for n := p.tree.FirstChild(); n != nil; n = n.NextSibling() {
		h, ok := n.(*ast.Heading)
		if !ok {
			continue
		}
		title := words(h, markdown)
		if h.Level == 1 && p.Title == "" {
			p.Title = title
		}
		id, _ := h.AttributeString("id")
		name, _ := id.([]byte)
		p.anchors[string(name)] = true
		if h.Level == 2 {
			p.Headings = append(p.Headings, heading{string(name), title})
		}
	}
	if p.Title == "" {
		return nil, fmt.Errorf("%s: it has no title", p.Source)
	}
	s.pages[p.Source] = p
	return p, nil
}

// words is the text of a node without its marks.
func words(n ast.Node, source []byte) string {
	var b strings.Builder
	for c := n.FirstChild(); c != nil; c = c.NextSibling() {
		if t, ok := c.(*ast.Text); ok {
			b.Write(t.Value(source))
		} else {
			b.WriteString(words(c, source))
		}
	}
	return b.String()
}

// link makes the links of a page those of the site.
func (s *site) link(p *page) error {
	return ast.Walk(p.tree, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		var destination *[]byte
		switch n := n.(type) {
		case *ast.Link:
			destination = &n.Destination
		case *ast.Image:
			destination = &n.Destination
		}
		if !entering || destination == nil {
			return ast.WalkContinue, nil
		}
		to, err := s.resolve(p, string(*destination))
		if err != nil {
			return ast.WalkStop, fmt.Errorf("%s: %w", p.Source, err)
		}
		*destination = []byte(to)
		return ast.WalkContinue, nil
	})
}

// resolve returns where a link of a page leads, seen from that page in the site.
func (s *site) resolve(p *page, link string) (string, error) {
	if strings.Contains(link, "://") {
		return link, nil
	}
	file, anchor, hasAnchor := strings.Cut(link, "#")
	if file == "" {
		file = path.Base(p.Source)
	}
	file = path.Join(path.Dir(p.Source), file)
	info, err := fs.Stat(s.sources, file)
	if err != nil {
		return "", fmt.Errorf("the link %s leads nowhere: %w", link, err)
	}
	switch to := s.pages[file]; {
	case to != nil && hasAnchor && !to.anchors[anchor]:
		return "", fmt.Errorf("the link %s leads to no heading of %s", link, file)
	case to != nil:
		file = target(file)
	case !info.IsDir() && shown(file):
		if s.files[file], err = fs.ReadFile(s.sources, file); err != nil {
			return "", fmt.Errorf("read %s: %w", file, err)
		}
	default:
		file = repository + file
		if hasAnchor {
			file += "#" + anchor
		}
		return file, nil
	}
	to := relative(target(p.Source), file)
	if hasAnchor {
		to += "#" + anchor
	}
	return to, nil
}

// shown reports whether a file that is no page is part of the site.
func shown(file string) bool {
	switch path.Ext(file) {
	case ".png", ".json", ".yaml":
		return true
	}
	return false
}

// relative returns the way from one file of the site to another.
func relative(from, to string) string {
	return strings.Repeat("../", strings.Count(from, "/")) + to
}

// write renders a page.
func (s *site) write(layout *template.Template, p *page) error {
	var body, out bytes.Buffer
	if err := s.shell.Renderer().Render(&body, p.markdown, p.tree); err != nil {
		return fmt.Errorf("render %s: %w", p.Source, err)
	}
	from := target(p.Source)
	err := layout.Execute(&out, map[string]any{
		"Page": p, "Labels": labelsOf(p), "Sections": s.menu(p), "Body": template.HTML(body.String()),
		"Home": relative(from, "index.html"), "Style": relative(from, "site.css"), "Repository": repository + p.Source,
	})
	if err != nil {
		return fmt.Errorf("render %s: %w", p.Source, err)
	}
	s.files[from] = out.Bytes()
	return nil
}

// entry is a line of the navigation as one page shows it.
type entry struct {
	Title, URL string
	Here       bool
}

type menuPart struct {
	Title   string
	Entries []entry
}

// menu is the navigation as p shows it.
func (s *site) menu(p *page) (parts []menuPart) {
	for _, part := range navigation() {
		m := menuPart{Title: part.Title}
		for _, i := range part.Pages {
			to := s.pages[i.Source]
			m.Entries = append(m.Entries, entry{to.Title, relative(target(p.Source), target(to.Source)), to == p})
		}
		parts = append(parts, m)
	}
	return parts
}
