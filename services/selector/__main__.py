"""Open a window whenever enough devices are there, and invite its cohort."""

from services.pipeline import hop
from services.runtime.service import Service
from services.runtime.shell import serve
from services.selector.invite import begin, step

if __name__ == "__main__":
    serve(Service(hop("selector"), begin, step))
