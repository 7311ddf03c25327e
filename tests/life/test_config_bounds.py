"""A file that a program blew up is refused at once, with what is too much."""

from __future__ import annotations

from pathlib import Path

import pytest

from pointsman.config.load import load, read
from pointsman.errors import ConfigError

HEAD = "providers:\n  oa: {url: 'http://127.0.0.1:9/v1', dialect: openai}\n"
ONE = "deployments:\n  - {model: oa/m, price: free, tier: local}\n"


def test_a_file_over_a_mebibyte_is_refused_without_reading_it_all(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(HEAD + ONE + "# é\n" * (1024 * 1024))
    with pytest.raises(ConfigError, match="the file is over 1024 KiB"):
        load(path, {})


@pytest.mark.slow
def test_more_deployments_than_the_cap_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    rows = "".join(f"  - {{model: oa/{n}}}\n" for n in range(10_001))
    path.write_text(f"{HEAD}deployments:\n{rows}")
    with pytest.raises(ConfigError, match="deployments: 10001 entries; keep to 10000"):
        load(path, {})


def test_what_else_was_read_is_known_also_after_an_error(tmp_path: Path) -> None:
    path, key, files = tmp_path / "p.yaml", tmp_path / "key", set[Path]()
    path.write_text(HEAD.replace("openai}", "openai, keys: ['file:key', 'file:later']}") + ONE)
    key.write_text("sk-1")
    with pytest.raises(ConfigError, match="there is no file"):
        read(path, {}, files=files)
    assert files == {key, tmp_path / "later"}
    (tmp_path / "later").write_text("sk-2")
    assert read(path, {}).files == files
