from __future__ import annotations

import io
import logging
import sys

import pytest

from cellclf.utils.log import is_shown, logger, showing


def plain_program(monkeypatch):
    """Undo within a test what pytest sets up for each: handlers of the root logger, and its own stderr."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    return sys.stderr


@pytest.mark.parametrize(("show", "text"), [(True, "a line\n"), (False, ""), (None, "")])
def test_lines_are_shown_where_asked_and_off_a_terminal_only_then(monkeypatch, show, text):
    screen = plain_program(monkeypatch)
    with showing(show) as shown:
        logger.info("a line")
        logger.debug("a detail")
    logger.info("after")
    assert screen.getvalue() == text and shown is bool(text)
    assert not logger.handlers and logger.level == logging.NOTSET


def test_on_a_terminal_none_means_yes(monkeypatch):
    screen = plain_program(monkeypatch)
    monkeypatch.setattr(screen, "isatty", lambda: True, raising=False)
    assert is_shown(None) and not is_shown(False)


def test_blocks_within_blocks_show_a_line_once_and_an_error_ends_them(monkeypatch):
    screen = plain_program(monkeypatch)
    with pytest.raises(KeyError), showing(True), showing(True), showing(None):
        logger.info("a line")
        raise KeyError
    logger.info("after")
    assert screen.getvalue() == "a line\n" and not logger.handlers


def test_a_program_that_has_set_up_logging_gets_the_lines_itself(monkeypatch, caplog):
    screen = plain_program(monkeypatch)
    logging.getLogger().addHandler(caplog.handler)
    with showing(True):
        logger.info("a line")
    with showing(False):
        logger.info("another")
    assert [record.message for record in caplog.records] == ["a line"] and screen.getvalue() == ""


def test_without_a_console_nothing_is_written(monkeypatch):
    plain_program(monkeypatch)
    monkeypatch.setattr(sys, "stderr", None)
    assert not is_shown(None)
    with showing(True):
        logger.info("a line")
