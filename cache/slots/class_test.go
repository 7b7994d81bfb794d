package slots

import "testing"

// TestClasses: slots hold what they are for, and waste little of a frame.
func TestClasses(t *testing.T) {
	for bits := 12; bits <= 26; bits++ {
		size := int64(1) << bits
		var m Memory
		m.Init(size, size, nil)
		for n := int64(1); n <= size; n += 1 + n/50 {
			cl := m.classOf(n)
			if cl.size < n || cl.size%slotStep != 0 || int64(cl.slots)*cl.size > size {
				t.Fatalf("frame of %d: %d bytes get %d slots of %d", size, n, cl.slots, cl.size)
			}
			if n > size/8 || n < minSlot {
				continue
			}
			if unused := float64(size)/float64(cl.slots) - float64(n); unused > float64(n)*0.126+slotStep {
				t.Errorf("frame of %d: %d bytes take %.3f of a frame, %.3f of it unused", size, n, 1/float64(cl.slots), unused/float64(n))
			}
		}
		if cl := m.classOf(size); cl.size != size || cl.slots != 1 {
			t.Errorf("frame of %d: a full extent takes a slot of %d", size, cl.size)
		}
	}
}
