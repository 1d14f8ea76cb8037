"""Small plans: four parameters, three devices a window, two of them a quorum."""

import numpy as np
from safetensors.numpy import save

from mizzle.accounting import epsilon
from mizzle.plan import Plan, from_toml

MODEL = save({"w": np.arange(4, dtype=np.float32)})

TOML = """
schema = 1
federation = "pumps"
model = "w.safetensors"
[train]
[window]
mode = "rounds"
goal = {goal}
quorum = 2
invite = 1.0
deadline_s = 6.0
late = "{late}"
max_staleness = {staleness}
{windows}
[select]
policy = "uniform"
[update]
codec = "hadamard"
bits = 8
[combine]
strategy = "fedavg"
[privacy]
mechanism = "gaussian"
noise_multiplier = {noise}
device_budget = {budget}
federation_budget = {budget}
minimum_crowd = {crowd}
"""


def plan(  # noqa: PLR0913  # a plan is told by name
    *,
    goal: int = 3,
    late: str = "fold",
    noise: float = 2.0,
    budget: float = 1e6,
    crowd: int = 2,
    windows: int = 0,
    staleness: int = 2,
    mode: str = "rounds",
    invite: float = 1.0,
) -> Plan:
    """A plan; `windows` is how many there are, 0 for no end."""
    limit = f"windows = {windows}" if windows else ""
    text = TOML.format(
        goal=goal, late=late, noise=noise, budget=budget, crowd=crowd, windows=limit, staleness=staleness
    )
    text = text.replace('"rounds"', f'"{mode}"').replace("invite = 1.0", f"invite = {invite}")
    return from_toml(text, MODEL)


def budget_for(updates: int) -> float:
    """An ε that allows so many full updates at twice the bound as σ, each of μ² = 1/4, and not one more."""
    return epsilon(updates * 2**30, 1e-5) + 1e-6
