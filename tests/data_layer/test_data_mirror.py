from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.data.mirror import Mirror, config_of_file, dataset_folder, folder_name, hub_file
from evalkit.errors import DataError, UnknownNameError


def is_inside(path: PurePosixPath) -> bool:
    return not path.is_absolute() and ".." not in path.parts and "\0" not in str(path)


NASTY = st.text("./\\a-\0~", max_size=12) | st.text(max_size=12)


@given(name=NASTY)
def test_a_dataset_name_never_leads_out_of_the_mirror(name):
    try:
        folder = dataset_folder(name)
    except DataError:
        return
    assert is_inside(folder)


@given(name=NASTY)
def test_a_config_name_is_one_folder_or_refused(name):
    try:
        folder = folder_name(name)
    except DataError:
        return
    assert is_inside(PurePosixPath(folder)) and len(PurePosixPath(folder).parts) == 1


@given(dataset=NASTY, config=NASTY, split=NASTY)
def test_nothing_outside_the_mirror_is_ever_found(tmp_path_factory, dataset, config, split):
    root = tmp_path_factory.getbasetemp() / "property" / "mirror"
    (root / "hub").mkdir(parents=True, exist_ok=True)
    try:
        assert Mirror(root).find(dataset, config, split) is None
    except DataError:
        return


def test_a_split_is_found(mirror_root):
    found = Mirror(mirror_root).find("acme/sums", "main", "test")
    assert found == mirror_root / "hub/acme/sums/main/test.jsonl.gz"


def test_an_alias_shares_the_files(mirror_root):
    mirror = Mirror(mirror_root)
    assert mirror.find("other/sums", "main", "test") == mirror.find("acme/sums", "main", "test")


def test_train_comes_before_test(mirror_root):
    assert list(Mirror(mirror_root).splits("acme/sums", "main")) == ["train", "test"]


def test_no_config_is_the_default_one(mirror_root):
    assert Mirror(mirror_root).config_of("acme/solo", None) == "default"


def test_no_config_is_refused_where_there_are_several(mirror_root):
    with pytest.raises(DataError, match="needs a config name: one of hard, main"):
        Mirror(mirror_root).config_of("acme/sums", None)


@pytest.mark.parametrize(
    "url",
    [
        "hf://datasets/acme/files/data/two_digit.jsonl",
        "hf://datasets/acme/files@main/two_digit.jsonl",
        "https://huggingface.co/datasets/acme/files/resolve/main/data/two_digit.jsonl",
    ],
)
def test_a_data_file_on_the_hub_has_a_stand_in(mirror_root, url):
    assert Mirror(mirror_root).find_data_file(url, "validation") is not None


@pytest.mark.parametrize("url", ["https://example.org/datasets/a/b/resolve/main/x.json", "x.json"])
def test_a_url_elsewhere_is_no_file_of_the_hub(url):
    assert hub_file(url) is None


def test_files_of_one_name_in_two_folders_are_told_apart():
    assert config_of_file("gu/test/0000.parquet") != config_of_file("hi/test/0000.parquet")


def test_an_altered_file_is_refused(mirror_root):
    mirror, path = Mirror(mirror_root), mirror_root / "hub/acme/sums/main/test.jsonl.gz"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(DataError, match="was altered"):
        mirror.verified(path)


def test_a_changed_manifest_is_read_again(mirror_root):
    mirror = Mirror(mirror_root)
    before = len(mirror.entries)
    with (mirror_root / "MANIFEST.jsonl").open("a") as manifest:
        manifest.write('{"path": "hub/x/y/default/test.jsonl.gz", "sha256": ""}\n')
    assert len(mirror.entries) == before + 1


def test_a_bad_line_of_the_manifest_is_named(mirror_root):
    (mirror_root / "MANIFEST.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match=r"MANIFEST\.jsonl:1"):
        _ = Mirror(mirror_root).entries


def test_a_raw_file_is_found(mirror_root):
    assert Mirror(mirror_root).raw("riddles", "all").is_file()


def test_an_unknown_raw_set_offers_the_nearest(mirror_root):
    with pytest.raises(UnknownNameError, match="Did you mean 'riddles'"):
        Mirror(mirror_root).raw("ridles", "all")


@pytest.mark.parametrize(("made", "message"), [(False, "does not exist"), (True, "not a mirror")])
def test_a_folder_that_is_no_mirror_is_refused(tmp_path: Path, made, message):
    if made:
        (tmp_path / "data").mkdir()
    with pytest.raises(DataError, match=message):
        Mirror(tmp_path / "data")
