"""The write path as one object: what bootstrap builds, starts and runs.

    writes = WritePath(store, transport, limits=..., now_ns=..., rng=...)
    await writes.open(nodes)          # load the store, take up the node list
    async with TaskGroup: writes.run()  # sequencer, lanes, prober; until cancelled
    writes.cluster.snapshot()         # for readers
"""
