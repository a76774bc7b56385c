"""The log as a Merkle tree: sealed, proven and verified, also offline."""
