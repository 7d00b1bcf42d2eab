"""The running machine: configuration, assembly, supervisor, batcher, ledger, clock, spool, status, benchmark."""
