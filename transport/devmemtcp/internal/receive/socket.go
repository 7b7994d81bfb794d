package receive

// Socket is the client's end of a data connection.
type Socket interface {
	// Receive waits until something has come, and takes at most len(host) bytes
	// of it. control is filled with messages that say where they are, in order;
	// with none, all of them are in host. n is 0 at the stream's end.
	Receive(host, control []byte) (n, controls int, err error)
	// Await returns once n bytes have come that were not received, or as many as
	// there is room for, or fewer if Hurry is called or the stream ends. Then
	// Receive does not wait. Like Receive, it runs on one goroutine at a time.
	Await(n int) error
	// Hurry has an Await under way be content with a byte. It may be called until
	// Close.
	Hurry()
	// DontNeed gives tokens back and returns how many fragments that freed. It
	// may be called until Close.
	DontNeed([]TokenRange) (int, error)
	// Unread is how many bytes have come that were not received.
	Unread() (int, error)
	// Shutdown ends the stream: Receive returns. What was received stays where
	// it is. It may be called until Close.
	Shutdown()
	// Close also frees all tokens that were not given back: the NIC may then
	// write to their memory.
	Close() error
}
