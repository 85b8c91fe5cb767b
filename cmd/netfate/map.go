package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/netfate/netfate/internal/bpfmap"
	"github.com/netfate/netfate/internal/inventory"
	"github.com/netfate/netfate/internal/view/programs"
)

// mapFlags are the flags of the map commands.
type mapFlags struct {
	format string
	rows   int
	split  bool
	sort   string
	every  time.Duration
}

func newMap() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "map",
		Short: "List, read, change and watch BPF maps, whoever made them",
		Long: `Map reads and changes the BPF maps of this host, those of other tools too. A map is
named by the path of its pin, its id, or its name or that of its pin. Keys and
values are shown and read by the types that the map itself has (BTF): numbers,
addresses, enum names, strings, and JSON for structs; without types as 0x and hex.

Values of per-CPU maps are added up, member by member, or shown by CPU with --split.
Global variables of programs are maps too (.bss, .data, .rodata): their keys are the
names of the variables.`,
		Example: `  sudo netfate map ls
  sudo netfate map dump url_map --sort value -n 20
  sudo netfate map get /sys/fs/bpf/limits 10.0.0.1
  sudo netfate map set minimal.bss my_pid 4711
  sudo netfate map watch 42 --every 1s
  sudo netfate map dump flows -o json | jq 'select(.value.packets > 100) | .key'`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return usagef("unknown command %q; '%s --help' lists the commands", args[0], cmd.CommandPath())
		},
	}
	cmd.AddCommand(newMapList(), newMapDump(), newMapGet(), newMapSet(), newMapDelete(), newMapWatch())
	// Without a command: the list.
	list := newMapList()
	cmd.RunE = list.RunE
	cmd.Flags().AddFlagSet(list.Flags())
	return cmd
}

// mapArgs asks for arguments, whose names are the usage.
func mapArgs(least, most int, usage string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= least && len(args) <= most {
			return nil
		}
		return usagef("%s takes %s, got %q", cmd.CommandPath(), usage, args)
	}
}

// check refuses what the flags cannot mean.
func (f *mapFlags) check(formats ...string) error {
	for _, format := range formats {
		if f.format == format {
			if f.rows < 0 {
				return usagef("--rows %d is negative", f.rows)
			}
			return nil
		}
	}
	return usagef("--output is one of %s, not %s", strings.Join(formats, ", "), f.format)
}

// mapError gives requests that cannot be meant the exit code of wrong usage.
func mapError(err error) error {
	var usage *bpfmap.UsageError
	if errors.As(err, &usage) {
		return usageError{err}
	}
	return err
}

// withMap calls do with the map that name means.
func withMap(name string, do func(*bpfmap.Map) error) error {
	m, err := bpfmap.Open(name)
	if err != nil {
		return mapError(err)
	}
	return mapError(errors.Join(do(m), m.Close()))
}

// mapWidth is that of the terminal; 0 if the output is none.
func mapWidth() int {
	if !term.IsTerminal(int(os.Stdout.Fd())) {
		return 0
	}
	width, _ := terminalSize()
	return width
}

func newMapList() *cobra.Command {
	var f mapFlags
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "All maps of the host: id, type, name, sizes in bytes, memory, users, pins",
		Example: `  sudo netfate map ls
  sudo netfate map ls -o json | jq 'select(.memory > 1e6) | {id, name, memory}'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check("table", "json", "csv"); err != nil {
				return err
			}
			rows, err := listMaps(cmd.Context())
			if err != nil {
				return err
			}
			return programs.WriteMapList(os.Stdout, rows, f.format, mapWidth())
		},
	}
	cmd.Flags().StringVarP(&f.format, "output", "o", "table", "table, json (one object a line) or csv")
	return cmd
}

// listMaps puts the maps and who uses them together.
func listMaps(ctx context.Context) ([]programs.MapRow, error) {
	maps, err := bpfmap.List()
	if err != nil {
		return nil, err
	}
	used, err := inventory.Maps(ctx, inventory.Config{Note: func(text string) {
		fmt.Fprintln(os.Stderr, "netfate: note:", text)
	}})
	if err != nil {
		return nil, err
	}
	rows := make([]programs.MapRow, len(maps))
	for i, m := range maps {
		rows[i].Info = m
		if j := slices.IndexFunc(used, func(u inventory.Map) bool { return u.ID == m.ID }); j >= 0 {
			rows[i].Programs, rows[i].Owners = used[j].Programs, used[j].Owners
		}
	}
	return rows, nil
}

func newMapDump() *cobra.Command {
	var f mapFlags
	cmd := &cobra.Command{
		Use:   "dump MAP",
		Short: "All entries of a map",
		Long: `Dump shows all entries of a map, read in batches where the kernel can. A map may change
meanwhile: what is added or removed may or may not be shown; if anything else may be
missing or twice, a note says so.`,
		Example: `  sudo netfate map dump flows -n 20 --sort value
  sudo netfate map dump /sys/fs/bpf/cpu_stats --split
  sudo netfate map dump 42 -o csv > map.csv`,
		Args: mapArgs(1, 1, "the path, name or id of a map"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check("table", "json", "csv"); err != nil {
				return err
			}
			if f.sort != "" && f.sort != "value" {
				return usagef("--sort takes value, not %s", f.sort)
			}
			return withMap(args[0], func(m *bpfmap.Map) error { return f.dump(cmd.Context(), m) })
		},
	}
	p := cmd.Flags()
	p.SortFlags = false
	p.StringVarP(&f.format, "output", "o", "table", "table, json (one object a line) or csv")
	p.IntVarP(&f.rows, "rows", "n", 0, "entries to show (0: all)")
	p.BoolVar(&f.split, "split", false, "show per-CPU values by CPU, not summed")
	p.StringVar(&f.sort, "sort", "", "value: the greatest first, by the first number of the value")
	return cmd
}

func (f *mapFlags) dump(ctx context.Context, m *bpfmap.Map) error {
	out := newMapWriter()
	view := programs.NewMapDump(out, f.options(m))
	shown, hidden := 0, 0
	each := func(e *bpfmap.Entry) error {
		if f.rows > 0 && shown == f.rows {
			hidden++
			return bpfmap.ErrStop
		}
		shown++
		return view.Add(e)
	}
	var report bpfmap.Report
	var err error
	if f.sort == "" {
		report, err = m.Dump(ctx, each)
	} else if report, err = m.DumpSorted(ctx, f.rows, each); err == nil {
		hidden = report.Entries - shown
	}
	if err := errors.Join(err, view.Close(), out.Flush()); err != nil {
		return err
	}
	f.tell(report, shown, hidden)
	return nil
}

// tell says what a dump does not show.
func (f *mapFlags) tell(report bpfmap.Report, shown, hidden int) {
	switch {
	case hidden > 0 && f.sort != "":
		fmt.Fprintf(os.Stderr, "netfate: note: %d of %d entries are shown\n", shown, report.Entries)
	case hidden > 0:
		fmt.Fprintf(os.Stderr, "netfate: note: the first %d entries are shown, there are more\n", shown)
	case shown == 0 && f.format == "table":
		fmt.Fprintln(os.Stderr, "netfate: note: the map is empty")
	}
	if report.Changed {
		fmt.Fprintln(os.Stderr, "netfate: note:", programs.ChangedNote)
	}
	if report.Note != "" {
		fmt.Fprintln(os.Stderr, "netfate: note:", report.Note)
	}
}

func (f *mapFlags) options(m *bpfmap.Map) programs.MapOptions {
	return programs.MapOptions{Format: f.format, Split: f.split, Mixed: m.Global(), Width: mapWidth()}
}

func newMapGet() *cobra.Command {
	var f mapFlags
	cmd := &cobra.Command{
		Use:   "get MAP [KEY]",
		Short: "The value of one key",
		Long: `Get shows the value of a key, written as dump shows it: a number, an address, an enum's
name, a string, 10.0.0.0/8 for tries, JSON for structs, or the name of a global
variable. Queues and stacks have no keys: get shows what is taken next. Of a bloom
filter it tells whether a value may be in it (exit code 0) or surely is not (1).`,
		Example: `  sudo netfate map get limits 10.0.0.1
  sudo netfate map get flows '{"saddr":"10.0.0.1","port":80}' -o json
  sudo netfate map get minimal.bss my_pid`,
		Args: mapArgs(1, 2, "a map and a key"),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := f.check("table", "json", "csv"); err != nil {
				return err
			}
			return withMap(args[0], func(m *bpfmap.Map) error { return f.get(m, args) })
		},
	}
	p := cmd.Flags()
	p.SortFlags = false
	p.StringVarP(&f.format, "output", "o", "table", "table, json or csv")
	p.BoolVar(&f.split, "split", false, "show per-CPU values by CPU, not summed")
	return cmd
}

func (f *mapFlags) get(m *bpfmap.Map, args []string) error {
	if len(args) == 1 && !m.Keyless() {
		return usagef("name the key: netfate map get %s KEY", args[0])
	}
	e, err := m.Get(strings.Join(args[1:], ""))
	if err != nil {
		return err
	}
	view := programs.NewMapDump(os.Stdout, f.options(m))
	return errors.Join(view.Add(e), view.Close())
}

func newMapSet() *cobra.Command {
	var f mapFlags
	cmd := &cobra.Command{
		Use:   "set MAP [KEY] VALUE",
		Short: "Set the value of one key, or a global variable",
		Long: `Set writes the value of a key and makes the entry if it is not there. Key and value are
written as dump shows them. The value of a per-CPU map is what the sum is to be; with
--split it is the value of every CPU. Values of maps that hold maps or programs are
named by id or path. Queues, stacks and bloom filters have no keys: the value is added.`,
		Example: `  sudo netfate map set limits 10.0.0.1 5000
  sudo netfate map set routes 10.0.0.0/8 7
  sudo netfate map set flows '{"saddr":"10.0.0.1","port":80}' '{"packets":0,"bytes":0}'
  sudo netfate map set minimal.bss my_pid 4711`,
		Args: mapArgs(2, 3, "a map, a key and a value"),
		RunE: func(_ *cobra.Command, args []string) error {
			return withMap(args[0], func(m *bpfmap.Map) error {
				switch {
				case m.Keyless() && len(args) == 3:
					return usagef("%s has no keys: netfate map set %[1]s VALUE", args[0])
				case m.Keyless():
					return m.Set("", args[1], f.split)
				case len(args) == 2:
					return usagef("name key and value: netfate map set %s KEY VALUE", args[0])
				}
				return m.Set(args[1], args[2], f.split)
			})
		},
	}
	cmd.Flags().BoolVar(&f.split, "split", false, "of a per-CPU map: set the value of every CPU, not the sum")
	return cmd
}

func newMapDelete() *cobra.Command {
	return &cobra.Command{
		Use:     "delete MAP KEY",
		Short:   "Remove one key",
		Example: `  sudo netfate map delete limits 10.0.0.1`,
		Args:    mapArgs(2, 2, "a map and a key"),
		RunE: func(_ *cobra.Command, args []string) error {
			return withMap(args[0], func(m *bpfmap.Map) error { return m.Delete(args[1]) })
		},
	}
}

func newMapWatch() *cobra.Command {
	var f mapFlags
	var by string
	var duration time.Duration
	cmd := &cobra.Command{
		Use:   "watch MAP",
		Short: "The keys of a map that change most, with their rates",
		Long: `Watch reads a map again and again and shows each key with its value and how much that
changes a second, the fastest first: redrawn in place on a terminal, as blocks
elsewhere, or as JSON, whose first rows come after one interval. A key that is new
counts from 0.`,
		Example: `  sudo netfate map watch url_map
  sudo netfate map watch cpu_stats --split --every 500ms
  sudo netfate map watch flows --sort bytes -n 5
  sudo netfate map watch flows -o json | jq 'select(.rate.packets > 100)'`,
		Args: mapArgs(1, 1, "the path, name or id of a map"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check("table", "json"); err != nil {
				return err
			}
			if f.every < minEvery {
				return usagef("--every %v is too short: %v is the shortest", f.every, minEvery)
			}
			if duration < 0 {
				return usagef("--duration %v is negative", duration)
			}
			ctx := cmd.Context()
			if duration > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, duration)
				defer cancel()
			}
			return withMap(args[0], func(m *bpfmap.Map) error {
				return f.watch(ctx, m, args[0], bpfmap.WatchOptions{Top: f.rows, Split: f.split, By: by})
			})
		},
	}
	p := cmd.Flags()
	p.SortFlags = false
	p.StringVarP(&f.format, "output", "o", "table", "table or json (one object a line)")
	p.DurationVar(&f.every, "every", time.Second, "time between two readings")
	p.DurationVarP(&duration, "duration", "d", 0, "stop after this long, for example 30s (0: until Ctrl-C)")
	p.IntVarP(&f.rows, "rows", "n", 10, "keys to show (0: all)")
	p.BoolVar(&f.split, "split", false, "show per-CPU values by CPU, not summed")
	p.StringVar(&by, "sort", "", "the number to sort by, if values have several (default: the first)")
	return cmd
}
