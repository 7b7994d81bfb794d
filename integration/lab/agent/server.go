package agent

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// outputGrace is how long the output of a process that has ended is awaited
// while a descendant of it still holds the pipe.
const outputGrace = 2 * time.Second

// Serve accepts connections of l and serves each until l is closed.
func Serve(l net.Listener) error {
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		nc, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		conns.Go(func() { _ = ServeConn(nc) })
	}
}

// ServeConn runs what the client at the other end of rwc asks for, until the
// client hangs up or breaks the protocol. It kills what still runs, closes rwc
// and returns nil if the client hung up.
func ServeConn(rwc io.ReadWriteCloser) error {
	c := &conn{sender: sender{w: rwc}, processes: make(map[uint64]*os.Process)}
	defer c.end(rwc)
	ready := true
	if err := c.send(message{Ready: &ready}); err != nil {
		return err
	}
	for r := newReader(rwc); ; {
		m, err := readMessage(r)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch {
		case m.Start != nil:
			c.run(m.ID, *m.Start)
		case m.Signal != nil:
			c.signal(m.ID, *m.Signal)
		}
	}
}

// conn is one client.
type conn struct {
	sender

	running sync.WaitGroup

	mu        sync.Mutex // guards what follows
	processes map[uint64]*os.Process
}

// run starts a command; its output and its end are reported as they come.
func (c *conn) run(id uint64, what Command) {
	cmd := exec.Command(what.Argv[0], what.Argv[1:]...)
	cmd.Env = append(os.Environ(), what.Env...)
	cmd.Dir = what.Dir
	cmd.Stdout = &stream{c: c, id: id, name: "stdout"}
	cmd.Stderr = &stream{c: c, id: id, name: "stderr"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = outputGrace
	if err := c.start(id, cmd); err != nil {
		_ = c.send(message{ID: id, Exit: &Exit{Code: -1, Err: err.Error()}}) // the next read says that the client is gone
		return
	}
	c.running.Go(func() {
		_ = cmd.Wait() // the state says it
		exit := exitOf(cmd.ProcessState)
		c.forget(id)
		_ = c.send(message{ID: id, Exit: &exit}) // the client may be gone
	})
}

func (c *conn) start(id uint64, cmd *exec.Cmd) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.processes[id] != nil {
		return errors.New("a process of this number runs")
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	c.processes[id] = cmd.Process
	return nil
}

func (c *conn) forget(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.processes, id)
}

func (c *conn) signal(id uint64, s syscall.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.processes[id]; p != nil {
		_ = p.Signal(s) // it may have ended
	}
}

// end kills what runs, and waits for it.
func (c *conn) end(rwc io.Closer) {
	c.mu.Lock()
	for _, p := range c.processes {
		_ = syscall.Kill(-p.Pid, syscall.SIGKILL) // the whole group; it may have ended
	}
	c.mu.Unlock()
	_ = rwc.Close()
	c.running.Wait()
}

func exitOf(s *os.ProcessState) Exit {
	if status, ok := s.Sys().(syscall.WaitStatus); ok && status.Signal() > 0 {
		return Exit{Code: -1, Signal: status.Signal()}
	}
	return Exit{Code: s.ExitCode()}
}

// stream sends what a process writes.
type stream struct {
	c    *conn
	id   uint64
	name string
}

func (s *stream) Write(p []byte) (int, error) {
	for sent := 0; sent < len(p); {
		n := min(len(p)-sent, maxData)
		if err := s.c.send(message{ID: s.id, Stream: s.name, Data: p[sent : sent+n]}); err != nil {
			return sent, err
		}
		sent += n
	}
	return len(p), nil
}
