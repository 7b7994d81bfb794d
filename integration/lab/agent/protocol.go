// Package agent runs commands in a guest of the lab on behalf of another
// machine: the host over a virtio port, a test in the other guest over TCP. It
// owns the protocol, its server and its client.
//
// A connection carries JSON messages, one a line, in both directions; each
// names the process it is about by a number that the client chose. A process
// that still runs when its connection ends is killed, with its process group.
//
// The package never decides what runs or judges an outcome.
//
// Locking: Client.mu guards its table of processes and Server's conn.mu guards
// its own; sender.writeMu keeps messages whole. Neither is held
// while a process's output is delivered.
package agent

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
)

// Port is the TCP port that each guest's agent listens on.
const Port = 7000

// PortName is the name of the virtio port that the host reaches an agent by.
const PortName = "hbmfs.agent"

const (
	// maxMessage bounds a message, in bytes, with its newline.
	maxMessage = 1 << 20
	// maxData bounds the output that one message carries, in bytes; base64
	// makes it a third larger.
	maxData = 64 << 10
)

// ErrMessage says that what arrived is not a message of the protocol.
var ErrMessage = errors.New("malformed message")

// message is one of the protocol. Exactly one of the pointers or Stream is set.
type message struct {
	ID     uint64          `json:"id,omitempty"`
	Ready  *bool           `json:"ready,omitempty"`  // agent: takes commands
	Start  *Command        `json:"start,omitempty"`  // client
	Signal *syscall.Signal `json:"signal,omitempty"` // client
	Stream string          `json:"stream,omitempty"` // agent: stdout or stderr, with Data
	Data   []byte          `json:"data,omitempty"`
	Exit   *Exit           `json:"exit,omitempty"` // agent: the last about an ID
}

// Command is what to start.
type Command struct {
	Argv []string `json:"argv"`
	// Env is added to the agent's own environment.
	Env []string `json:"env,omitempty"`
	// Dir is where it runs; empty means the agent's own.
	Dir string `json:"dir,omitempty"`
	// Stdout and Stderr get the output as it comes. They are the client's and not
	// nil, must not block for long, and are not written to by two goroutines at a
	// time.
	Stdout io.Writer `json:"-"`
	Stderr io.Writer `json:"-"`
}

// Exit is how a process ended.
type Exit struct {
	// Code is the exit status, -1 if a signal ended the process or it never ran.
	Code int `json:"code"`
	// Signal is what ended the process, or 0.
	Signal syscall.Signal `json:"signal,omitempty"`
	// Err says why the process never ran, or is empty.
	Err string `json:"err,omitempty"`
}

func (e Exit) String() string {
	switch {
	case e.Err != "":
		return e.Err
	case e.Signal != 0:
		return "signal: " + e.Signal.String()
	default:
		return fmt.Sprintf("exit status %d", e.Code)
	}
}

// newReader is of the size that readMessage needs.
func newReader(r io.Reader) *bufio.Reader { return bufio.NewReaderSize(r, maxMessage) }

// readMessage reads one message from a reader of newReader. It returns io.EOF
// between messages, and an error wrapping ErrMessage for what is none.
func readMessage(r *bufio.Reader) (message, error) {
	line, err := r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return message{}, fmt.Errorf("%w: longer than %d bytes", ErrMessage, maxMessage)
	case errors.Is(err, io.EOF) && len(line) > 0:
		return message{}, fmt.Errorf("%w: the connection ended within one", ErrMessage)
	case err != nil:
		return message{}, err
	}
	var m message
	if err := json.Unmarshal(bytes.TrimSuffix(line, []byte("\n")), &m); err != nil {
		return message{}, fmt.Errorf("%w: %w", ErrMessage, err)
	}
	return m, m.check()
}

// check says whether m means one thing.
func (m message) check() error {
	kinds := 0
	for _, set := range []bool{m.Ready != nil, m.Start != nil, m.Signal != nil, m.Stream != "", m.Exit != nil} {
		if set {
			kinds++
		}
	}
	if kinds != 1 {
		return fmt.Errorf("%w: means %d things", ErrMessage, kinds)
	}
	if m.Start != nil && len(m.Start.Argv) == 0 {
		return fmt.Errorf("%w: a command without arguments", ErrMessage)
	}
	return nil
}

// sender is a connection's way out.
type sender struct {
	writeMu sync.Mutex // keeps messages whole
	w       io.Writer
}

// send writes m in one Write. An error that wraps ErrMessage says that m is none.
func (s *sender) send(m message) error {
	if err := m.check(); err != nil {
		return err
	}
	line, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if len(line) >= maxMessage {
		return fmt.Errorf("%w: longer than %d bytes", ErrMessage, maxMessage)
	}
	s.writeMu.Lock()
	defer s.writeMu.Unlock()
	_, err = s.w.Write(append(line, '\n'))
	return err
}
