package limits

// Data is what the clients of a target share on its data planes, over all of them.
type Data struct {
	Connections *Limit
	Staging     *Limit // in bytes, from when storage is read until the payload is sent
}
