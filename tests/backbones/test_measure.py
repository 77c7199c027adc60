"""Backbones are measured in processes of their own: rows come one by one, and a failure ends none but its own."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from helpers.command import run

from cellclf.backbones import Speed, Speeds, measure, measure_backbones
from cellclf.errors import CellclfError

ROW = '{"backbone": "%s", "size": %d, "batch_size": 2, "train": 3.25, "predict": 12.4, "memory": 2000000}'


def child(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Replace the program of the measuring process by one that ends in another way."""
    monkeypatch.setattr(measure, "_CHILD", "import json, os, signal, sys, time\njob = json.loads(sys.argv[2])\n" + code)


def test_a_network_is_measured_at_each_size_from_the_smallest_on(tmp_path: Path) -> None:
    words = ["--size", 48, "--size", 4, "--size", 24, "--batch-size", 2, "--seconds", 0, "--json"]
    out = tmp_path / "speeds.md"
    done = run("backbones", "residual", "--measure", *words, "--param", "filters=[16,16,16]", "--out", out)
    assert done.exit_code == 0, done.output
    small, middle, large = json.loads(done.stdout)["backbones"]
    assert small["size"] == 4 and small["train"] is None and "images of 4x4 are too small" in small["error"]
    assert [middle["size"], large["size"]] == [24, 48]
    for row in (middle, large):
        assert row["train"] > 0 and row["predict"] > 0 and not row["error"]
        assert row["parameters"] == middle["parameters"] > 1000
        assert row["memory"] is None or 0 < row["memory"] < 4e9
    assert out.read_text().count("| residual |") == 3


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("sys.exit('no room')", "no room"),
        ("raise ValueError('a\\nb')", "b"),
        ("os._exit(5)", "exit code 5"),
        pytest.param(
            "os.kill(os.getpid(), signal.SIGKILL)",
            "signal 9, as it is where memory does not suffice",
            marks=pytest.mark.skipif(os.name == "nt", reason="no signals"),
        ),
    ],
)
def test_a_process_that_dies_ends_its_own_network_alone(
    monkeypatch: pytest.MonkeyPatch, code: str, reason: str
) -> None:
    lines = f"if job['name'] == 'inception':\n    {code}\nprint('{ROW}' % (job['name'], 32))"
    child(monkeypatch, lines)
    rows = list(measure_backbones(["inception", "sequential"], sizes=[32, 64]))
    assert [(row.backbone, row.size) for row in rows] == [("inception", 32), ("sequential", 32), ("sequential", 64)]
    assert reason in rows[0].error and not rows[1].error
    assert "exit code 0" in rows[2].error  # it has stopped short


def test_no_process_is_left_when_the_caller_has_seen_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code = (
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\nprint('{ROW}' % (job['name'], 32), flush=True)"
    )
    child(monkeypatch, f"{code}\ntime.sleep(60)")
    rows = measure_backbones(["sequential"], sizes=[32, 64])
    assert next(rows) == Speed(backbone="sequential", size=32, batch_size=2, train=3.25, predict=12.4, memory=2_000_000)
    rows.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


@pytest.mark.skipif(os.name == "nt", reason="no signals")
def test_ctrl_c_leaves_the_rows_that_are_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    child(
        monkeypatch,
        f"print('{ROW}' % (job['name'], 32), flush=True)\ntime.sleep(0.5)\n"
        "os.kill(os.getppid(), signal.SIGINT)\ntime.sleep(60)",
    )
    started = time.monotonic()
    out = tmp_path / "rows.json"
    done = run("backbones", "sequential", "--measure", "--size", 32, "--size", 64, "--out", out)
    assert time.monotonic() - started < 30
    assert done.exit_code == 130 and "1 of 2 rows were measured" in done.stderr
    assert done.stdout.splitlines()[1].split() == ["sequential", "-", "32", "px", "3.2", "12", "0.00", "GB"]
    assert [row["size"] for row in json.loads(out.read_text())["backbones"]] == [32]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"names": ["resnet51"]}, "resnet50"),
        ({"names": []}, "names"),
        ({"names": ["mobilenet"], "params": {"beta": 1}}, "beta"),
        ({"params": {"alpha": 0.5}}, "alpha"),
        ({"sizes": []}, "sizes"),
        ({"sizes": [0]}, "sizes"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"seconds": -1}, "seconds=-1"),
        ({"seconds": float("nan")}, "seconds"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_the_first_row(arguments: dict, message: str) -> None:
    with pytest.raises(CellclfError, match=message):
        measure_backbones(**arguments)


def test_options_of_measure_need_it_and_names_choose_what_is_listed() -> None:
    done = run("backbones", "mobilenet", "--size", 96)
    assert done.exit_code == 2 and "expected --measure" in done.output
    assert run("backbones", "mobilenet", "residual").stdout.count("smallest image") == 2
    (entry,) = json.loads(run("backbones", "mobilenet", "--json").stdout)
    assert entry["params"] == {"alpha": 1.0} and entry["weights"] == ["imagenet"]
    assert run("backbones", "mobilenett").exit_code == 1


def test_a_table_says_why_a_row_is_empty() -> None:
    rows = [
        Speed(
            backbone="a", size=96, batch_size=4, parameters=3_228_864, train=9.96, predict=123.4, memory=1_250_000_000
        ),
        Speed(backbone="long name", size=224, batch_size=4, error="too small"),
    ]
    table = str(Speeds(rows)).splitlines()
    assert table[1].split() == ["a", "3.2", "M", "96", "px", "10", "123", "1.25", "GB"]
    assert table[-1] == "long name, 224 px: too small"
    assert Speeds(rows).to_dict()["backbones"][0]["predict"] == 123.4
