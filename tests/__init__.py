"""The tests: `unit/` mirrors the modules, `property/` is random input, `integration/` has real sockets and peers."""
