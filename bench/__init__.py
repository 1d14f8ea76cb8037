"""The bench: one module for each figure, each beside the limit that it is compared with.

    python -m bench.pipeline   what an update costs from broker to receipt, beside the bare yardstick
    python -m bench.memory     whether the aggregator's memory depends on how many updates there are
    python -m bench.accuracy   what every code costs in accuracy

`bare.py` is the yardstick as it was given. It is never changed: what is compared with it must not also set it.
"""
