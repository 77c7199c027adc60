"""What each section of a report shows, as plain data for the template; None leaves a section out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cellclf.evaluation.intervals import Estimate
from cellclf.evaluation.metrics import Report
from cellclf.evaluation.scores import scores_in
from cellclf.evaluation.significance import points
from cellclf.pages.figures import CURVES, curves_in, inline_svg, number, plot_curve, restored
from cellclf.pages.template import count, date_text, duration, percent, plain, thumbnails
from cellclf.reporting.confidence import confidence_view
from cellclf.reporting.heatmaps import heatmaps
from cellclf.reporting.matrix import matrix_rows, panels
from cellclf.reporting.removals import removal_view
from cellclf.reporting.robustness import robustness_views
from cellclf.reporting.score_tables import in_order, left_out_lines, score_rows, unit_line
from cellclf.reporting.verdict import Verdict, judge

if TYPE_CHECKING:
    from cellclf.data.image_set import ImageSet
    from cellclf.data.split import Parts
    from cellclf.evaluation.forgetting import Forgetting
    from cellclf.pages.figures import History
    from cellclf.reporting.content import Augments, PageContent
    from cellclf.runs.run import Run

View = dict[str, Any]


def sections(content: PageContent) -> dict[str, Any]:
    """Turn the content of a page into the data of its template.

    Args:
        content: What the page shows.

    Returns:
        Name of a section -> its data, None for an empty one.
    """
    found = judge(content)
    lead = None if found is None else found.headline
    ordered = in_order(content.evaluations, lead)
    return {
        "overview": _overview(content, found),
        "incoming": _incoming(content.cells_before, content.cells_after),
        "removals": [
            removal_view(name, selection, content.cells_before) for name, selection in content.removals.items()
        ],
        "split": _split(content.parts, content.cut),
        "augmented": _augmented(content.augmenter, content.parts.train if content.parts else content.cells_after),
        "training": _training(content.history),
        "results": _results(content, lead),
        "evaluated": [
            _evaluated(
                k,
                name,
                *content.evaluations[name],
                full=name == lead,
                run=content.run if name == lead else None,
            )
            for k, name in enumerate(ordered)
            if name != "train" or name == lead
        ],
        "home": _home(content.home),
        "map": _map(content),
        "robustness": robustness_views(content.robustness),
        "confidence": confidence_view(
            content.evaluations, lead, content.confidence, content.domain_shifts, content.run
        ),
        "cost": _cost(content),
        "rerun": _rerun(content),
    }


def _overview(content: PageContent, found: Verdict | None) -> View:
    tiles: list[tuple[str, str]] = []
    if found is not None:
        report, worst = content.evaluations[found.headline][0], found.worst
        tiles = [(percent(report.macro_f1), f"macro F1 on {found.headline}, {_range(report.macro_f1)}")]
        if worst is not None and worst.change is not None:
            value = worst.change.difference
            words = f"points of macro F1 on {worst.name} against {worst.home}, {_range(value)}"
            tiles.append((f"{100 * value:+.1f}", words))
        tiles += [
            (percent(report.balanced_accuracy), f"balanced accuracy, {_range(report.balanced_accuracy)}"),
            (percent(report.weakest.f1), f"F1 of the weakest class, {plain(report.weakest.name)}"),
        ]
    if content.cells_before is not None:
        text, words = count(len(content.cells_before)), "images were read"
        if content.cells_after is not None:
            words += f", {count(len(content.cells_after))} were used"
        tiles.append((text, words))
    if spent := _total(content):
        tiles.append((duration(spent), "total time"))
    return {
        "tiles": tiles,
        "date": date_text(content.manifest),
        "sentences": found.sentences if found else (),
        "commands": found.commands if found else (),
        "lines": found.lines if found else (),
    }


def _range(estimate: Estimate) -> str:
    return f"{100 * estimate.low:.1f} to {100 * estimate.high:.1f}"


def _incoming(before: ImageSet | None, after: ImageSet | None) -> View | None:
    if before is None:
        return None
    heights, widths = before.sizes.min(0).tolist(), before.sizes.max(0).tolist()
    one = heights == widths
    counts, left = before.counts(), after.counts() if after is not None else {}
    most = max([*counts.values(), *left.values()], default=1) or 1
    shown = after if after is not None else before
    return {
        "n": len(before),
        "shape": f"{before.image_shape[0]} \u00d7 {before.image_shape[1]} pixels",
        "sizes": (
            f"all {heights[0]} \u00d7 {heights[1]}"
            if one
            else f"{heights[0]} \u00d7 {heights[1]} to {widths[0]} \u00d7 {widths[1]}"
        ),
        "resized": not one or heights != list(before.image_shape[:2]),
        "notices": before.notices,
        "skipped": before.skipped,
        "groups": None if before.groups is None else len(np.unique(before.groups)),
        "domains": [] if before.domains is None else list(dict.fromkeys(before.domains.tolist())),
        "bars": [
            {
                "name": name,
                "before": n,
                "after": left.get(name) if left else None,
                "before_share": n / most,
                "after_share": left.get(name, 0) / most,
            }
            for name, n in counts.items()
        ],
        "imbalance": _imbalance(left or counts),
        "classes": _examples(shown),
    }


def _imbalance(counts: Mapping[str, int]) -> str:
    if len(counts) < 2 or not min(counts.values()):
        empty = [plain(name) for name, n in counts.items() if not n]
        return f"Without any image: {', '.join(empty)}." if empty else ""
    small, large = min(counts, key=lambda c: counts[c]), max(counts, key=lambda c: counts[c])
    ratio = counts[large] / counts[small]
    if ratio < 1.05:
        return f"All classes have {'the same number' if ratio == 1 else 'nearly the same number'} of images."
    text = f"There are {ratio:.1f} times as many images of {plain(large)} as of {plain(small)}"
    if ratio < 1.5:
        return f"{text}: well balanced."
    return f"{text}: accuracy would mostly reflect the large classes, so macro F1 comes first here."


def _examples(cells: ImageSet) -> list[View]:
    """Some images of each class, always the same ones."""
    if cells.labels is None:
        spread = np.unique(np.linspace(0, len(cells) - 1, min(24, len(cells))).astype(int))
        return [{"name": "images", "images": thumbnails(cells, spread.tolist())}]
    each = max(2, min(8, 64 // max(1, cells.num_classes)))
    rng = np.random.default_rng(0)
    found = []
    for k, name in enumerate(cells.class_names[:24]):
        rows = np.flatnonzero(cells.labels == k)
        chosen = np.sort(rng.permutation(rows)[:each]).tolist()
        if chosen:
            found.append({"name": name, "images": thumbnails(cells, chosen)})
    return found


def _split(parts: Parts | None, cut: str) -> View | None:
    if parts is None:
        return None
    named = {"train": parts.train, "val": parts.val, "test": parts.test}
    named = {name: part for name, part in named.items() if len(part)}
    classes = next(iter(named.values())).class_names
    crossing = {
        "id": _crossing([part.ids for part in named.values()]),
        "duplicate group": _crossing([part.clusters for part in named.values()]),
        "patient or slide": _crossing([part.groups for part in named.values()]),
    }
    return {
        "cut": f"{cut[:1].upper()}{cut[1:]}." if cut else "",
        "names": list(named),
        "rows": [(name, [part.counts().get(name, 0) for part in named.values()]) for name in classes],
        "totals": [len(part) for part in named.values()],
        "shares": [len(part) / max(1, sum(map(len, named.values()))) for part in named.values()],
        "crossing": {kind: n for kind, n in crossing.items() if n},
        "checked": [kind for kind, n in crossing.items() if n == 0],
        "has_groups": parts.train.groups is not None,
        "has_clusters": parts.train.clusters is not None,
    }


def _crossing(columns: list[Any]) -> int | None:
    """Count the values that are in more than one part; None if the parts have no such column."""
    if any(column is None for column in columns):
        return None
    values = np.concatenate([np.unique(column) for column in columns])
    return int(len(values) - len(np.unique(values)))


def _augmented(augmenter: Augments | None, cells: ImageSet | None) -> View | None:
    if augmenter is None or cells is None or not len(cells):
        return None
    labels = np.zeros(len(cells), int) if cells.labels is None else cells.labels
    rows = np.unique(labels, return_index=True)[1][:8]
    if len(rows) == 1:
        rows = np.arange(min(4, len(cells)))
    chosen, versions = cells.subset(rows), 6
    lines = [[image] for image in thumbnails(chosen, range(len(chosen)))]
    from cellclf.data.image_set import ImageSet

    for epoch in range(versions):
        made = np.asarray(augmenter(chosen.images, [str(i) for i in chosen.ids], epoch=epoch))
        changed = ImageSet(np.clip(made, 0, 255).astype(np.uint8), ids=chosen.ids)
        for line, image in zip(lines, thumbnails(changed, range(len(changed))), strict=True):
            line.append(image)
    return {"lines": lines, "versions": versions}


def _training(history: History) -> View | None:
    if not history:
        return None
    kept = restored(history)
    named = curves_in(history)
    stages: dict[Any, int] = {}
    for row in history:
        stages[row.get("stage", 1)] = stages.get(row.get("stage", 1), 0) + 1
    return {
        "curves": [
            {"name": name, "svg": inline_svg(plot_curve(history, name), f"{CURVES[name][2]} by epoch", f"curve{k}n")}
            for k, name in enumerate(named)
        ],
        "stages": stages,
        "epochs": len(history),
        "kept": None if kept is None else kept + 1,
        "kept_row": {} if kept is None else _kept(history[kept]),
    }


def _kept(row: Mapping[str, Any]) -> dict[str, str]:
    """Give the scores of the kept epoch; a value comes as text where the history was read from a file."""
    found = {}
    for score in scores_in("history"):
        if "table" in score.places and (value := number(row.get(f"val_{score.name}"))) is not None:
            found[score.label] = percent(value) if score.percent else score.number(value)
    if (loss := number(row.get("val_loss"))) is not None:
        found["loss"] = f"{loss:.3f}"
    if (shifted := number(row.get("shifted_macro_f1"))) is not None:
        found["macro F1 of the altered copy"] = percent(shifted)
    return found


def _results(content: PageContent, lead: str | None) -> View | None:
    if not content.evaluations:
        return None
    reports = {name: report for name, (report, _) in content.evaluations.items()}
    rows = score_rows(reports, lead)
    first = rows[0].report
    return {
        "scores": [score for score, _ in rows[0].cells],
        "rows": rows,
        "unit": unit_line({row.name: row.report for row in rows}),
        "left_out": left_out_lines({row.name: row.report for row in rows}),
        "level": first.confidence_level,
        "guess": float(np.log(len(first.class_names))) if len(first.class_names) > 1 else None,
    }


def _evaluated(place: int, name: str, report: Report, cells: ImageSet | None, *, full: bool, run: Run | None) -> View:
    if cells is not None:
        report.check(cells)
    key = f"set{place}"
    wrong = report.mistakes()
    shown = wrong[: 14 if full else 7].tolist()
    names = report.class_names
    captions = [
        f"{plain(names[report.truth[k]])}, predicted {plain(names[report.predicted[k]])} "
        f"({percent(report.confidence[k], 0)})"
        for k in shown
    ]
    beside = None if cells is None else heatmaps(run, report, cells, shown)
    return {
        "key": key,
        "name": name,
        "report": report,
        "full": full,
        "domains": report.domain_rows() if report.by_domain else [],
        "matrix": matrix_rows(report, key, linked=cells is not None),
        "panels": panels(report, cells, key, full=full),
        "wrong": len(wrong),
        "weak": report.weakest.name if report.confused() else None,
        "mistakes": [] if cells is None else thumbnails(cells, shown, captions, beside=beside),
        "heatmaps": beside is not None,
    }


def _home(found: Forgetting | None) -> View | None:
    if found is None or found.before is None or found.after is None or found.difference is None:
        return None
    images = {one.name: one.support for one in found.before.classes}
    return {
        "n": found.before.n,
        "images": found.images,
        "before": found.before.balanced_accuracy,
        "after": found.after.balanced_accuracy,
        "change": points(found.difference.balanced_accuracy),
        "rows": [(name, images[name], *recalls) for name, *recalls in found.lost()],
        "loses": any(after < before for _, before, after in found.lost()),
    }


def _map(content: PageContent) -> View | None:
    found = content.cell_map
    if found is None:
        return None
    sets = np.bincount(found.sets, minlength=len(found.set_names)).tolist()
    return {
        "figures": [
            inline_svg(figure, f"cells in two dimensions, by {by}", f"map{by}n")
            for figure, by in zip(found.figures(), ("class", "set"), strict=False)
        ],
        "method": found.method,
        "sets": [f"{count(n)} of {name}" for name, n in zip(found.set_names, sets, strict=True)],
        "further": [name for name in found.set_names if name not in ("train", "val")],
        "page": content.map_page,
    }


def _total(content: PageContent) -> float:
    if content.seconds:
        return float(sum(content.seconds.values()))
    return float(sum(float(row.get("seconds") or 0) for row in content.history))


def _cost(content: PageContent) -> View | None:
    stages: dict[Any, list[float]] = {}
    for row in content.history:
        if row.get("seconds") not in (None, ""):
            stages.setdefault(row.get("stage", 1), []).append(float(row["seconds"]))
    if not stages and not content.seconds:
        return None
    trained = len(content.parts.train) if content.parts else 0
    sides = {
        row.get("stage", 1): f" ({side:.0f} px)" for row in content.history if (side := number(row.get("image_size")))
    }
    return {
        "stages": [
            {
                "name": (f"stage {stage}" if str(stage).isdigit() else str(stage)) + sides.get(stage, ""),
                "epochs": len(spent),
                "seconds": sum(spent),
                "epoch": sum(spent) / len(spent),
                "rate": trained * len(spent) / sum(spent) if trained and any(spent) else None,
            }
            for stage, spent in stages.items()
        ],
        "steps": dict(content.seconds),
        "total": _total(content),
    }


def _rerun(content: PageContent) -> View | None:
    if not (content.manifest or content.recipe_toml or content.command):
        return None
    facts = {name: _flat({name: value}) for name, value in content.manifest.items()}
    long = {name: content.manifest[name] for name, lines in facts.items() if len(lines) > 8}
    return {
        "facts": [line for name, lines in facts.items() if name not in long for line in lines],
        "settings": json.dumps(long, indent=2, default=str) if long else "",
        "recipe": content.recipe_toml,
        "command": content.command,
    }


def _flat(data: Mapping[str, Any], above: str = "") -> list[tuple[str, str]]:
    """Flatten nested data into lines of name and text.

    Examples:
        >>> _flat({"seed": 7, "versions": {"keras": "3.15"}, "plugins": []})
        [('seed', '7'), ('versions: keras', '3.15'), ('plugins', 'none')]
    """
    lines = []
    for name, value in data.items():
        words = f"{above}: {plain(str(name))}" if above else plain(str(name))
        if isinstance(value, Mapping) and value:
            lines += _flat(value, words)
        elif isinstance(value, (list, tuple, set, Mapping)) or value is None:
            lines.append((words, ", ".join(map(str, value or ())) or "none"))
        else:
            lines.append((words, str(value)))
    return lines
