"""Plans over trees of token ids: everything is computed, what is shared once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from evalkit.models.hf_tree import TOP, WORTH_KEEPING, Tree, common_prefix, plain, plan

ROWS = st.lists(
    st.lists(st.integers(0, 2), min_size=1, max_size=12).map(tuple), min_size=1, max_size=14
).map(lambda rows: sorted(set(rows)))
BUDGETS = st.integers(1, 40)


def unique_tokens(rows):
    return len({row[: end + 1] for row in rows for end in range(len(row))})


def computed(tree, passes):
    return sum(len(tree.nodes[n]) for one in passes for row in one.rows for n in row)


def path(tree, node):
    found = []
    while node != TOP:
        found.append(node)
        node = tree.nodes[node].parent
    return found


@given(ROWS)
def test_a_tree_has_each_token_once(rows):
    assert Tree(rows).size == unique_tokens(rows)


@given(ROWS)
def test_a_row_is_the_path_to_its_end(rows):
    tree = Tree(rows)
    assert [tree.path(end) for end in tree.ends] == rows


@given(ROWS, st.integers(0, 11))
def test_stretches_are_the_positions_of_a_row(rows, first):
    tree = Tree(rows)
    for index, row in enumerate(rows):
        positions = [
            position for _, *span in tree.stretches(index, first) for position in range(*span)
        ]
        assert sorted(positions) == list(range(first, len(row)))


@given(ROWS, BUDGETS, st.integers(1, 4))
def test_a_plan_computes_every_node(rows, budget, most_rows):
    tree = Tree(rows)
    passes = plan(tree, budget, most_rows)
    assert {n for one in passes for row in one.rows for n in row} == set(range(len(tree.nodes)))


@given(ROWS, BUDGETS, st.integers(1, 4))
def test_what_a_pass_needs_is_in_it_or_was_kept(rows, budget, most_rows):
    tree, kept = Tree(rows), {TOP}
    for one in plan(tree, budget, most_rows):
        assert one.prefix in kept
        before = set(path(tree, one.prefix))
        for row in one.rows:
            for place, node in enumerate(row):
                assert set(path(tree, node)) <= before | set(row[: place + 1])
        if one.keep:
            kept.add(one.rows[0][-1])


@given(ROWS, BUDGETS)
def test_little_is_computed_twice(rows, budget):
    tree = Tree(rows)
    twice = computed(tree, plan(tree, budget, 4)) - tree.size
    assert twice <= tree.size * max(map(len, rows)) / WORTH_KEEPING


@given(ROWS, BUDGETS, st.integers(1, 4))
def test_only_a_single_row_may_pass_the_budget(rows, budget, most_rows):
    tree = Tree(rows)
    for one in [*plan(tree, budget, most_rows), *plain(tree, budget, most_rows)]:
        widths = [sum(len(tree.nodes[node]) for node in row) for row in one.rows]
        branches = any(
            tree.nodes[node].parent != above
            for row in one.rows
            for above, node in zip((one.prefix, *row), row, strict=False)
        )
        assert len(one.rows) * max(widths) <= budget or not (branches or len(one.rows) > 1)
        assert len(one.rows) <= most_rows


@given(ROWS, BUDGETS)
def test_the_plain_way_reads_every_row_from_its_beginning(rows, budget):
    tree = Tree(rows)
    read = [tree.path(row[-1]) for one in plain(tree, budget, 4) for row in one.rows]
    assert all(any(long[: len(row)] == row for long in read) for row in rows)


def test_a_shared_header_is_kept_and_computed_once():
    header = tuple(range(100))
    tree = Tree(sorted((*header, 200 + n, 300 + n) for n in range(50)))
    first, *others = plan(tree, 60, 8)
    assert first.keep and tree.tokens(first.rows[0][0]) == header
    assert computed(tree, [first, *others]) == tree.size == 200


def test_a_first_token_that_all_share_is_not_worth_a_pass():
    tree = Tree(sorted((1, *range(n, n + 200)) for n in range(10, 20)))
    assert not any(one.keep or one.prefix != TOP for one in plan(tree, 400, 8))


def test_what_is_at_hand_is_not_computed():
    tree = Tree([(1, 2, 3), (1, 2, 3, 4), (1, 2, 3, 5)])
    top = tree.ends[0]
    passes = plan(tree, 60, 8, frozenset({top}))
    assert computed(tree, passes) == 2 and {one.prefix for one in passes} == {top}


@given(*[st.lists(st.integers(0, 1), max_size=20)] * 2)
def test_common_prefixes_are_as_long_as_can_be(one, other):
    length = common_prefix(one, other)
    assert one[:length] == other[:length]
    assert len(one) == length or len(other) == length or one[length] != other[length]
