"""Browsers: which ones are here, what a page can learn from each by WebRTC, and how to change that."""
