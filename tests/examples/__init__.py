"""Each example runs as a person runs it, and prints what it should."""
