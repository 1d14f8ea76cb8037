"""Combine the charged updates of each window, once, and hand the aggregate on."""

from services.aggregator.combine import begin, step
from services.pipeline import hop
from services.runtime.service import Service
from services.runtime.shell import serve

if __name__ == "__main__":
    serve(Service(hop("aggregator"), begin, step))
