"""Speed side by side with peers: every ratio is measured interleaved in one run. Run by `make bench`."""
