package policy

// list is entries in order.
type list[T any] struct {
	first, last *Entry[T]
	n           int
}

// push puts e, which is in no list, at the end.
func (l *list[T]) push(e *Entry[T]) {
	e.in, e.prev = l, l.last
	if l.last != nil {
		l.last.next = e
	} else {
		l.first = e
	}
	l.last = e
	l.n++
}

// unlink takes e out of the list it is in, if it is in one.
func (e *Entry[T]) unlink() {
	l := e.in
	if l == nil {
		return
	}
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		l.first = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	} else {
		l.last = e.prev
	}
	l.n--
	e.in, e.prev, e.next = nil, nil, nil
}
