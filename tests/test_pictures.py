"""Pictures: compressed until decoded, stored as they are, equal by their bytes."""

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wetoolkit.codec import decode, digest, dump_block, encode, load_block
from wetoolkit.errors import DataError, StoreError, ValidationError
from wetoolkit.experience import Shards, join, size_of, take, write_shard
from wetoolkit.types import Array, Decisions, Observation, Picture


def pixels(seed: int = 0, size: tuple[int, int] = (12, 16)) -> Array:
    """A smooth picture: a slope of colours."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    return np.stack([8 * rows + seed, 8 * columns, 90 + rows + columns], -1).astype(np.uint8)


def row(*pictures: Picture) -> Array:
    handles = np.empty(len(pictures), object)
    handles[:] = pictures
    return handles


def block(start: int, count: int) -> Decisions[Any]:
    zeros = np.zeros(count, int)
    seen = row(*(Picture.of(pixels(start + i), lossless=True) for i in range(count)))
    observation = Observation("toy", count, {"x": np.arange(start, start + count, dtype=float)[:, None]}, images={"front": seen})
    names = tuple(f"id{start + i}" for i in range(count))
    return Decisions(
        observation, zeros, zeros, np.zeros((count, 2, 2)), zeros > 0, zeros, zeros * 1.0, np.zeros((count, 0)), {}, names, names
    )


def test_lossless_pictures_come_back_bit_for_bit_and_others_nearly() -> None:
    exact, near = Picture.of(pixels(), lossless=True), Picture.of(pixels())
    assert (exact.format, near.format, exact.size) == ("png", "jpeg", (16, 12))
    np.testing.assert_array_equal(exact.decode(), pixels())
    assert np.abs(near.decode().astype(int) - pixels()).mean() < 2
    assert exact == Picture.of(pixels(), lossless=True) != near and len({exact, near, exact}) == 2


def test_a_smaller_picture_is_the_mean_of_what_it_covers() -> None:
    small = Picture.of(pixels(), lossless=True).fitted((8, 6))
    means = pixels().reshape(6, 2, 8, 2, 3).mean((1, 3))
    assert small.size == (8, 6) and np.abs(small.decode() - means).max() < 6
    assert small.fitted((8, 6)) is small


@pytest.mark.parametrize("bad", [pixels().astype(float), pixels()[..., 0], pixels()[:0]])
def test_what_is_no_picture_is_refused(bad: Array) -> None:
    with pytest.raises(ValidationError, match=r"\[H, W, 3\] uint8"):
        Picture.of(bad)


def test_broken_bytes_are_a_clear_error() -> None:
    whole = Picture.of(pixels(size=(120, 160))).data
    for data, said in (
        (b"", "0 bytes are no picture"),
        (b"nonsense", "8 bytes are no picture"),
        (whole[:700], "cannot be decoded"),
    ):
        with pytest.raises(DataError, match=said):
            Picture(data).decode()
    with pytest.raises(DataError, match="cannot be decoded"):
        Picture(whole[:700]).fitted((8, 6))


def test_observations_know_their_pictures() -> None:
    seen = block(0, 3).observation
    seen.validate()
    picked = replace(seen, trust=np.array([0.1, 0.2, 0.3]), trust_known=np.array([True, False, True])).rows([2, 0])
    assert picked.images["front"][0] == seen.images["front"][2] and picked.trust is not None and picked.trust_known is not None
    assert picked.trust.tolist() == [0.3, 0.1] and picked.trust_known.all()
    with pytest.raises(ValidationError, match="one picture an item"):
        replace(seen, images={"front": seen.images["front"][:2]}).validate()
    with pytest.raises(ValidationError, match="not all are pictures"):
        replace(seen, images={"front": np.array([b"a", b"b", b"c"], object)}).validate()


def test_blocks_keep_the_compressed_bytes() -> None:
    before = block(0, 3)
    (after,), _ = load_block(dump_block([before]), Decisions)
    assert after.observation.images["front"].tolist() == before.observation.images["front"].tolist()
    assert digest(after) == digest(before) != digest(block(1, 3))
    none, _ = load_block(dump_block([row()]), Array)
    assert none[0].shape == (0,) and none[0].dtype == object


def test_objects_that_are_no_pictures_are_not_stored() -> None:
    with pytest.raises(ValidationError, match="cannot be stored"):
        dump_block([np.array([1, "a"], object)])


def test_ends_that_do_not_fit_are_refused() -> None:
    data = dump_block([row(Picture(b"abc"), Picture(b"de"))])
    ends = np.array([3, 5], np.int64).tobytes()
    with pytest.raises(StoreError, match="ends that rise"):
        load_block(data.replace(ends, np.array([3, 4], np.int64).tobytes()), Array)


def test_shards_yield_pictures_with_their_rows(tmp_path: Path) -> None:
    for number, (start, count) in enumerate([(0, 5), (5, 4)]):
        write_shard(tmp_path / f"{number}", block(start, count))
    shards = pickle.loads(pickle.dumps(Shards(tmp_path / "0", tmp_path / "1")))
    numbers = []
    for part in shards.batches(4, 1):
        part.validate()
        for x, picture in zip(part.observation.arrays["x"][:, 0], part.observation.images["front"], strict=True):
            np.testing.assert_array_equal(picture.decode(), pixels(int(x)))
            numbers.append(int(x))
    assert sorted(numbers) == list(range(9)) != numbers
    assert dict(shards.shape) == {"x": (1,)} and shards.column("trust").tolist() == [1.0] * 9


def test_size_counts_the_compressed_bytes_and_cameras_must_agree() -> None:
    one = block(0, 2)
    blind = replace(one, observation=replace(one.observation, images={}))
    assert size_of(one) - size_of(blind) == sum(len(p.data) for p in one.observation.images["front"])
    assert take(one, [1]).observation.images["front"][0] == one.observation.images["front"][1]
    with pytest.raises(ValidationError, match="shards of cameras"):
        join([one, blind])


def test_files_from_before_there_were_pictures_are_read() -> None:
    arrays, tree = encode(block(0, 2))
    old = {name: value for name, value in tree.items() if name != "trust"}
    old["observation"] = {name: tree["observation"][name] for name in ("domain", "size", "arrays", "worlds")}
    read = decode(Decisions, arrays, old)
    read.validate()
    assert read.trust.tolist() == [1.0, 1.0] and read.observation.images == {} and read.observation.trust is None


def test_decisions_without_trust_are_trusted() -> None:
    assert block(0, 2).trust.tolist() == [1.0, 1.0]
    with pytest.raises(ValidationError, match="give probabilities"):
        replace(block(0, 2), trust=np.array([0.5, 1.5])).validate()
