// Package prefetch lists directories, and those that a walk comes to next along
// with them.
//
// It sees when a tree is walked, asks the target for further directories in the
// same request, and answers with what came ahead once, in the session that it came
// in, while it is younger than [MaxAge]. It never asks for more than its bounds
// say (walks.go), and answers nothing that the target did not say. It knows of the
// target what [Target] says.
//
// Locking: walks.mu guards all state. It is not held while a message is sent or
// awaited.
package prefetch
