package storetest

import "strings"

// DeepPath returns a path of n bytes, of names that are long.
func DeepPath(n int) string {
	const name = 200
	parts := []string{}
	for n > name+1 {
		parts = append(parts, strings.Repeat("d", name))
		n -= name + 1
	}
	return strings.Join(append(parts, strings.Repeat("e", n)), "/")
}
