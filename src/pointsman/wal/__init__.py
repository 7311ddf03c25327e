"""The write-ahead log of a worker: what it was about to pay for, before it did."""
