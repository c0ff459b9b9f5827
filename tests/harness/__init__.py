"""What the tests share: real processes, faulty disks and networks, and plain readers."""
