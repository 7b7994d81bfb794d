package fs

import "sync"

// names tells the kernel to forget names, one after another: each call waits for
// the lock of the name's directory, which a lookup may hold for long.
type names struct {
	mu      sync.Mutex
	queue   []*fileNode // guarded by mu
	running bool        // guarded by mu
}

// forgetName makes the next use of the node's name ask the target again. It does
// not block.
func (t *tree) forgetName(n *fileNode) {
	q := &t.names
	q.mu.Lock()
	defer q.mu.Unlock()
	q.queue = append(q.queue, n)
	if !q.running {
		q.running = true
		go q.run()
	}
}

func (q *names) run() {
	for {
		n := q.next()
		if n == nil {
			return
		}
		if name, parent := n.Parent(); parent != nil {
			_ = parent.NotifyEntry(name) // a name that the kernel does not hold is no error
		}
	}
}

func (q *names) next() *fileNode {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.queue) == 0 {
		q.queue, q.running = nil, false
		return nil
	}
	n := q.queue[0]
	q.queue = q.queue[1:]
	return n
}
