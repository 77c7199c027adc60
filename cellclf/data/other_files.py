"""Files that hold no image that is read, by their suffix: what they are, and what to do with them instead."""

from __future__ import annotations

import os

from cellclf.data.opening import OTHER_FORMATS

_ARRAYS = "save its arrays with np.savez(path, images=..., labels=...)"
_OTHERS = {
    "an archive": ("unpack it, and load the folder", ".zip .tar .gz .tgz .bz2 .xz .7z .rar .zst"),
    "a workbook": ("save it as CSV UTF-8", ".xlsx .xls .xlsm .ods .numbers"),
    "JSON in lines": ("pass load(pandas.read_json(path, lines=True))", ".jsonl .ndjson"),
    "a text": ("save it as .csv, with the columns path and label", ".txt .lst .list .dat"),
    "a file of HDF5 or MATLAB": (_ARRAYS, ".h5 .hdf5 .hdf .mat .h5ad"),
    "a pickle, which could run code when read": (_ARRAYS, ".pkl .pickle .pt .pth .joblib"),
    "a file of records": (_ARRAYS, ".tfrecord .tfrecords .tfrec .rec .lmdb .mdb .beton .arrow .feather"),
    "an array of numpy": ("load it alone, or save it as PNG", ".npy"),
    "several arrays of numpy": ("load it alone", ".npz"),
    "a data base": ("export its table as CSV", ".db .sqlite .sqlite3"),
    "a PDF document": ("export its images as PNG", ".pdf"),
    "a video": ("export its images as PNG", ".avi .mp4 .mov .mkv .wmv"),
}
_BY_SUFFIX = {suffix: f"{what}: {fix}" for what, (fix, suffixes) in _OTHERS.items() for suffix in suffixes.split()}


_TEXTS = frozenset({".txt", ".lst", ".list", ".dat", ".pdf"})
"""What also lies beside images and holds none."""


def described(path: str, *, alone: bool = False) -> str | None:
    """Say what a file is that is not read, and what to do; None if its suffix says nothing.

    Args:
        path: Its name.
        alone: Whether it is a source by itself, and no file in a folder of images.

    Examples:
        >>> described("cells.zip"), described("Slide.SVS"), described("notes.md")
        ('an archive: unpack it, and load the folder', 'a slide of Aperio, which is not read: save it as PNG or TIFF', \
None)
    """
    suffix = os.path.splitext(path)[1].lower()
    if suffix in OTHER_FORMATS:
        return f"{OTHER_FORMATS[suffix]}, which is not read: save it as PNG or TIFF"
    return _BY_SUFFIX.get(suffix) if alone or suffix not in _TEXTS else None
