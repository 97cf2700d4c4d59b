"""The nftables table in the kernel: its text, its contents, how it is loaded, watched and repaired."""
