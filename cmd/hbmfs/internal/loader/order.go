package loader

import "math/bits"

// Order is the order in which an epoch takes n samples, by their numbers: the same
// for the same seed and epoch, on any machine.
func Order(seed uint64, epoch, n int) []uint32 {
	order := make([]uint32, n)
	for i := range order {
		order[i] = uint32(i)
	}
	key := mix(seed, uint64(epoch))
	for i := n - 1; i > 0; i-- {
		j, _ := bits.Mul64(mix(key, uint64(i)), uint64(i)+1)
		order[i], order[j] = order[j], order[i]
	}
	return order
}
