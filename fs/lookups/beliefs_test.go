package lookups

import "testing"

func TestBeliefs(t *testing.T) {
	var b Beliefs
	if !b.Ended(7, 1) {
		t.Error("a name is believed that nobody has told of")
	}
	b.Add(7, 100)
	b.Add(7, 50)
	if b.Ended(7, 100) || !b.Ended(7, 101) || !b.Ended(8, 1) {
		t.Error("a name is believed for another time")
	}
}
