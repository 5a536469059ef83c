"""Real sockets, and on the other end a peer that is not ours where there is one."""
