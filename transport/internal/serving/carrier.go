package serving

// Carrier is a transport's connections to one client.
type Carrier interface {
	// Write sends replies, in their order and within liveness.Unaccepted. Each element
	// is whole ones, each header directly before its payload; the slice is
	// Write's to change, the bytes are not, and neither may be kept. It is not
	// called concurrently. An error ends the connections.
	Write(replies [][]byte) error
	// Close ends the connections, and reads and writes under way on them, from
	// any goroutine, more than once. It must not wait.
	Close()
}
