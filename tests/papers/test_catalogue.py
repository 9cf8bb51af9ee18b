"""Every claim of the catalogue, with its mutant and its control, at the quick preset."""

import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from jaxflow.claims import catalogue

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


@pytest.fixture(scope="module")
def judged():
    """What `jaxflow verify` left, and the folder it is in.

    Judging takes minutes on both cores: `.ci/run` does it once, before the tests, which only read.
    """
    if "JAXFLOW_VERDICTS" not in os.environ:
        pytest.skip(
            "The catalogue is judged by .ci/run; or run `jaxflow verify --json V/out.json --report "
            "V/report --figures V/figures` and set JAXFLOW_VERDICTS=V/out.json."
        )
    path = Path(os.environ["JAXFLOW_VERDICTS"])
    return json.loads(path.read_text()), path.parent


def test_every_claim_is_judged_and_comes_out_as_expected(judged):
    verdicts = {v["id"]: v for v in judged[0]["verdicts"]}
    assert set(verdicts) == set(catalogue())
    wrong = {id: v["reason"] for id, v in verdicts.items() if v["holds"] is not v["expected"]}
    assert not wrong


def test_every_check_can_fail_and_can_pass(judged):
    for verdict in judged[0]["verdicts"]:
        near = verdict["mutant"], verdict["control"]
        assert any(near), verdict["id"]
        for variant, wanted in zip(near, (False, True), strict=True):
            assert variant is None or variant["holds"] is wanted, verdict["id"]


def test_every_verdict_says_how_fine_it_is_and_on_how_many_trials(judged):
    for verdict in judged[0]["verdicts"]:
        if verdict["holds"] is None:
            continue
        assert verdict["resolution"] is not None, verdict["id"]
        assert verdict["resolution"]["words"]
        assert verdict["trajectories"] >= 8 or not verdict["holds"], verdict["id"]
        for variant in filter(None, (verdict["mutant"], verdict["control"])):
            assert variant["statement"] != verdict["statement"], verdict["id"]


def test_what_is_wrong_in_print_comes_out_false_beside_what_is_right(judged):
    holds = {v["id"]: v["holds"] for v in judged[0]["verdicts"]}
    for printed, right in (
        ("min2023.two_layers_printed", "min2023.two_layers"),
        ("min2023.balanced_printed", "min2023.balanced"),
        ("xu2023.alpha_printed", "xu2023.alpha"),
        ("min2021.concentration_step", "min2021.orthogonality"),
        ("min2021.residual_step", "min2021.bias"),
    ):
        assert (holds[printed], holds[right]) == (False, True)
    assert holds["min2021.bias_at_paper_widths"] is None


def test_verdicts_say_what_they_are_made_of(judged):
    for verdict in judged[0]["verdicts"]:
        assert verdict["source"]
        assert verdict["provenance"] in ("read", "derived", "second-hand", "memory")
        assert verdict["reason"]
        assert verdict["trajectories"] > 0


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.ids, self.links, self.open = set(), set(), []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids.add(found.get("id"))
        self.links.update(found.get(name) for name in ("href", "src", "xlink:href"))
        if tag not in ("meta", "br", "img", "link", "path", "use", "rect", "g"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in self.open:
            while self.open.pop() != tag:
                pass


def test_the_report_stands_alone(judged):
    data, folder = judged
    text = (folder / "report" / "index.html").read_text()
    page = Page()
    page.feed(text)
    assert page.open == []
    assert {v["id"] for v in data["verdicts"]} <= page.ids
    assert all(link.startswith("#") for link in page.links - {None})
    # Nothing is loaded: addresses only name vocabularies.
    for address in re.findall(r'https?://[^"\s<]+', text):
        assert address.startswith(
            ("http://www.w3.org/", "http://purl.org/", "http://creativecommons")
        )
    assert "<script" not in text
    assert json.loads((folder / "report" / "verdicts.json").read_text())["verdicts"]
    assert (folder / "figures" / "min2021.rate.png").stat().st_size > 5_000


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [500, 1200])
def test_the_report_fits_a_phone_and_a_desk(judged, width, tmp_path):
    page = judged[1] / "report" / "index.html"
    probe = tmp_path / "probe.html"
    script = (
        "<script>document.title = document.documentElement.scrollWidth + ' ' + "
        "document.querySelectorAll('article svg').length</script></body>"
    )
    probe.write_text(page.read_text().replace("</body>", script))
    command = [
        CHROMIUM,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path}",
    ]
    options = ["--virtual-time-budget=10000", "--dump-dom"]
    done = subprocess.run(
        [*command, f"--window-size={width},900", *options, probe.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    wide, figures = re.search(r"<title>(\d+) (\d+)</title>", done.stdout).groups()
    assert int(wide) <= width
    assert int(figures) > 30
    shot = tmp_path / "page.png"
    subprocess.run(
        [*command, f"--window-size={width},900", f"--screenshot={shot}", page.as_uri()],
        capture_output=True,
        timeout=120,
        check=True,
    )
    assert shot.stat().st_size > 20_000
