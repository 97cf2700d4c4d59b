"""Tests of one module each; nothing here needs root, a network or a kernel with nftables."""
