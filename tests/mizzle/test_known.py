"""What threads decode is known before they begin: two that learn a type at the same time would end the process."""

import subprocess
import sys

import pytest

from tests.lives import CHECKOUT

LEARNS = """
import sys
from mizzle import codec, layout, manifest, plan
from mizzle.messages import BetweenServices, FromDevice, Hint, ToDevice
import msgspec

learned = []
def seen(frame, event, argument):
    if event == "call" and frame.f_code.co_name == "get_class_annotations":
        learned.append(str(frame.f_locals))
sys.setprofile(seen)
for kind in {kinds}:
    try:
        msgspec.convert({{}}, kind)
    except msgspec.ValidationError:
        pass
sys.setprofile(None)
print(len(learned))
"""
KINDS = {
    "what devices and services say": "(FromDevice, ToDevice, Hint, BetweenServices)",
    "a plan": "(plan.Plan,)",
    "a manifest": "(manifest.SignedManifest, manifest.Manifest, manifest.ReleaseEvent)",
    "a model's header": "(layout._Tensor,)",
}


def run(code: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-X", "faulthandler", "-c", code]
    return subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("kinds", KINDS.values(), ids=KINDS.keys())
def test_nothing_is_left_to_learn_after_the_import(kinds: str) -> None:
    done = run(LEARNS.format(kinds=kinds))
    assert (done.returncode, done.stdout.strip()) == (0, "0"), done.stderr
