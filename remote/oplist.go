package remote

// waiting is what no link has. Asks go first: each is waited for, and small. But where
// the link took nothing else of a batch, a read begins the next.
type waiting struct {
	asks, reads opList
	owed        bool // a read is
}

func (w *waiting) isEmpty() bool { return w.asks.head == nil && w.reads.head == nil }

func (w *waiting) listOf(o *op) *opList {
	if o.ask != nil {
		return &w.asks
	}
	return &w.reads
}

func (w *waiting) push(o *op)      { w.listOf(o).push(o) }
func (w *waiting) pushFront(o *op) { w.listOf(o).pushFront(o) }

// append adds ops of a kind; there may be none.
func (w *waiting) append(l opList) {
	if l.head != nil {
		w.listOf(l.head).append(l)
	}
}

// pop takes the next one of a batch.
func (w *waiting) pop(first bool) *op {
	if w.asks.head == nil || first && w.owed && w.reads.head != nil {
		return w.reads.pop()
	}
	return w.asks.pop()
}

// removeIf takes those out that match, to end with err.
func (w *waiting) removeIf(err error, match func(*op) bool) []*op {
	return append(w.asks.removeIf(err, match), w.reads.removeIf(err, match)...)
}

// opList is a list of requests, the first to be issued first.
type opList struct{ head, tail *op }

func (l *opList) push(o *op) {
	o.next = nil
	if l.tail == nil {
		l.head = o
	} else {
		l.tail.next = o
	}
	l.tail = o
}

// append adds what is not empty.
func (l *opList) append(more opList) {
	if l.tail == nil {
		*l = more
		return
	}
	l.tail.next, l.tail = more.head, more.tail
}

func (l *opList) pop() *op {
	o := l.head
	l.head = o.next
	if l.head == nil {
		l.tail = nil
	}
	o.next = nil
	return o
}

func (l *opList) pushFront(o *op) {
	o.next = l.head
	l.head = o
	if l.tail == nil {
		l.tail = o
	}
}

func (l *opList) removeIf(err error, match func(*op) bool) (removed []*op) {
	all := l.head
	l.head, l.tail = nil, nil
	for all != nil {
		o := all
		all = o.next
		if match(o) {
			o.next, o.err = nil, err
			removed = append(removed, o)
		} else {
			l.push(o)
		}
	}
	return removed
}
