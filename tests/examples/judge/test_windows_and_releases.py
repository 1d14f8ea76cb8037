"""Windows, releases, manifests and blobs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack

from tests.examples.judge.maker import (
    FEDERATION,
    World,
    announce,
    chain,
    codes,
    digest,
    keep,
    manifest,
    note,
    open_window,
    say,
    sign,
    world,
)


def resigned(made: World, version: int, **other: Any) -> None:
    """A manifest that says otherwise, with everything that follows from it put right."""
    sign(made, version, **other)
    released = made.row("releases", version=version)
    act = made.act("window.released", released["window"])
    before = act["body"].split('"manifest":"')[1][:64]
    act["body"] = act["body"].replace(before, released["manifest_digest"].hex())
    chain(made)
    without(made, "pub/release")


def without(made: World, topic: str) -> None:
    made.trace = [said for said in made.trace if not said["topic"].endswith(topic)]


def rebody(made: World, number: int, change: Callable[[dict[str, Any]], None]) -> None:
    row = made.row("windows", number=number)
    body = msgpack.unpackb(row["body"])
    change(body)
    row["body"] = msgpack.packb(body)


def test_two_open_windows_are_found(tmp_path: Path) -> None:
    made = world()
    open_window(made, 5, 2, ("pump-3",))
    chain(made)
    assert codes(made, tmp_path) == ["windows-open", "windows-open"]


def test_a_window_opened_before_the_last_one_ended_is_found_by_the_log(tmp_path: Path) -> None:
    made = world()
    acts = made.ledger["audit"]
    places = [acts.index(made.act("window.abandoned", 2)), acts.index(made.act("window.opened", 3))]
    (first, second) = places
    acts[first], acts[second] = acts[second] | {"seq": first + 1}, acts[first] | {"seq": second + 1}
    chain(made)
    assert codes(made, tmp_path) == ["windows-open"]


def test_a_window_opened_twice_is_found(tmp_path: Path) -> None:
    made = world()
    made.ledger["windows"].append(dict(made.row("windows", number=2)))
    assert codes(made, tmp_path) == ["window-twice"]


def test_an_ended_window_that_does_not_say_when_is_found(tmp_path: Path) -> None:
    made = world()
    made.row("windows", number=2)["ended_at"] = None
    assert codes(made, tmp_path) == ["window-contradicts-itself"]


def test_an_abandoned_window_with_a_release_is_found(tmp_path: Path) -> None:
    made = world()
    made.row("windows", number=2)["version"] = 9
    assert codes(made, tmp_path) == ["window-contradicts-itself", "window-without-release"]


def test_a_window_with_another_deadline_than_it_announced_is_found(tmp_path: Path) -> None:
    made = world()
    made.row("windows", number=4)["deadline"] += 1
    assert codes(made, tmp_path) == ["window-body"]


def test_a_window_after_the_stop_is_found(tmp_path: Path) -> None:
    made = world()
    federation = made.ledger["federations"][0]
    federation |= {"halted": "budget", "halted_at": made.row("windows", number=4)["opened_at"] - 1}
    for number in (1, 2, 3):
        made.row("windows", number=number)["opened_at"] -= 2
    note(made, "federation.halted", FEDERATION)
    chain(made)
    assert codes(made, tmp_path) == ["opened-after-halt"]


def test_a_hole_in_the_versions_is_found(tmp_path: Path) -> None:
    assert codes(world(versions=(1, 3)), tmp_path) == ["version-hole"]


def test_a_repeated_version_is_found(tmp_path: Path) -> None:
    made = world()
    made.ledger["releases"].append(dict(made.row("releases", version=2)))
    assert codes(made, tmp_path) == ["version-twice"]


def test_a_version_that_two_windows_claim_is_found(tmp_path: Path) -> None:
    made = world()
    made.row("windows", number=4).update(version=2)
    assert codes(made, tmp_path) == ["version-twice", "window-contradicts-itself", "window-without-release"]


def test_a_wrong_member_count_is_found(tmp_path: Path) -> None:
    made = world()
    made.row("releases", version=1)["members"] = 2
    assert codes(made, tmp_path) == ["manifest-differs", "members-differ"]


def test_a_manifest_with_a_wrong_member_count_is_found(tmp_path: Path) -> None:
    made = world()
    resigned(made, 2, members=4)
    assert codes(made, tmp_path) == ["manifest-differs"]


def test_a_manifest_that_nobody_signed_is_found(tmp_path: Path) -> None:
    made = world()
    row = made.row("releases", version=2)
    row["manifest"] = manifest({"version": 2}, signer="mallory")
    assert codes(made, tmp_path) == ["manifest-forged", "trace-release-differs"]


def test_a_manifest_that_does_not_name_the_one_before_is_found(tmp_path: Path) -> None:
    made = world()
    resigned(made, 2, previous=None)
    assert codes(made, tmp_path) == ["manifest-chain"]


def test_a_release_of_too_few_is_found(tmp_path: Path) -> None:
    made = world()
    rebody(made, 1, lambda body: body.update(quorum=4))
    assert codes(made, tmp_path) == ["crowd-too-small"]


def test_more_members_of_a_window_than_came_for_it_are_found(tmp_path: Path) -> None:
    """Folded updates ride along: they are members, and are not among those that arrived."""
    made = world()
    rebody(made, 1, lambda body: body.update(quorum=2))
    made.row("releases", version=2)["arrived"] = 2
    made.row("releases", version=1)["arrived"] = 2
    assert codes(made, tmp_path) == ["crowd-too-small"]


def test_a_sum_that_could_wrap_is_found(tmp_path: Path) -> None:
    made = world()
    rebody(made, 1, lambda body: body.update(weight_cap=1 << 40))
    assert codes(made, tmp_path) == ["could-wrap"]


def test_a_release_from_another_base_is_found(tmp_path: Path) -> None:
    made = world()
    made.row("releases", version=2)["base_digest"] = bytes(32)
    assert codes(made, tmp_path) == ["base-differs"]


def test_a_model_that_does_not_hash_to_its_name_is_found(tmp_path: Path) -> None:
    made = world()
    model = made.row("releases", version=2)["model_digest"]
    made.row("blobs", digest=model)["body"] = bytes(80)
    assert codes(made, tmp_path) == ["blob-forged"]


def test_a_total_that_is_not_kept_is_found(tmp_path: Path) -> None:
    made = world()
    made.ledger["blobs"].remove(made.row("blobs", digest=made.row("releases", version=2)["total_digest"]))
    assert codes(made, tmp_path) == ["blob-missing"]


def test_an_optimizer_of_another_size_is_found(tmp_path: Path) -> None:
    made = world()
    made.row("releases", version=2).update(optimizer_digest=keep(made, b"momentum"), optimizer_size=9)
    assert codes(made, tmp_path) == ["blob-size"]


def test_a_plan_that_does_not_hash_to_its_name_is_found(tmp_path: Path) -> None:
    made = world()
    made.ledger["federations"][0]["plan"] += b" "
    assert codes(made, tmp_path) == ["plan-forged"]


def test_a_broken_chain_is_found(tmp_path: Path) -> None:
    made = world()
    made.act("federation.founded", "pumps")["actor"] = "somebody"
    assert codes(made, tmp_path) == ["audit-broken"]


def test_a_row_dropped_from_the_log_is_found(tmp_path: Path) -> None:
    made = world()
    made.ledger["audit"].remove(made.act("device.enrolled", "pump-2"))
    assert codes(made, tmp_path) == ["audit-broken"]


def test_a_release_that_the_log_does_not_have_is_found(tmp_path: Path) -> None:
    made = world()
    made.act("window.released", 3)["action"] = "window.watched"
    chain(made)
    assert codes(made, tmp_path) == ["audit-missing"]


def test_an_abandonment_that_the_log_does_not_have_is_found(tmp_path: Path) -> None:
    made = world()
    made.act("window.abandoned", 2)["subject"] = "none"
    chain(made)
    assert codes(made, tmp_path) == ["audit-missing"]


def test_a_window_that_only_the_log_knows_is_found(tmp_path: Path) -> None:
    made = world()
    note(made, "window.abandoned", 4)
    note(made, "window.opened", 5)
    chain(made)
    assert codes(made, tmp_path) == ["audit-differs", "audit-differs"]


def test_an_older_release_announced_last_is_found(tmp_path: Path) -> None:
    made = world()
    announce(made, 1)
    assert codes(made, tmp_path) == ["retained-not-newest", "trace-rollback"]


def test_an_older_release_that_the_newest_follows_is_no_finding(tmp_path: Path) -> None:
    """A gateway that was replaced ends what it had begun to say (chaos, seed 9); the other one corrects it."""
    made = world()
    announce(made, 1)
    announce(made, 2)
    assert codes(made, tmp_path) == []


def test_a_release_that_is_never_announced_is_found(tmp_path: Path) -> None:
    made = world()
    last = [said for said in made.trace if said["topic"].endswith("pub/release")][-1]
    made.trace.remove(last)
    assert codes(made, tmp_path) == ["retained-not-newest"]


def test_an_announced_release_that_the_ledger_does_not_know_is_found(tmp_path: Path) -> None:
    made = world(versions=(1, 2))
    say(made, "pub/release", b'{"data": {"payload": "e30="}}')
    assert codes(made, tmp_path) == ["retained-not-newest", "trace-release-without-row", "trace-rollback"]


def test_a_piece_of_a_blob_that_is_not_its_own_is_found(tmp_path: Path) -> None:
    made = world()
    say(made, f"pub/blob/{digest(b'model').hex()}/0", b"mb\0\0\0\x05poison")
    assert codes(made, tmp_path) == ["trace-blob-forged"]


def test_an_invitation_to_a_window_that_is_not_open_is_found(tmp_path: Path) -> None:
    made = world()
    made.row("windows", number=4)["deadline"] += 1
    rebody(made, 4, lambda body: body.update(deadline=body["deadline"] + 1))
    assert codes(made, tmp_path) == ["invitation-differs", "invitation-differs"]


def test_a_release_that_is_gone_with_all_its_rows_left_is_found(tmp_path: Path) -> None:
    """The newest one: whoever restores an old table of releases leaves its window and members behind."""
    made = world()
    made.ledger["releases"].remove(made.row("releases", version=2))
    without(made, "pub/release")
    found = codes(made, tmp_path)
    assert found == ["counted-nowhere"] * 3 + ["window-body", "window-without-release"]


def test_a_release_of_a_window_that_was_abandoned_is_found(tmp_path: Path) -> None:
    made = world()
    resigned(made, 2, window=2)
    made.row("releases", version=2)["window"] = 2
    found = codes(made, tmp_path)
    assert found == ["counted-nowhere"] * 3 + ["release-without-window", "window-without-release"]
