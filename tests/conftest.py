"""What all tests share."""

pytest_plugins = ["harness.fault_counts"]
