"""Users on the broker: one for each role, each with no more rights than its processes need."""
