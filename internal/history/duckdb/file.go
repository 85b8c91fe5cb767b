//go:build cgo && (amd64 || arm64)

package duckdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	duck "github.com/duckdb/duckdb-go/v2"
)

// file is an open database: on disk, or in memory while nothing can be written.
// One goroutine writes, others may read.
type file struct {
	cfg    Config
	path   string // empty for memory
	db     *sql.DB
	writer *sql.Conn
	closed atomic.Bool
	kinds  []*kind
	order  map[string][]int // by table, for each of its columns after the time the place in kind.columns, -1 for unknown ones
	marks  marks
	spans  []spans // by kind
	newest int64   // the newest minute, in seconds
	seq    int64   // of the last write
}

// spans are what the tables of a kind have, so that those are not asked which
// cannot have anything.
type spans [Resolutions]span

// span is the times of the oldest and the newest row of a table, in seconds; of an empty
// one, newest is older than oldest.
type span struct{ oldest, newest int64 }

func (s *span) add(o span) { s.oldest, s.newest = min(s.oldest, o.oldest), max(s.newest, o.newest) }

// stepOf is the span as rows of so many seconds have it.
func (s span) stepOf(step int64) span {
	return span{s.oldest - s.oldest%step, s.newest - s.newest%step}
}

func noSpan() span { return span{forever, -1} }

// errOther says that a file has tables that are not these.
var errOther = errors.New("it is of another version")

const (
	// blockSize is that of new files, in bytes. Each column of a table that was written to has
	// a block in memory until the next checkpoint, however few its rows are; DuckDB's own
	// size of 256 KiB makes 10 MB of a table.
	blockSize = 64 << 10
	// restShare is the share of the memory, in parts, that rows may take which are in the
	// log and not in the file yet.
	restShare = 6
)

// openFile opens the database at path, "" for memory, and makes what tables and
// columns are missing.
func openFile(cfg *Config, path string, kinds []*kind) (_ *file, err error) {
	dsn := path
	if path == "" {
		dsn = ":memory:"
	}
	mode := "read_write"
	if cfg.ReadOnly {
		mode = "read_only"
	}
	dsn += fmt.Sprintf("?access_mode=%s&memory_limit=%dMiB&threads=%d&default_block_size=%d&autoinstall_known_extensions=false&autoload_known_extensions=false",
		mode, max(cfg.Memory>>20, 16), cfg.Threads, blockSize)
	if path == "" {
		dsn = strings.Replace(dsn, "?access_mode=read_write&", "?", 1)
	}
	c, err := duck.NewConnector(dsn, nil)
	if err != nil {
		return nil, err
	}
	f := &file{cfg: *cfg, path: path, db: sql.OpenDB(c), kinds: kinds, order: map[string][]int{}, marks: newMarks()}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close())
		}
	}()
	ctx := context.Background()
	if f.writer, err = f.db.Conn(ctx); err != nil {
		return nil, err
	}
	// Nothing but the file itself can be reached, not even to spill: a question that
	// does not fit into memory is refused. What one has taken is given back soon.
	for _, s := range []string{
		"SET GLOBAL allocator_background_threads = true", "SET GLOBAL allocator_flush_threshold = '16MiB'",
		"SET GLOBAL allocator_bulk_deallocation_flush_threshold = '16MiB'",
		"SET GLOBAL TimeZone = 'UTC'", "SET GLOBAL temp_directory = ''", "SET GLOBAL enable_external_access = false", "SET GLOBAL lock_configuration = true",
	} {
		if _, err := f.writer.ExecContext(ctx, s); err != nil {
			return nil, err
		}
	}
	if !cfg.ReadOnly {
		if err := f.transact(ctx, f.prepare); err != nil {
			return nil, err
		}
	}
	return f, f.look(ctx)
}

// conn is a connection for a reader.
func (f *file) conn(ctx context.Context) (*sql.Conn, error) {
	conn, err := f.db.Conn(ctx)
	if err != nil && f.closed.Load() {
		return nil, errReopened
	}
	return conn, err
}

func (f *file) close() error {
	f.closed.Store(true)
	var errs []error
	if f.writer != nil {
		errs = append(errs, f.writer.Close())
	}
	return errors.Join(append(errs, f.db.Close())...)
}

// transact does something that is done whole or not at all.
func (f *file) transact(ctx context.Context, do func(context.Context) error) error {
	if _, err := f.writer.ExecContext(ctx, "BEGIN TRANSACTION"); err != nil {
		return err
	}
	if err := do(ctx); err != nil {
		_, back := f.writer.ExecContext(ctx, "ROLLBACK")
		return errors.Join(err, back)
	}
	_, err := f.writer.ExecContext(ctx, "COMMIT")
	return err
}

// prepare makes the tables, or adds the columns that are new.
func (f *file) prepare(ctx context.Context) error {
	if _, err := f.writer.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS netfate (name VARCHAR, value BIGINT)"); err != nil {
		return err
	}
	version, ok, err := f.value(ctx, "version")
	switch {
	case err != nil:
		return err
	case !ok:
		if err := f.makeValues(ctx); err != nil {
			return err
		}
	case version != schemaVersion:
		return fmt.Errorf("%w: its tables are version %d and this netfate has %d", errOther, version, schemaVersion)
	}
	changed, err := f.makeTables(ctx)
	if err != nil {
		return err
	}
	if err := f.readMarks(ctx); err != nil || !changed {
		return err
	}
	return f.makeViews(ctx)
}

// makeTables makes what tables and columns are missing, and says whether there were
// any.
func (f *file) makeTables(ctx context.Context) (changed bool, err error) {
	have, err := f.columns(ctx)
	if err != nil {
		return false, err
	}
	for _, k := range f.kinds {
		for _, r := range resolutions() {
			if have[k.table(r)] != nil {
				continue
			}
			if _, err := f.writer.ExecContext(ctx, k.create(r)); err != nil {
				return false, err
			}
			changed = true
		}
	}
	if changed {
		if have, err = f.columns(ctx); err != nil {
			return false, err
		}
	}
	for _, k := range f.kinds {
		for _, r := range resolutions() {
			added, err := f.addColumns(ctx, k, r, have[k.table(r)])
			if err != nil {
				return false, err
			}
			changed = changed || added
		}
	}
	return changed, nil
}

// makeValues writes what a new file says of itself.
func (f *file) makeValues(ctx context.Context) error {
	values := map[string]int64{"version": schemaVersion, "written": 0}
	for i, r := range resolutions() {
		values["since_"+r.name] = 0
		if i > 0 {
			values["until_"+r.name] = 0
		}
	}
	for name, value := range values {
		if _, err := f.writer.ExecContext(ctx, "INSERT INTO netfate VALUES (?, ?)", name, value); err != nil {
			return err
		}
	}
	return nil
}

func (f *file) value(ctx context.Context, name string) (value int64, ok bool, err error) {
	err = f.writer.QueryRowContext(ctx, "SELECT value FROM netfate WHERE name = ?", name).Scan(&value)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, false, nil
	}
	return value, err == nil, err
}

func (f *file) setValue(ctx context.Context, name string, value int64) error {
	_, err := f.writer.ExecContext(ctx, "UPDATE netfate SET value = ? WHERE name = ?", value, name)
	return err
}

// stored is a column that a table has.
type stored struct{ name, typ string }

// columns are the columns of all tables, in their order.
func (f *file) columns(ctx context.Context) (map[string][]stored, error) {
	rows, err := f.writer.QueryContext(ctx, "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE NOT internal ORDER BY table_name, column_index")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := map[string][]stored{}
	for rows.Next() {
		var table string
		var c stored
		if err := rows.Scan(&table, &c.name, &c.typ); err != nil {
			return nil, err
		}
		all[table] = append(all[table], c)
	}
	return all, rows.Err()
}

// addColumns adds to a table what it has not yet.
func (f *file) addColumns(ctx context.Context, k *kind, r resolution, have []stored) (added bool, err error) {
	var names []string
	types := map[string]string{}
	for _, c := range have {
		names, types[c.name] = append(names, c.name), c.typ
	}
	for i := range k.columns {
		c := &k.columns[i]
		switch typ, ok := types[c.name]; {
		case !ok:
			if _, err := f.writer.ExecContext(ctx, fmt.Sprintf("ALTER TABLE %s ADD COLUMN %s %s", k.table(r), quoted(c.name), c.sql())); err != nil {
				return false, err
			}
			names, added = append(names, c.name), true
		case typ != c.sql():
			return false, fmt.Errorf("%w: %s.%s is %s and should be %s", errOther, k.table(r), c.name, typ, c.sql())
		}
	}
	if len(names) == 0 || names[0] != "time" {
		return false, fmt.Errorf("%w: %s does not begin with the time", errOther, k.table(r))
	}
	order := make([]int, 0, len(names)-1)
	for _, name := range names[1:] {
		at := -1
		for i := range k.columns {
			if k.columns[i].name == name {
				at = i
			}
		}
		order = append(order, at)
	}
	f.order[k.table(r)] = order
	return added, nil
}

func (f *file) readMarks(ctx context.Context) error {
	m, err := readMarks(ctx, f.writer)
	f.marks = m
	return err
}

// readMarks reads how far the tables reach, as the connection's transaction sees it.
func readMarks(ctx context.Context, conn *sql.Conn) (marks, error) {
	m := newMarks()
	rows, err := conn.QueryContext(ctx, "SELECT name, value FROM netfate")
	if err != nil {
		return m, err
	}
	defer rows.Close()
	values := map[string]int64{}
	for rows.Next() {
		var name string
		var value int64
		if err := rows.Scan(&name, &value); err != nil {
			return m, err
		}
		values[name] = value
	}
	for i, r := range resolutions() {
		m.since[i] = values["since_"+r.name]
		if i > 0 {
			m.until[i] = values["until_"+r.name]
		}
	}
	return m, rows.Err()
}

func (f *file) makeViews(ctx context.Context) error {
	for _, k := range f.kinds {
		if _, err := f.writer.ExecContext(ctx, k.view(&f.marks)); err != nil {
			return err
		}
	}
	return nil
}

// look reads a file that was opened as far as tells whether it can be read.
func (f *file) look(ctx context.Context) (err error) {
	version, ok, err := f.value(ctx, "version")
	if err == nil && (!ok || version != schemaVersion) {
		err = fmt.Errorf("%w: its tables are version %d and this netfate has %d", errOther, version, schemaVersion)
	}
	if err != nil {
		return err
	}
	if f.seq, _, err = f.value(ctx, "written"); err != nil {
		return err
	}
	if err := f.readMarks(ctx); err != nil {
		return err
	}
	f.spans = make([]spans, len(f.kinds))
	for i, k := range f.kinds {
		for j, r := range resolutions() {
			f.spans[i][j] = noSpan()
			var oldest, newest sql.NullTime
			if err := f.writer.QueryRowContext(ctx, "SELECT min(time), max(time) FROM "+k.table(r)).Scan(&oldest, &newest); err != nil {
				return fmt.Errorf("read %s: %w", k.table(r), err)
			}
			if newest.Valid {
				f.spans[i][j] = span{oldest.Time.Unix(), newest.Time.Unix()}
				f.newest = max(f.newest, newest.Time.Unix())
			}
		}
	}
	return nil
}

func (f *file) write(ctx context.Context, m *minutes, seq int64) error {
	if seq <= f.seq {
		return nil
	}
	w, err := f.begin(ctx)
	if err != nil {
		return err
	}
	for i := range f.kinds {
		if err := w.take(i, &m.tables[i]); err != nil {
			return errors.Join(err, w.abort(ctx))
		}
	}
	return w.commit(ctx, m.new, seq)
}

func (f *file) written() int64 { return f.seq }

func (f *file) gone() <-chan struct{} { return nil }

func (f *file) why() error { return nil }

// takeOver implements base.
func (f *file) takeOver(ctx context.Context, from base) error {
	other, ok := from.(*file)
	if !ok {
		return errEnded
	}
	kept, err := other.minutes(ctx)
	if err != nil {
		return err
	}
	// Numbers of writes go on from those of the file.
	return f.write(ctx, kept, f.seq+1)
}

// writing is a write that goes on: a transaction.
type writing struct {
	file *file
	have []spans
}

func (f *file) begin(ctx context.Context) (*writing, error) {
	if _, err := f.writer.ExecContext(ctx, "BEGIN TRANSACTION"); err != nil {
		return nil, err
	}
	return &writing{file: f, have: slices.Clone(f.spans)}, nil
}

// take stores rows of a kind.
func (w *writing) take(kind int, p *pending) error {
	k := w.file.kinds[kind]
	for j, r := range resolutions() {
		some, err := w.file.append(k, j, r, p)
		if err != nil {
			return fmt.Errorf("write %s: %w", k.table(r), err)
		}
		w.have[kind][j].add(some)
	}
	return nil
}

func (w *writing) abort(ctx context.Context) error {
	_, err := w.file.writer.ExecContext(ctx, "ROLLBACK")
	return err
}

// commit rolls up what is complete, newest being the newest minute of the rows, and ends
// the write, of that number.
func (w *writing) commit(ctx context.Context, newest, seq int64) error {
	f, marks := w.file, w.file.marks
	newest = max(f.newest, newest)
	err := f.rollUp(ctx, &marks, w.have, newest)
	if err == nil {
		err = f.setValue(ctx, "written", seq)
	}
	if err != nil {
		return errors.Join(err, w.abort(ctx))
	}
	if _, err := f.writer.ExecContext(ctx, "COMMIT"); err != nil {
		return err
	}
	f.marks, f.spans, f.newest, f.seq = marks, w.have, newest, seq
	// The rows are durable. What is wrong with the file the next write finds, too.
	_ = f.relieve(ctx)
	return nil
}

// relieve moves rows into the file that take much memory until then.
func (f *file) relieve(ctx context.Context) error {
	if f.path == "" {
		return nil
	}
	taken, err := f.inMemory(ctx)
	if err != nil || taken < f.cfg.Memory/restShare {
		return err
	}
	return f.checkpoint(ctx)
}

// inMemory is how many bytes rows take that are not in the file.
func (f *file) inMemory(ctx context.Context) (n int64, err error) {
	err = f.writer.QueryRowContext(ctx, "SELECT coalesce(sum(memory_usage_bytes), 0)::BIGINT FROM duckdb_memory() WHERE tag = 'IN_MEMORY_TABLE'").Scan(&n)
	return n, err
}

// rollUp adds up what is complete: all steps that ended before the newest minute.
// What comes later all the same is added by append.
func (f *file) rollUp(ctx context.Context, m *marks, have []spans, newest int64) error {
	all := resolutions()
	for i := 1; i < len(all); i++ {
		from, to := all[i-1], all[i]
		since, until := m.until[i], newest-newest%to.step
		if until <= since {
			continue
		}
		for j, k := range f.kinds {
			finer := have[j][i-1]
			if finer.newest < since || finer.oldest >= until {
				continue
			}
			if _, err := f.writer.ExecContext(ctx, k.rollUp(from, to, since, until)); err != nil {
				return fmt.Errorf("roll %s up: %w", k.table(from), err)
			}
			have[j][i].add(span{max(finer.oldest, since), min(finer.newest, until-1)}.stepOf(to.step))
		}
		if err := f.setValue(ctx, "until_"+to.name, until); err != nil {
			return err
		}
		m.until[i] = until
	}
	return nil
}

// size is how many bytes the file takes, and how many of these are in use.
func (f *file) size(ctx context.Context) (bytes, used int64, err error) {
	var block, blocks int64
	if err := f.writer.QueryRowContext(ctx, "SELECT block_size, used_blocks FROM pragma_database_size()").Scan(&block, &blocks); err != nil {
		return 0, 0, err
	}
	used = block * blocks
	for _, name := range []string{f.path, f.path + ".wal"} {
		if f.path == "" {
			break
		}
		info, err := os.Stat(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, 0, err
		}
		bytes += info.Size()
		if name != f.path {
			used += info.Size()
		}
	}
	return bytes, used, nil
}

// count is how many rows there are of one resolution, of all kinds.
func (f *file) count(ctx context.Context, r resolution) (n int64, err error) {
	for _, k := range f.kinds {
		var some int64
		if err := f.writer.QueryRowContext(ctx, "SELECT count(*) FROM "+k.table(r)).Scan(&some); err != nil {
			return 0, err
		}
		n += some
	}
	return n, nil
}

func (f *file) countMinutes(ctx context.Context) (int64, error) {
	return f.count(ctx, resolutions()[0])
}

// giveUp deletes the rows of a resolution that are older than a time, in seconds, and
// says how many there were.
func (f *file) giveUp(ctx context.Context, i int, before int64) (n int64, err error) {
	r := resolutions()[i]
	marks, have := f.marks, slices.Clone(f.spans)
	marks.since[i] = before
	err = f.transact(ctx, func(ctx context.Context) error {
		for j, k := range f.kinds {
			if _, err := f.writer.ExecContext(ctx, k.view(&marks)); err != nil {
				return err
			}
			if have[j][i].oldest >= before {
				continue
			}
			res, err := f.writer.ExecContext(ctx, "DELETE FROM "+k.table(r)+" WHERE time < "+timestamp(before))
			if err != nil {
				return err
			}
			some, err := res.RowsAffected()
			if err != nil {
				return err
			}
			n += some
			if have[j][i].oldest = before; have[j][i].newest < before {
				have[j][i] = noSpan()
			}
		}
		return f.setValue(ctx, "since_"+r.name, before)
	})
	if err != nil {
		return 0, err
	}
	f.marks, f.spans = marks, have
	return n, nil
}

// checkpoint moves what is in the log into the file, and frees what was deleted.
func (f *file) checkpoint(ctx context.Context) error {
	_, err := f.writer.ExecContext(ctx, "CHECKPOINT")
	return err
}
