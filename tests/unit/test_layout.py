"""Steps on paper: which tokens, at which positions, with which of them seen."""

import pytest

pytest.importorskip("torch", reason="the local engine needs the extra [local]")

import torch

from workers.engine.batch import Batch
from workers.engine.cache import RowCache, Shape
from workers.engine.layout import Layout, Part
from workers.engine.prefixes import PrefixStore
from workers.engine.request import Request

SHAPE = Shape((torch.device("cpu"),) * 2, heads=2, size=3, dtype=torch.float32)


class Tree:
    """Two labels, of one token and of two."""

    ids = (7, 8, 9)
    depth = (1, 1, 2)
    mask = ((True, False, False), (False, True, False), (False, True, True))


@pytest.fixture
def cache():
    made = RowCache(SHAPE, 2**20)
    made.grow(4, 64)
    return made


def request(length, **more):
    from switchtower.models import Sampling

    return Request(list(range(length)), Sampling(), 8, lambda: None, **more)


def test_rows_that_write_and_pieces_of_prompts_lie_side_by_side(cache):
    layout = Layout([Part(0, 1, 5, [10]), Part(1, 0, 2, [11]), Part(3, 2, 4, [1, 2, 3])], 2, cache)
    assert layout.ids == [10, 11, 1, 2, 3]
    assert layout.positions == [5, 2, 4, 5, 6]
    assert layout.slots == [1, 0, 2, 2, 2]
    assert layout.wanted == [0, 1, 4]


def test_padding_stands_behind_everyone_and_is_kept_nowhere(cache):
    layout = Layout([Part(1, 2, 3, [10, 11])], 0, cache, padding=3)
    assert layout.ids == [10, 11, 0, 0, 0]
    assert layout.positions == [3, 4, 0, 0, 0]
    assert layout.slots == [2, 2, 0, 0, 0]
    assert layout.wanted == [1]
    keys, _ = cache.write(0, layout, torch.ones(1, 2, 5, 3), torch.ones(1, 2, 5, 3))
    assert keys.sum() == keys[1, :, 3:5].sum() == 2 * 2 * 3


def test_rows_of_different_lengths_see_their_own_tokens_only(cache):
    (view,) = Layout([Part(0, 0, 3, [1]), Part(1, 0, 1, [1])], 2, cache).views("cpu", torch.float32, None)
    assert view.length == 4
    assert (view.mask[:, 0, 0] == 0).tolist() == [[True] * 4, [True, True, False, False]]


def test_a_piece_sees_what_is_kept_and_itself_up_to_each_token(cache):
    (view,) = Layout([Part(2, 0, 2, [1, 2])], 0, cache).views("cpu", torch.float32, None)
    assert (view.mask[0, 0] == 0).tolist() == [[True, True, True, False], [True] * 4]


def test_a_window_hides_what_is_further_back(cache):
    (view,) = Layout([Part(0, 0, 5, [1])], 1, cache).views("cpu", torch.float32, 2)
    assert (view.mask[0, 0, 0] == 0).tolist() == [False] * 4 + [True] * 2


def test_labels_stand_behind_the_prompt_and_do_not_see_each_other(cache):
    layout = Layout([Part(0, 0, 0, [1, 2], Tree())], 0, cache)
    assert layout.ids == [1, 2, 7, 8, 9]
    assert layout.positions == [0, 1, 2, 2, 3]
    assert layout.wanted == [1, 2, 3, 4]
    seen = (layout.views("cpu", torch.float32, None)[0].mask[0, 0] == 0).int().tolist()
    assert seen == [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 0, 1, 0], [1, 1, 0, 1, 1]]


def test_what_is_written_stands_where_the_row_reads_it(cache):
    layout = Layout([Part(1, 0, 2, [1]), Part(3, 0, 0, [1, 2])], 0, cache)
    new = torch.arange(18.0).view(1, 2, 3, 3)
    keys, _ = cache.write(1, layout, new, -new)
    assert torch.equal(keys[1, :, 2], new[0, :, 0])
    assert torch.equal(keys[3, :, :2], new[0, :, 1:])
    assert keys.abs().sum() == new.sum()


def test_places_grow_and_what_they_hold_stays(cache):
    cache.write(0, Layout([Part(3, 0, 0, [1])], 0, cache), torch.ones(1, 2, 1, 3), torch.ones(1, 2, 1, 3))
    kept = cache.copy_out(3, 1)
    cache.grow(5, 65)
    assert (cache.rows, cache.tokens) == (8, 128)
    assert torch.equal(cache.copy_out(3, 1)[0], kept[0])


def test_rows_that_write_come_first_and_keep_their_contents(cache):
    batch = Batch(cache)
    reading, writing = request(9), request(5)
    for one in (reading, writing):
        batch.add(one)
        cache.copy_in(one.place, [torch.full((2, 2, 2, len(one.ids), 3), float(len(one.ids)))])
    reading.kept, writing.kept = 4, 4
    assert batch.arrange() == 1
    assert (writing.place, reading.place) == (0, 1)
    assert {float(one.copy_out(0, 4)[0].mean()) for one in [cache]} == {5.0}
    batch.remove(writing)
    assert reading.place == 0
    assert float(cache.copy_out(0, 4)[0].mean()) == 9.0


def test_the_oldest_prompt_is_read_and_short_ones_do_not_wait_for_it(cache):
    batch = Batch(cache)
    long, middle, short = request(40, asked=1.0), request(20, asked=2.0), request(6, asked=3.0)
    for one in (long, middle, short):
        batch.add(one)
    requests, parts, writing = batch.plan(24)
    assert writing == 0
    assert {id(one): len(part.ids) for one, part in zip(requests, parts, strict=True)} == {
        id(long): 12, id(short): 6, id(middle): 6,
    }  # fmt: skip


def test_prefixes_that_were_not_used_for_longest_go_first():
    store, part = PrefixStore(3 * 40), torch.zeros(10)
    for name in ("a", "b", "c"):
        store.put((name, ()), [part])
    assert store.get(("a", ())) is not None
    store.put(("d", ()), [part])
    assert [name for name in "abcd" if (name, ()) in store] == ["a", "c", "d"]
    assert store.nbytes == 3 * 40
    store.put(("huge", ()), [torch.zeros(1000)])
    assert ("huge", ()) not in store
