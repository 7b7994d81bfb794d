package transport

// LinkStats counts what a link did since it was dialled.
type LinkStats struct {
	Connections int   `json:"connections"` // up now
	Lost        int64 `json:"lost"`        // connections that ended, but for those that Close did
	Reconnects  int64 `json:"reconnects"`  // connections that took their places
	Waits       int64 `json:"waits"`       // times that a request found no credit, and so had to wait
	Requests    int64 `json:"requests"`    // requests that ended
	Errors      int64 `json:"errors"`      // of those, the ones that failed
	Bytes       int64 `json:"bytes"`       // payload that arrived
	InFlight    int64 `json:"in_flight"`   // requests under way

	Registrations RegistrationStats `json:"registrations"`
	Devmem        DevmemStats       `json:"devmem"`
}

// DevmemStats counts what a NIC put into a pool of device memory, and what it
// did not; all zero for transports without such a pool.
type DevmemStats struct {
	DeviceBytes int64 `json:"device_bytes"` // payload that landed in device memory
	HostBytes   int64 `json:"host_bytes"`   // that came by another queue, or before the queue was bound
	LinearBytes int64 `json:"linear_bytes"` // that the NIC did not split from its headers
	Fragments   int64 `json:"fragments"`    // pieces of device memory that held it
	Recvmsgs    int64 `json:"recvmsgs"`     // system calls to receive
	TokenCalls  int64 `json:"token_calls"`  // system calls to give fragments back
	Tokens      int64 `json:"tokens"`       // fragments not given back yet, also those lent by links that are closed
}

// RegistrationStats counts what a link did to let a device write into attached
// memory; all zero where that needs no registration.
type RegistrationStats struct {
	Hits      int64 `json:"hits"`      // requests that found their memory registered
	Misses    int64 `json:"misses"`    // registrations made
	Evictions int64 `json:"evictions"` // registrations undone
	Bytes     int64 `json:"bytes"`     // registered now
	// How the latest was made: "dma-buf", "cpu-mapping" or "".
	How string `json:"how"`
}
