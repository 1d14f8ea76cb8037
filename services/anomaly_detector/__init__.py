"""The anomaly detector judges every update by itself and by its device's own past."""
