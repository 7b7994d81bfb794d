package transporttest

import "hbmfs/transport"

// Done is a [transport.Completer] that passes each result on to a function.
func Done(result func(transport.Result)) transport.Completer { return &completer{result} }

type completer struct{ result func(transport.Result) }

// Complete implements [transport.Completer].
func (c *completer) Complete(done []transport.Completion) {
	for _, d := range done {
		c.result(d.Result)
	}
}

// End tells who waits for a request how it ended.
func End(r *transport.Request, res transport.Result) {
	transport.Complete([]transport.Completion{{Request: r, Result: res}})
}
