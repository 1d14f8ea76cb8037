"""Sign a manifest for every aggregate, and ask the ledger to release it."""

from services.pipeline import hop
from services.releaser.release import begin, step
from services.runtime.service import Service
from services.runtime.shell import serve

if __name__ == "__main__":
    serve(Service(hop("releaser"), begin, step))
