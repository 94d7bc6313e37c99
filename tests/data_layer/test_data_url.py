import hashlib

import pytest

from evalkit.data.url import fetch_url, shown
from evalkit.errors import DataError

SHA256 = hashlib.sha256(b'[{"a": 1}]').hexdigest()


def test_a_file_is_fetched_once(site, tmp_path):
    paths = {fetch_url(f"{site.url}/rows.json", SHA256, tmp_path) for _ in range(2)}
    assert len(paths) == 1 and site.asked == ["/rows.json"]


def test_a_cached_file_serves_offline(site, tmp_path):
    fetch_url(f"{site.url}/rows.json", SHA256, tmp_path)
    path = fetch_url(f"{site.url}/rows.json", SHA256, tmp_path, offline=True)
    assert path.read_bytes() == b'[{"a": 1}]'


def test_a_redirect_is_followed(site, tmp_path):
    assert fetch_url(f"{site.url}/moved.json", SHA256, tmp_path).is_file()


def test_a_redirect_to_a_local_file_is_refused(site, tmp_path):
    with pytest.raises(DataError):
        fetch_url(f"{site.url}/escape.json", SHA256, tmp_path)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://h/x", "x.json", "data:,x"])
def test_only_web_addresses_are_fetched(tmp_path, url):
    with pytest.raises(DataError, match="not an http or https address"):
        fetch_url(url, SHA256, tmp_path)


def test_a_wrong_checksum_is_refused_and_nothing_is_kept(site, tmp_path):
    with pytest.raises(DataError, match="the pinned checksum is wrong or the file changed"):
        fetch_url(f"{site.url}/rows.json", "0" * 64, tmp_path)
    assert [p for p in tmp_path.rglob("*") if p.is_file() and p.suffix != ".lock"] == []


def test_a_checksum_that_is_none_is_refused(tmp_path):
    with pytest.raises(DataError, match="not a SHA-256"):
        fetch_url("https://example.org/x", "../../x", tmp_path)


def test_a_file_that_is_too_long_is_cut_off(site, tmp_path):
    with pytest.raises(DataError, match="longer than 4 bytes"):
        fetch_url(f"{site.url}/rows.json", SHA256, tmp_path, max_bytes=4)


def test_a_missing_file_is_said_without_the_query(site, tmp_path):
    with pytest.raises(DataError, match="answered 404") as caught:
        fetch_url(f"{site.url}/none.json?token=secret-word", SHA256, tmp_path)
    assert "secret-word" not in str(caught.value)


def test_offline_says_where_to_put_the_file(tmp_path):
    with pytest.raises(DataError, match="copy the file to"):
        fetch_url("https://example.org/x.json", SHA256, tmp_path, offline=True)


def test_a_server_that_is_down_is_said(tmp_path, site):
    site.server.shutdown()
    site.server.server_close()
    with pytest.raises(DataError, match="cannot be reached"):
        fetch_url(f"{site.url}/rows.json", SHA256, tmp_path)


def test_a_shown_url_holds_no_secret():
    assert shown("https://user:word@h.org:80/a/b?x=1#y") == "https://h.org:80/a/b"
