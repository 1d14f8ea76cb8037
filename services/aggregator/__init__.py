"""The aggregator combines the charged updates of a window, once, and hands the aggregate on."""
