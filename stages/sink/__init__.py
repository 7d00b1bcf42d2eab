"""Where messages go: Redis, or lines of JSON in a file. Plain objects; queues and threads: `pipeline/outlet.py`."""
