"""The releaser signs what was combined: a manifest for every new model."""
