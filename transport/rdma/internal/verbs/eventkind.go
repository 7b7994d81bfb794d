package verbs

// EventKind says what happened to an [ID], as enum rdma_cm_event_type.
type EventKind int

// The events of connected identifiers.
const (
	AddrResolved    EventKind = 0
	AddrError       EventKind = 1
	RouteResolved   EventKind = 2
	RouteError      EventKind = 3
	ConnectRequest  EventKind = 4
	ConnectResponse EventKind = 5
	ConnectError    EventKind = 6
	Unreachable     EventKind = 7
	Rejected        EventKind = 8
	Established     EventKind = 9
	Disconnected    EventKind = 10
	DeviceRemoval   EventKind = 11
	AddrChange      EventKind = 14
	TimewaitExit    EventKind = 15
)

var eventText = map[EventKind]string{
	AddrResolved:    "address resolved",
	AddrError:       "address error",
	RouteResolved:   "route resolved",
	RouteError:      "route error",
	ConnectRequest:  "connect request",
	ConnectResponse: "connect response",
	ConnectError:    "connect error",
	Unreachable:     "unreachable",
	Rejected:        "rejected",
	Established:     "established",
	Disconnected:    "disconnected",
	DeviceRemoval:   "device removal",
	AddrChange:      "address change",
	TimewaitExit:    "timewait exit",
}

// String names the event.
func (k EventKind) String() string {
	if s, ok := eventText[k]; ok {
		return s
	}
	return "unknown event"
}

// Event is one event of the connection manager.
type Event struct {
	Kind EventKind

	// Status is 0, a negative errno, or with Rejected the reason's number.
	Status int

	// ID is what it happened to: the same object for one identifier always. A
	// ConnectRequest brings a new one, which the caller must Close.
	ID *ID

	// Private is the peer's private data, of ConnectRequest, ConnectResponse,
	// Established and Rejected. The network pads it with zeros to the limit.
	Private []byte
}
