"""The agent of one node: what it has of SGX, offered to the kubelet, and what became of it."""
