"""Judge every update by itself and by its device's own past."""

from services.anomaly_detector.judge import begin, step
from services.pipeline import hop
from services.runtime.service import Service
from services.runtime.shell import serve

if __name__ == "__main__":
    serve(Service(hop("anomaly_detector"), begin, step))
