"""The schemas in the tree are the ones that the messages make, and they say what a reader of JSON must know."""

import json
from pathlib import Path

import pytest

from mizzle.contract import generated, json_schemas, messages_of_all, tag, write

SCHEMAS = Path(__file__).parents[2] / "schemas"


def test_the_schemas_are_current() -> None:
    """If not: `make schemas`."""
    files = (*SCHEMAS.glob("json/*.json"), SCHEMAS / "asyncapi.yaml")
    assert {str(path.relative_to(SCHEMAS)): path.read_bytes() for path in files} == generated()


def test_writing_them_again_removes_what_no_message_makes(tmp_path: Path) -> None:
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "forgotten.v1.json").write_text("{}")
    write(tmp_path)
    assert {f"json/{path.name}" for path in tmp_path.glob("json/*.json")} == set(json_schemas())


@pytest.mark.parametrize("name", json_schemas())
def test_every_schema_says_how_bytes_are_written(name: str) -> None:
    note = json.loads(json_schemas()[name])["$comment"]
    assert "base64 text" in note
    assert "msgpack" in note
    assert "bin" in note


@pytest.mark.parametrize("name", json_schemas())
def test_every_part_of_a_schema_has_a_title_and_a_sentence(name: str) -> None:
    for part in json.loads(json_schemas()[name])["$defs"].values():
        assert part["title"]
        assert part["description"].partition("\n")[0].endswith((".", ":")), part["title"]
        assert part["additionalProperties"] is False


def test_there_is_one_schema_for_every_message() -> None:
    names = [tag(kind) for kind in messages_of_all()]
    assert len(set(names)) == len(names)
    assert set(json_schemas()) == {f"json/{name}.json" for name in [*names, "plan", "manifest"]}


def test_a_bound_of_the_vocabulary_is_in_the_schema() -> None:
    parts = json.loads(json_schemas()["json/update.v1.json"])["$defs"]
    assert parts["Update"]["properties"]["window"]["maximum"] == 2**53
    assert parts["Update"]["properties"]["nonce"]["contentEncoding"] == "base64"
    assert parts["BlobRef"]["properties"]["size"]["description"] == "a length in bytes"
