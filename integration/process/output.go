package process

import (
	"bytes"
	"sync"
)

// tailSize is how much of a process's output is kept, in bytes.
const tailSize = 16 << 10

// tail keeps the last that a process wrote.
type tail struct {
	mu   sync.Mutex // guards data
	data []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.data = append(t.data, p...)
	t.data = t.data[max(0, len(t.data)-tailSize):]
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.data)
}

// Lines passes whole lines on, without their ends. It is an [io.Writer] for one
// goroutine at a time, such as an output of a command.
type Lines struct {
	Each    func(line string)
	partial []byte
}

func (l *Lines) Write(p []byte) (int, error) {
	l.partial = append(l.partial, p...)
	for {
		line, rest, whole := bytes.Cut(l.partial, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		l.Each(string(line))
		l.partial = rest
	}
}
