"""The presets of `stunwall allow preset`: the narrowest exception for each of some well-known programs."""
