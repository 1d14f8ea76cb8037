"""Combine the charged updates of each window, once, and hand the aggregate on."""

from services.aggregator.combine import begin, step
from services.pipeline import hop
from services.runtime.shell import serve
from services.runtime.stage import Service

if __name__ == "__main__":
    serve(Service(hop("aggregator"), begin, step))
