"""wsrpc measured beside its peers: ``python -m tests.benchmarks``, or ``make bench``.

Every peer asks the same queries of the same third-party echo server, in interleaved rounds of one run; what counts is
the ratio of two peers within a round, since the speed of a machine drifts. ``suite.py`` says what is measured,
``measure.py`` how, ``peers/`` holds one module a library, ``report.py`` writes ``docs/benchmarks.md`` from the JSON.
"""
