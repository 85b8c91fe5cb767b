//go:build cgo && (amd64 || arm64)

package duckdb

import (
	"context"
	"encoding/gob"
	"errors"
	"io"
	"io/fs"
	"iter"
	"net/netip"
	"sync"
	"time"

	"github.com/netfate/netfate/internal/history"
)

// What a process is asked to do with a file.
const (
	cancelCall = iota // the call with this number need not go on
	openFileCall
	rowsCall
	groupsCall
	seriesCall
	durationsCall
	sqlCall
	statusCall
	beginCall
	takeCall
	commitCall
	abortCall
	keepCall
	fullCall
	countCall
	takeOverCall
	checkpointCall
	closeCall
)

// request asks for one of them; the fields behind Left are arguments of some.
type request struct {
	ID   uint64
	Op   int
	File int
	Left time.Duration // until its time is up; 0 is for ever

	Config    *Config
	Path      string
	Question  history.Question
	Statement string
	Rows      int
	Kind      int
	Part      *part
	Newest    int64
	Seq       int64
	From      int
	Now       time.Time
}

// reply is the answer.
type reply struct {
	ID    uint64
	Fault string // the error, if there is one
	Of    uint   // which of [meanings] it wraps, a bit each

	File          int
	Seq           int64
	Table         history.Table
	Series        history.Series
	Durations     history.Durations
	Status        history.Status
	Aged, Crowded int64
	Rows          int64
	Full          bool
}

// meanings are the errors that callers tell apart.
func meanings() []error {
	return []error{history.ErrQuestion, history.ErrLimit, errOther, errResident, errReopened, fs.ErrPermission, context.Canceled, context.DeadlineExceeded}
}

// fault is an error of another process.
type fault struct {
	text string
	of   []error
}

func (f *fault) Error() string   { return f.text }
func (f *fault) Unwrap() []error { return f.of }

func (r *reply) err() error {
	if r.Fault == "" {
		return nil
	}
	f := &fault{text: r.Fault}
	for i, m := range meanings() {
		if r.Of>>i&1 == 1 {
			f.of = append(f.of, m)
		}
	}
	return f
}

func (r *reply) fail(err error) {
	if err == nil {
		return
	}
	r.Fault = err.Error()
	for i, m := range meanings() {
		if errors.Is(err, m) {
			r.Of |= 1 << i
		}
	}
}

// part is some rows of a kind, as [pending] has them.
type part struct {
	Minute []int64
	Cells  []partCells
}

type partCells struct {
	Texts   []string
	Addrs   []netip.Addr
	Numbers []uint64
	Known   []bool
}

// parts are the rows, so many at a time; they share its memory.
func (p *pending) parts(rows int) iter.Seq[*part] {
	return func(yield func(*part) bool) {
		for at := 0; at < len(p.minute); at += rows {
			end := min(at+rows, len(p.minute))
			some := p.slice(at, end)
			one := &part{Minute: some.minute, Cells: make([]partCells, len(some.cells))}
			for i, c := range some.cells {
				one.Cells[i] = partCells{c.texts, c.addrs, c.numbers, c.known}
			}
			if !yield(one) {
				return
			}
		}
	}
}

func (p *part) pending() *pending {
	all := &pending{minute: p.Minute, cells: make([]cells, len(p.Cells))}
	for i, c := range p.Cells {
		all.cells[i] = cells{c.Texts, c.Addrs, c.Numbers, c.Known}
	}
	return all
}

// register makes known what values of tables may be beside what gob knows.
func register() { gob.Register(time.Time{}) }

// server is what [Serve] has open.
type server struct {
	kinds []*kind

	out     sync.Mutex // held while a reply is written
	enc     *gob.Encoder
	bounded sync.Once

	mu      sync.Mutex
	files   map[int]*file
	writing map[int]*writing
	last    int // the number of the last file
	running map[uint64]context.CancelFunc
}

// Serve has files open for the process at the other end of conn, whose Config.Process
// started this one, until that closes it. Then this process has to end: nothing is closed.
// It takes no more memory than that process lets it.
func Serve(conn io.ReadWriter) error {
	register()
	s := &server{
		kinds: newKinds(), enc: gob.NewEncoder(conn), files: map[int]*file{}, writing: map[int]*writing{}, running: map[uint64]context.CancelFunc{},
	}
	thrifty()
	dec := gob.NewDecoder(conn)
	for {
		r := &request{}
		switch err := dec.Decode(r); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		s.take(r)
	}
}

// take begins to work on a request, or ends that.
func (s *server) take(r *request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Op == cancelCall {
		if cancel := s.running[r.ID]; cancel != nil {
			cancel()
		}
		return
	}
	ctx, cancel := within(r.Left)
	s.running[r.ID] = cancel
	go s.work(ctx, r)
}

// within is a context for so long, 0 for ever.
func within(left time.Duration) (context.Context, context.CancelFunc) {
	if left > 0 {
		return context.WithTimeout(context.Background(), left)
	}
	return context.WithCancel(context.Background())
}

func (s *server) work(ctx context.Context, r *request) {
	a := &reply{ID: r.ID}
	a.fail(s.answer(ctx, r, a))
	s.mu.Lock()
	s.running[r.ID]()
	delete(s.running, r.ID)
	s.mu.Unlock()
	s.out.Lock()
	defer s.out.Unlock()
	if err := s.enc.Encode(a); err != nil {
		// Nobody reads it any more, and Serve finds that out too; or it cannot be sent.
		refused := &reply{ID: r.ID}
		refused.fail(err)
		_ = s.enc.Encode(refused)
	}
}

// answer does what is asked for.
func (s *server) answer(ctx context.Context, r *request, a *reply) (err error) {
	if r.Op == openFileCall {
		return s.open(r, a)
	}
	s.mu.Lock()
	f, w, from := s.files[r.File], s.writing[r.File], s.files[r.From]
	s.mu.Unlock()
	if f == nil {
		return errReopened
	}
	switch r.Op {
	case rowsCall:
		a.Table, err = f.rows(ctx, r.Question)
	case groupsCall:
		a.Table, err = f.groups(ctx, r.Question)
	case seriesCall:
		a.Series, err = f.series(ctx, r.Question)
	case durationsCall:
		a.Durations, err = f.durations(ctx, r.Question)
	case sqlCall:
		a.Table, err = f.sql(ctx, r.Statement, r.Rows)
	case statusCall:
		err = f.status(ctx, &a.Status)
	case keepCall:
		a.Aged, a.Crowded, err = f.keep(ctx, r.Now)
	case fullCall:
		a.Full, err = f.full(ctx)
	case countCall:
		a.Rows, err = f.countMinutes(ctx)
	case takeOverCall:
		err = f.takeOver(ctx, from)
		a.Seq = f.seq
	case checkpointCall:
		err = f.checkpoint(ctx)
	case closeCall:
		s.mu.Lock()
		delete(s.files, r.File)
		s.mu.Unlock()
		err = f.close()
	default:
		err = s.write(ctx, f, w, r)
	}
	return err
}

// bound bounds memory, before the first file is open.
func (s *server) bound(data int64) (err error) {
	s.bounded.Do(func() { err = bound(data) })
	return err
}

func (s *server) open(r *request, a *reply) error {
	if err := s.bound(r.Config.Data); err != nil {
		return err
	}
	f, err := openFile(r.Config, r.Path, s.kinds)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.last++
	s.files[s.last] = f
	a.File, a.Seq = s.last, f.seq
	s.mu.Unlock()
	return nil
}

// write does one step of a write, w if that has begun.
func (s *server) write(ctx context.Context, f *file, w *writing, r *request) (err error) {
	switch {
	case r.Op == beginCall:
		w, err = f.begin(ctx)
	case w == nil:
		return errors.New("no write has begun")
	case r.Op == takeCall:
		return w.take(r.Kind, r.Part.pending())
	case r.Op == commitCall:
		w, err = nil, w.commit(ctx, r.Newest, r.Seq)
	case r.Op == abortCall:
		w, err = nil, w.abort(ctx)
	}
	s.mu.Lock()
	s.writing[r.File] = w
	s.mu.Unlock()
	return err
}
