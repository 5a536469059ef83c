"""No ports and no sleeps: bytes, messages and time are passed in."""
