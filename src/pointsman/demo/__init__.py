"""`pointsman demo`: real work through a real local model and two simulated providers."""
