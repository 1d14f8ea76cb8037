"""The yardstick is the one that was given, and it is run as the pipeline is."""

import hashlib
import shutil
from pathlib import Path

from bench import yardstick
from bench.load import Load
from bench.yardstick import measure
from services.local import broker
from tests.servers import missing

GIVEN = "6cdc5a9a80e62961b9ee1dc31299ca0b4b68f74d845f7621936177f1fddfa1c1"


def test_the_yardstick_is_not_changed() -> None:
    program = Path(yardstick.__file__).with_name("bare.py")
    assert hashlib.sha256(program.read_bytes()).hexdigest() == GIVEN


def test_the_yardstick_measures_as_many_updates_of_the_same_size() -> None:
    if "mosquitto" not in broker.brokers():
        missing("mosquitto")
    if shutil.which("redis-server") is None:
        missing("redis-server")
    bare = measure(Load(elements=640, bits=4, updates=16, window=8), "no")
    assert bare.bare_updates_per_s > 0
    assert bare.bare_cpu_ms_per_update >= 0
