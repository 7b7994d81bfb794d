package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
)

// ErrGone says that the connection to the agent ended before the process did.
var ErrGone = errors.New("the agent is gone")

// Client is a connection to an agent. Its methods may be called by several
// goroutines.
type Client struct {
	rwc  io.ReadWriteCloser
	done chan struct{} // the reader has ended

	sender

	mu        sync.Mutex // guards what follows
	last      uint64
	gone      error
	processes map[uint64]*Process
}

// NewClient waits until the agent at the other end of rwc is ready. The client
// owns rwc from then on. When ctx ends first, rwc is closed and the error is
// ctx's.
func NewClient(ctx context.Context, rwc io.ReadWriteCloser) (*Client, error) {
	stop := context.AfterFunc(ctx, func() { _ = rwc.Close() })
	r := newReader(rwc)
	m, err := readMessage(r)
	if !stop() {
		return nil, context.Cause(ctx)
	}
	if err == nil && m.Ready == nil {
		err = fmt.Errorf("%w: not the greeting of an agent", ErrMessage)
	}
	if err != nil {
		return nil, errors.Join(err, rwc.Close())
	}
	c := &Client{rwc: rwc, sender: sender{w: rwc}, done: make(chan struct{}), processes: make(map[uint64]*Process)}
	go c.read(r)
	return c, nil
}

// Close hangs up, which ends all that was started here.
func (c *Client) Close() error {
	err := c.rwc.Close()
	<-c.done
	return err
}

// Start starts a command. That it can't be started is said by Wait.
func (c *Client) Start(what Command) (*Process, error) {
	p := &Process{client: c, stdout: what.Stdout, stderr: what.Stderr, ended: make(chan struct{})}
	if err := c.add(p); err != nil {
		return nil, err
	}
	m := message{ID: p.id, Start: &what}
	if err := c.send(m); err != nil {
		c.end(p.id, Exit{}, err)
		return nil, err
	}
	return p, nil
}

func (c *Client) add(p *Process) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone != nil {
		return c.gone
	}
	c.last++
	p.id = c.last
	c.processes[p.id] = p
	return nil
}

// read delivers the agent's messages until the connection ends.
func (c *Client) read(r *bufio.Reader) {
	defer close(c.done)
	for {
		m, err := readMessage(r)
		if err != nil {
			c.lose(err)
			return
		}
		c.deliver(m)
	}
}

func (c *Client) deliver(m message) {
	p := c.process(m.ID)
	switch {
	case p == nil:
	case m.Exit != nil:
		c.end(m.ID, *m.Exit, nil)
	case m.Stream == "stdout":
		_, _ = p.stdout.Write(m.Data) // the process is not to suffer from it
	case m.Stream == "stderr":
		_, _ = p.stderr.Write(m.Data)
	}
}

func (c *Client) process(id uint64) *Process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.processes[id]
}

// end completes a process, once.
func (c *Client) end(id uint64, exit Exit, err error) {
	c.mu.Lock()
	p := c.processes[id]
	delete(c.processes, id)
	c.mu.Unlock()
	if p != nil {
		p.exit, p.err = exit, err
		close(p.ended)
	}
}

// lose ends all processes: the agent has killed them.
func (c *Client) lose(why error) {
	c.mu.Lock()
	c.gone = fmt.Errorf("%w: %w", ErrGone, why)
	lost := c.processes
	c.processes = nil
	c.mu.Unlock()
	for _, p := range lost {
		p.err = c.gone
		close(p.ended)
	}
}

// Process is a command that was started.
type Process struct {
	client         *Client
	id             uint64
	stdout, stderr io.Writer

	ended chan struct{}
	exit  Exit // set before ended is closed
	err   error
}

// Wait waits for the end of the process and of its output. It returns an error
// wrapping [ErrGone] if the connection ended first, or ctx's.
func (p *Process) Wait(ctx context.Context) (Exit, error) {
	select {
	case <-p.ended:
		return p.exit, p.err
	case <-ctx.Done():
		return Exit{}, context.Cause(ctx)
	}
}

// Signal sends s to the process; one that has ended ignores it.
func (p *Process) Signal(s syscall.Signal) error {
	return p.client.send(message{ID: p.id, Signal: &s})
}

// Done is closed when the process has ended, or the connection to its agent.
func (p *Process) Done() <-chan struct{} { return p.ended }
