//go:build cgo && (amd64 || arm64)

package duckdb

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/history"
)

// process is another one, which calls [Serve] and has the files open: what a statement
// takes is its memory, which the kernel bounds, and if it ends this one goes on. Calls
// may be made at the same time.
type process struct {
	cmd  *exec.Cmd
	conn net.Conn
	said head

	out sync.Mutex // held while a request is written
	enc *gob.Encoder

	mu    sync.Mutex
	calls map[uint64]chan<- *reply
	last  uint64 // the number of the last call

	ended  chan struct{}
	reason error // why it has ended, once it has
}

const (
	// patience is how long a call may go on after its time; then the process is killed.
	patience = 10 * time.Second
	// sendTime is how long it may take to write a request.
	sendTime = 30 * time.Second
)

// startProcess starts one that finds its socket as file 3, and does not outlive this one.
func startProcess(cmd *exec.Cmd) (*process, error) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make a socket: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(ends[0]), "store"), os.NewFile(uintptr(ends[1]), "daemon")
	conn, err := net.FileConn(ours)
	if err = errors.Join(err, ours.Close()); err != nil {
		return nil, errors.Join(err, theirs.Close())
	}
	p := &process{cmd: cmd, conn: conn, enc: gob.NewEncoder(conn), calls: map[uint64]chan<- *reply{}, ended: make(chan struct{})}
	cmd.ExtraFiles, cmd.Stderr = []*os.File{theirs}, &p.said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	started := make(chan error)
	go p.run(started)
	if err := errors.Join(<-started, theirs.Close()); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return p, nil
}

// run starts the process and hands out its replies until it ends.
func (p *process) run(started chan<- error) {
	// The kernel sends Pdeathsig when the thread ends that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	register()
	dec := gob.NewDecoder(p.conn)
	for {
		r := &reply{}
		if dec.Decode(r) != nil {
			break
		}
		p.mu.Lock()
		to := p.calls[r.ID]
		p.mu.Unlock()
		if to != nil {
			to <- r // there is room for one
		}
	}
	p.kill()
	_ = p.cmd.Wait() // how it ended is in its state
	_ = p.conn.Close()
	p.reason = fmt.Errorf("%w (%v%s)", errEnded, p.cmd.ProcessState, p.said.text())
	close(p.ended)
}

func (p *process) kill() { _ = p.cmd.Process.Kill() } // it may have ended

func (p *process) over() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// stop ends the process once its files are closed.
func (p *process) stop() {
	p.kill()
	<-p.ended
}

// call has the process do something. If ctx is done it is told so, and the answer is what
// it says then.
func (p *process) call(ctx context.Context, r *request) (*reply, error) {
	if at, ok := ctx.Deadline(); ok {
		r.Left = max(time.Until(at), 1)
	}
	answer := make(chan *reply, 1)
	p.mu.Lock()
	p.last++
	r.ID = p.last
	p.calls[r.ID] = answer
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.calls, r.ID)
		p.mu.Unlock()
	}()
	p.send(r)
	done := ctx.Done()
	var late <-chan time.Time
	for {
		select {
		case a := <-answer:
			return a, a.err()
		case <-p.ended:
			return nil, p.reason
		case <-done:
			done = nil
			if !errors.Is(ctx.Err(), context.DeadlineExceeded) { // of that it knows
				p.send(&request{ID: r.ID, Op: cancelCall})
			}
			t := time.NewTimer(patience)
			defer t.Stop()
			late = t.C
		case <-late:
			p.kill()
		}
	}
}

// send writes a request. A process that takes none is of no use.
func (p *process) send(r *request) {
	p.out.Lock()
	defer p.out.Unlock()
	if p.conn.SetWriteDeadline(time.Now().Add(sendTime)) != nil || p.enc.Encode(r) != nil {
		p.kill()
	}
}

// open has the process open a database.
func (p *process) open(cfg *Config, path string) (base, error) {
	a, err := p.call(context.Background(), &request{Op: openFileCall, Config: cfg, Path: path})
	if err != nil {
		return nil, err
	}
	return &apart{process: p, file: a.File, seq: a.Seq}, nil
}

// head keeps the first words that a process says to standard error.
type head struct {
	mu   sync.Mutex
	said bytes.Buffer
}

// maxSaid is how many bytes are kept.
const maxSaid = 256

func (h *head) Write(text []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.said.Write(text[:min(len(text), maxSaid-h.said.Len())])
	return len(text), nil
}

// text is its first line, with a colon.
func (h *head) text() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	line, _, _ := strings.Cut(strings.TrimSpace(h.said.String()), "\n")
	if line == "" {
		return ""
	}
	return ": " + line
}

// apart is a database that the process has open.
type apart struct {
	process *process
	file    int
	seq     int64
}

func (a *apart) gone() <-chan struct{} { return a.process.ended }

func (a *apart) why() error { return a.process.reason }

func (a *apart) call(ctx context.Context, r *request) (*reply, error) {
	r.File = a.file
	return a.process.call(ctx, r)
}

func (a *apart) rows(ctx context.Context, q history.Question) (t history.Table, err error) {
	r, err := a.call(ctx, &request{Op: rowsCall, Question: q})
	if err != nil {
		return t, err
	}
	return r.Table, nil
}

func (a *apart) groups(ctx context.Context, q history.Question) (t history.Table, err error) {
	r, err := a.call(ctx, &request{Op: groupsCall, Question: q})
	if err != nil {
		return t, err
	}
	return r.Table, nil
}

func (a *apart) series(ctx context.Context, q history.Question) (s history.Series, err error) {
	r, err := a.call(ctx, &request{Op: seriesCall, Question: q})
	if err != nil {
		return s, err
	}
	for i := range r.Series.Lines {
		r.Series.Lines[i].Key = there(r.Series.Lines[i].Key)
	}
	return r.Series, nil
}

func (a *apart) durations(ctx context.Context, q history.Question) (d history.Durations, err error) {
	r, err := a.call(ctx, &request{Op: durationsCall, Question: q})
	if err != nil {
		return d, err
	}
	for i := range r.Durations.Lines {
		l := &r.Durations.Lines[i]
		l.Key = there(l.Key)
		for j := range l.Counts {
			if len(l.Counts[j]) == 0 {
				l.Counts[j] = nil
			}
		}
	}
	return r.Durations, nil
}

// there is a key as it was: what is sent does not tell an empty list from none.
func there(key []string) []string {
	if key == nil {
		return []string{}
	}
	return key
}

func (a *apart) sql(ctx context.Context, statement string, rows int) (t history.Table, err error) {
	r, err := a.call(ctx, &request{Op: sqlCall, Statement: statement, Rows: rows})
	if err != nil {
		return t, err
	}
	return r.Table, nil
}

func (a *apart) status(ctx context.Context, st *history.Status) error {
	r, err := a.call(ctx, &request{Op: statusCall})
	if err != nil {
		return err
	}
	st.Engine, st.Bytes, st.Oldest, st.Kinds = r.Status.Engine, r.Status.Bytes, r.Status.Oldest, r.Status.Kinds
	return nil
}

// partRows is how many rows of a write are sent at once, so that neither process has all
// of them in a message too.
const partRows = 1 << 14

func (a *apart) write(ctx context.Context, m *minutes, seq int64) (err error) {
	if seq <= a.seq {
		return nil
	}
	if _, err := a.call(ctx, &request{Op: beginCall}); err != nil {
		return err
	}
	for kind := range m.tables {
		for p := range m.tables[kind].parts(partRows) {
			if _, err := a.call(ctx, &request{Op: takeCall, Kind: kind, Part: p}); err != nil {
				_, back := a.call(ctx, &request{Op: abortCall})
				return errors.Join(err, back)
			}
		}
	}
	if _, err := a.call(ctx, &request{Op: commitCall, Newest: m.new, Seq: seq}); err != nil {
		return err
	}
	a.seq = seq
	return nil
}

func (a *apart) written() int64 { return a.seq }

func (a *apart) keep(ctx context.Context, now time.Time) (aged, crowded int64, err error) {
	r, err := a.call(ctx, &request{Op: keepCall, Now: now})
	if r == nil {
		return 0, 0, err
	}
	return r.Aged, r.Crowded, err
}

func (a *apart) full(ctx context.Context) (bool, error) {
	r, err := a.call(ctx, &request{Op: fullCall})
	return err == nil && r.Full, err
}

func (a *apart) countMinutes(ctx context.Context) (int64, error) {
	r, err := a.call(ctx, &request{Op: countCall})
	if err != nil {
		return 0, err
	}
	return r.Rows, nil
}

func (a *apart) takeOver(ctx context.Context, from base) error {
	other, ok := from.(*apart)
	if !ok || other.process != a.process {
		return errEnded
	}
	r, err := a.call(ctx, &request{Op: takeOverCall, From: other.file})
	if err != nil {
		return err
	}
	a.seq = r.Seq
	return nil
}

func (a *apart) checkpoint(ctx context.Context) error {
	_, err := a.call(ctx, &request{Op: checkpointCall})
	return err
}

// close closes the database; one whose process has ended is closed.
func (a *apart) close() error {
	_, err := a.call(context.Background(), &request{Op: closeCall})
	if errors.Is(err, errEnded) {
		return nil
	}
	return err
}
