"""What names stand for: leaves, once each, and groups."""

import pytest

from evalkit.errors import ConfigError, UnknownNameError
from evalkit.tasks.lm_eval.selection import select
from evalkit.tasks.protocol import GroupMetric


def leaves(selection):
    return [ref.name for ref in selection.tasks]


def test_a_task_is_one_leaf(definitions):
    chosen = select(["tiny_facts"], [definitions])
    assert (leaves(chosen), chosen.groups) == (["tiny_facts"], ())


def test_a_tag_is_its_tasks_and_no_group(definitions):
    chosen = select(["tiny_tag"], [definitions])
    assert (leaves(chosen), chosen.groups) == (["tiny_listed", "tiny_mutual"], ())


def test_a_pattern_is_whatever_it_matches(definitions):
    assert leaves(select(["tiny_p*es"], [definitions])) == ["tiny_pages"]


def test_a_path_is_the_task_in_the_file(definitions):
    assert leaves(select([str(definitions / "pages.yaml")])) == ["tiny_pages"]


def test_a_leaf_named_twice_is_there_once(definitions):
    assert leaves(select(["tiny_facts", "tiny_facts"], [definitions])) == ["tiny_facts"]


def test_groups_hold_leaves_of_all_levels_outer_first(definitions):
    chosen = select(["tiny_group"], [definitions])
    assert [g.name for g in chosen.groups] == ["tiny_group", "tiny_group::pairs_only"]
    assert chosen.groups[0].members == (
        "tiny_facts",
        "tiny_pairs",
        "tiny_pronouns",
        "tiny_listed",
        "tiny_mutual",
        "tiny_group::inlined",
    )
    assert chosen.groups[1].members == ("tiny_pairs", "tiny_pronouns")


def test_a_groups_title_version_and_metrics_are_read(definitions):
    group = select(["tiny_group"], [definitions]).groups[0]
    assert (group.title, group.version) == ("Tiny", "2.0")
    assert group.metrics == (
        GroupMetric(metric="acc"),
        GroupMetric(metric="acc_norm", filters=("none",), weight_by_size=False),
    )


def test_a_groups_overrides_are_on_its_leaf(definitions):
    [facts] = [r for r in select(["tiny_group"], [definitions]).tasks if r.name == "tiny_facts"]
    assert facts.overrides == {"num_fewshot": 3}


def test_a_task_alone_and_overridden_in_a_group_are_two_leaves(definitions):
    chosen = select(["tiny_facts", "tiny_group"], [definitions])
    assert {"tiny_facts", "tiny_group::tiny_facts"} <= set(leaves(chosen))
    assert chosen.groups[0].members[0] == "tiny_group::tiny_facts"


def test_members_of_a_group_named_with_overrides_keep_their_names():
    chosen = select(["openllm"])
    assert "mmlu_anatomy" in leaves(chosen)
    assert all(r.overrides["num_fewshot"] == 5 for r in chosen.tasks if "mmlu" in r.name)


def test_mmlu_is_57_tasks_in_five_groups():
    chosen = select(["mmlu"])
    assert (len(chosen.tasks), len(chosen.groups)) == (57, 5)


def test_a_member_that_nothing_defines_is_refused(tmp_path):
    (tmp_path / "g.yaml").write_text("group: g\ntask:\n  - no_such_member\n")
    with pytest.raises(UnknownNameError, match="no_such_member"):
        select(["g"], [tmp_path])


def test_a_group_that_contains_itself_is_refused(tmp_path):
    (tmp_path / "g.yaml").write_text("group: g\ntask:\n  - g\n")
    with pytest.raises(ConfigError, match="contains itself"):
        select(["g"], [tmp_path])


def test_an_unknown_name_is_refused_with_the_nearest(definitions):
    with pytest.raises(UnknownNameError, match="tiny_facts"):
        select(["tiny_fact"], [definitions])
