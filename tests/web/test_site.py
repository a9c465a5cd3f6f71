"""The static site, from a plain web server, in the real Chromium."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from service.site import write_site
from tests.conftest import PICTURES, ROOT
from tests.web.conftest import Opened, choose, example, kept, painted, plain_web_server, ready


@pytest.fixture
def site(models: Path, tmp_path: Path) -> Iterator[str]:
    """Below a folder, as object stores and code hosts have them."""
    assert write_site(models, tmp_path / "painting") == ["monet2photo", "photo2monet"]
    with plain_web_server(tmp_path) as address:
        yield f"{address}painting/"


@pytest.mark.slow
def test_plain_files_paint_with_no_service_behind_them_and_then_without_a_connection(opened: Opened, site: str) -> None:
    with opened(site, place="auto") as page:
        expect(page.get_by_role("link", name="For programs: the API")).to_be_hidden()
        example(page)
        painted(page)
        expect(page.locator("#painting-state")).to_contain_text("Painted on this device in")
        page.evaluate("navigator.serviceWorker.ready.then(() => true)")
        page.context.set_offline(True)
        page.reload()
        ready(page)
        assert page.evaluate("crossOriginIsolated")  # the service worker says what a plain web server does not
        choose(page, PICTURES / "chelsea.jpg")
        expect(page.locator("#tally")).to_have_text("2 of 2 painted")
        painted(page)
        kept(page, "site-offline")
        page.context.set_offline(False)


def test_without_a_bundle_the_command_says_so_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    command = [sys.executable, "-m", "service.cli", "site", "--models", tmp_path / "empty", "--output", tmp_path / "site"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"error: there is no bundle in {tmp_path / 'empty'}: export one there, or name another folder\n"
