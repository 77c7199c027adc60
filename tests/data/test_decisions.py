from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellclf.data.decisions import Decision, Decisions, load_decisions
from cellclf.data.slips import nearest
from cellclf.errors import DataError, OptionError
from cellclf.utils.spreadsheet import csv_line, guard, unguard

IDS = [
    "007",
    "=1+1",
    "73928e05",
    "a#b",
    'a,"b"',
    "ü",
    "x</script><b>",
    "a;b",
    " blanks ",
    "'quoted",
    "12",
    "line\nbreak",
]
CLASSES = ["basophil", "immature_granulocyte", "neutrophil"]
ANY = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)


def table(ids=IDS):
    times = [f"2025-03-01T10:00:{k:02d}Z" for k in range(len(ids))]
    kinds = [("label", CLASSES[0]), ("label", CLASSES[1]), ("unsure", ""), ("not_a_cell", ""), ("", "")]
    return Decisions(
        [Decision(id_, *kinds[k % 5], f"note {k}", "AN", times[k] if k % 5 < 4 else "") for k, id_ in enumerate(ids)]
    )


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def test_what_is_saved_comes_back(tmp_path):
    made = table()
    read = load_decisions(made.save(tmp_path / "labelled.csv"))
    assert read == made and read.rows == made.rows and not read.notices
    assert read.labels["007"] == "basophil" and read.labels["=1+1"] == "immature_granulocyte"
    assert read.unsure == ("73928e05", "a;b") and read.not_a_cell == ("a#b", " blanks ")
    assert read.unanswered == ('a,"b"', "'quoted")
    assert read.counts() == {"label": 6, "unsure": 2, "not_a_cell": 2, "unanswered": 2}
    assert repr(read) == "Decisions: 12 cells, 6 labelled (2 classes), 2 unsure, 2 not a cell, 2 unanswered"
    assert "immature_granulocyte  3" in str(read) and read.to_dict()["classes"]["basophil"] == 3
    assert len(read) == 12 and [row.id for row in read] == list(read.ids)
    with pytest.raises(OptionError, match=r"ends in \.csv"):
        made.save(tmp_path / "a.xlsx")


def test_other_programs_read_the_first_column_by_its_name(tmp_path):
    """A byte order mark, by which Excel knows UTF-8, stands only where there is a letter that needs it."""
    pandas = pytest.importorskip("pandas")
    plain = table([id_ for id_ in IDS if id_.isascii()]).save(tmp_path / "plain.csv")
    with plain.open(newline="", encoding="utf-8") as file:
        assert next(csv.reader(file))[0] == "id"
    marked = table().save(tmp_path / "marked.csv")
    assert marked.read_bytes().startswith(b"\xef\xbb\xbf")
    for path in (plain, marked):
        assert list(pandas.read_csv(path).columns)[:2] == ["id", "decision"]
        assert load_decisions(path).labels["007"] == "basophil"


@given(st.lists(st.tuples(ANY.filter(str.strip), ANY), unique_by=lambda pair: pair[0], min_size=1, max_size=4))
def test_any_text_comes_back(tmp_path_factory, pairs):
    made = Decisions([Decision(id_, "unsure", "", note) for id_, note in pairs])
    assert load_decisions(made.save(tmp_path_factory.getbasetemp() / "any.csv")).rows == made.rows


@given(ANY)
def test_no_cell_is_a_formula_and_the_guard_comes_off(text):
    cell = next(csv.reader(io.StringIO(csv_line([text, "x"]), newline="")))[0]
    assert unguard(cell) == text and not cell.startswith(("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠"))


@pytest.mark.parametrize("text", ["0", "12", "1234567890", "BA_007.png", "0012.png", "1e5.png", "neutrophil", "cell 7"])
def test_what_is_harmless_stays_as_it_is(text):
    assert guard(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "007",
        "1.50",
        "73928e05",
        "1-2",
        "3/4",
        "MAR1",
        "Sep-2",
        "1 mai",
        "TRUE",
        "wahr",
        "12:30",
        "50%",
        " 7",
        "7 ",
        "$5",
        *("12345678901", "=1+1.png", "@a", "2025-01-02", "(5)", "-1", ".5"),
    ],
)
def test_what_a_spreadsheet_would_change_is_guarded(text):
    assert guard(text) == "'" + text


def test_what_a_spreadsheet_made_of_it_is_read(tmp_path):
    made = table()
    plain = made.save(tmp_path / "a.csv").read_bytes().decode("utf-8-sig")
    rows = list(csv.reader(io.StringIO(plain, newline="")))
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=";").writerows([*rows, [""] * 6])
    semicolons = text.getvalue()
    ways = {
        "semicolons": semicolons.encode(),
        "named": ("sep=;\r\n" + semicolons).encode("utf-8-sig"),
        "windows": semicolons.encode("cp1252"),
        "unicode": semicolons.replace(";", "\t").replace("a\tb", "a;b").encode("utf-16"),
        "lines": plain.replace("\r\n", "\n").encode(),
    }
    for name, raw in ways.items():
        path = tmp_path / f"{name}.csv"
        path.write_bytes(raw)
        read = load_decisions(path)
        assert read.rows == made.rows, name
        assert bool(read.notices) == (name == "windows")


def test_lines_that_became_one_cell_each_are_read(tmp_path):
    made = table(["007", "b.png", "ü"])
    lines = made.save(tmp_path / "a.csv").read_bytes().decode("utf-8-sig").splitlines()
    text = "".join('"' + line.replace('"', '""') + '"\r\n' for line in lines)
    assert load_decisions(write(tmp_path / "b.csv", text)).rows == made.rows


def test_apostrophes_that_a_spreadsheet_took_away_are_not_missed(tmp_path):
    text = "id;decision;label;note;by;time\n007;label;basophil;;;2025-03-01T10:00:00Z\n"
    assert load_decisions(write(tmp_path / "a.csv", text)).match(["007"]).labels == {"007": "basophil"}


def test_a_plain_table_is_read_and_unsure_is_no_class(tmp_path):
    text = "Filename,Class\na.png,basophil\nb.png,Unsure\nc.png,not a cell\nd.png,\ne.png,NA\nf.png,not-a-cell\n"
    read = load_decisions(write(tmp_path / "a.csv", text))
    assert read.labels == {"a.png": "basophil"} and read.unsure == ("b.png",)
    assert read.not_a_cell == ("c.png", "f.png") and read.unanswered == ("d.png", "e.png")
    assert read.notices == ("a.csv has 1 missing value in place of a label, which counts as unanswered",)
    mapped = Decisions.from_labels({"a": "basophil", 7: "unsure"})
    assert mapped.labels == {"a": "basophil"} and mapped.unsure == ("7",)


def test_the_table_of_a_label_check_is_read_with_a_word_of_what_it_costs(tmp_path):
    head = "rank,id,label,suggested,probability,score,doubtful,fold\n"
    rows = "1,a,grey,dark,0.99,3.2,True,1\n2,b,dark,grey,0.6,0.1,False,2\n"
    comma = load_decisions(write(tmp_path / "labels.csv", head + rows))
    german = (head + rows).replace(",", ";").replace("0.", "0,").replace("True", "WAHR")
    assert comma.labels == {"a": "grey", "b": "dark"}
    assert load_decisions(write(tmp_path / "labels.csv", german)) == comma
    assert "1 of 2 are marked doubtful and are used all the same" in comma.notices[0]


BAD = {
    "id,class,probability,p_a,skipped\na,x,0.9,0.9,\n": "holds predictions, not labels",
    "id,class,probability\na,x,0.9\n": "holds predictions, not labels",
    "a.png,basophil\n": "expected a first line with the columns id and label",
    "id,note\na,b\n": "columns id, note; expected",
    "": "is empty; expected a CSV with the columns id and label",
    "id,label\n,basophil\nb,basophil\n": "1 of 2 rows of bad.csv have no id",
    "id,label\na,b,basophil\n": "row 2 of bad.csv has 3 cells and its first row 2",
    "id,decision,label\na,basophil,\n": "the decision about 'a' in bad.csv is 'basophil'; expected label, unsure",
    "id,decision,label\na,unsure,basophil\n": "is 'unsure' and its label 'basophil'; expected one of the two",
    "id,label\na,round\na,lobed\n": r"different answers to 1 cell, and no times .*'a' \(round, then lobed\)",
    "PK\x03\x04rest": "is a workbook; in the spreadsheet, save it as CSV UTF-8",
    "id,label\na\x00b,c\n": "zero bytes",
}


@pytest.mark.parametrize("text", BAD, ids=range(len(BAD)))
def test_what_is_no_such_table_is_refused_in_one_line(tmp_path, text):
    with pytest.raises(DataError, match=BAD[text]) as caught:
        load_decisions(write(tmp_path / "bad.csv", text))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000


def test_a_table_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"cannot read the table .*missing.csv: No such file"):
        load_decisions(tmp_path / "missing.csv")


@pytest.mark.parametrize(
    "rows",
    [
        [Decision("a", "odd")],
        [Decision("a", "label")],
        [Decision("a", "unsure", "round")],
        [Decision("a"), Decision("a")],
    ],
)
def test_rows_that_contradict_themselves_are_refused(rows):
    with pytest.raises(DataError, match="'a'"):
        Decisions(rows)


def test_of_two_answers_the_later_counts_and_none_replaces_none():
    early, late = "2025-03-01T10:00:00Z", "2025-03-01T10:00:01Z"
    first = Decisions(
        [
            Decision("a", "label", "round", "look", "AN", late),
            Decision("b", "label", "round", "", "AN", early),
            Decision("c", "unsure", "", "", "", early),
            Decision("d"),
        ]
    )
    second = Decisions(
        [
            Decision("a", "label", "lobed", "", "", early),
            Decision("b", "not_a_cell", "", "dust", "BM", late),
            Decision("c", "", "", "blurred", "", late),
            Decision("d", "label", "lobed"),
            Decision("e"),
        ]
    )
    for joined in (first.merge(second), second.merge(first)):
        found = {row.id: row for row in joined}
        assert found["a"].label == "round" and found["a"].note == "look"
        assert found["b"] == Decision("b", "not_a_cell", "", "dust", "BM", late)
        assert found["c"].decision == "unsure" and found["c"].note == "blurred"
        assert found["d"].label == "lobed" and found["e"] == Decision("e")
        assert "2 cells had two different answers, of which the later one counts" in joined.notices
    assert first.merge(second).ids == ("a", "b", "c", "d", "e")
    assert first.merge(first) == first


def test_different_answers_without_times_are_refused_by_name():
    ids = [f"cell {k}" for k in range(9)]
    one, two = (Decisions([Decision(id_, "label", name) for id_ in ids]) for name in ("round", "lobed"))
    with pytest.raises(DataError, match=r"9 cells.*'cell 0' \(round, then lobed\).*and 3 more; remove the rows"):
        one.merge(two)
    assert one.merge(one) == one


def test_times_of_all_zones_and_none_compare(tmp_path):
    text = "id,label,time\na,round,2025-03-01T12:00:00+02:00\na,lobed,2025-03-01 10:30:00\n"
    read = load_decisions(write(tmp_path / "a.csv", text))
    assert read.rows == (Decision("a", "label", "lobed", "", "", "2025-03-01T10:30:00Z"),)
    assert "another answer: the latest one counts" in read.notices[0]


@pytest.mark.parametrize(
    ("found", "known", "cause"),
    [
        ("7", ["007", "008"], "did a spreadsheet turn '007' into '7'?"),
        ("7392800000", ["73928e05", "b"], "did a spreadsheet turn '73928e05' into a number?"),
        ("7.39E+09", ["73928e05", "b"], "did a spreadsheet turn '73928e05' into a number?"),
        ("7,39E+09", ["73928e05", "b"], "did a spreadsheet turn '73928e05' into a number?"),
        ("1.23457E+11", ["123456789012", "5"], "did a spreadsheet turn '123456789012' into a number?"),
        ("01.Mrz", ["MAR-1", "MAR-2"], "did a spreadsheet turn an id such as 'MAR-1' into a date?"),
        ("BA_1.PNG", ["BA_1.png"], "did you mean 'BA_1.png'? Capitals differ"),
        ("eo/BA_1.png", ["ba/BA_1.png"], "is it 'ba/BA_1.png'? The folder differs"),
        ("BA_1.png", ["ba/BA_1.png", "eo/BA_1.png"], "is it 'ba/BA_1.png'? The folder differs"),
        ("BA_1", ["ba/BA_1.png"], "is it 'ba/BA_1.png'? The ending differs"),
        ("Ã¼", ["ü", "b"], "is it 'ü'? The file was saved in another encoding"),
        ("3", ["a.png", "b.png"], "is it a running number of the page"),
        ("celll_12", ["cell_12", "other"], "did you mean 'cell_12'?"),
        (
            "zebra",
            ["a.png", "b.png", "c.png"],
            "is it the table of another set? Ids of this one look like 'a.png', 'b.png'",
        ),
    ],
)
def test_an_id_that_is_not_in_the_set_is_refused_with_the_likeliest_cause(found, known, cause):
    with pytest.raises(DataError) as caught:
        Decisions([Decision(found, "unsure")]).match(known)
    assert f"the id {found!r} is not in the set ({len(known)} cell" in str(caught.value)
    assert str(caught.value).endswith(cause) or cause in str(caught.value)


def test_all_unknown_ids_are_named_as_far_as_a_line_holds():
    with pytest.raises(DataError) as caught:
        Decisions([Decision(str(k), "unsure") for k in range(9)]).match([f"{k:03d}" for k in range(2, 300)])
    told = str(caught.value)
    assert told.startswith(
        "9 of 9 ids are not in the set (298 cells): '0', '1', '2' (did a spreadsheet turn '002' into"
    )
    assert told.endswith(" and 1 more")
    many = Decisions([Decision("x" * 500 + str(k), "unsure") for k in range(50)])
    with pytest.raises(DataError, match=r"50 of 50 ids .* and 42 more; is it the table of another set") as caught:
        many.match(["a"])
    assert len(str(caught.value)) < 1000


def test_what_nobody_sees_does_not_part_ids():
    rows = [Decision("a\u0308", "unsure"), Decision("quoted", "unsure"), Decision("b", "label", "round")]
    assert Decisions(rows).match(["\u00e4", "'quoted", "b ", "c"]).ids == ("\u00e4", "'quoted", "b ")


def test_new_classes_are_stated_and_slips_refused():
    def given_name(name, new=()):
        return Decisions([Decision("a", "label", name), Decision("b", "label", "neutrophil")]).match(
            ["a", "b"], CLASSES, new=new
        )

    assert given_name("blast").notices == ("new class: 'blast' (1 cell)",)
    assert given_name("basophil").notices == ()
    for slip, right in {
        "immature granulocytes": "immature_granulocyte",
        "basophill": "basophil",
        "netrophli": "neutrophil",
    }.items():
        with pytest.raises(DataError, match=rf"there is no class '{slip}' \(did you mean '{right}'\?\): correct the"):
            given_name(slip)
    assert given_name("basophill", ["basophill"]).notices == ("new class: 'basophill' (1 cell)",)
    two = Decisions([Decision("a", "label", "basophi"), Decision("b", "label", "Neutrophils")])
    with pytest.raises(
        DataError, match=r"there are no classes 'basophi' \(.*\), 'Neutrophils' \(.*name them in classes="
    ):
        two.match(["a", "b"], CLASSES)
    with pytest.raises(DataError, match="the label '3' is a number; expected a class name: basophil"):
        given_name("3")


def test_names_that_differ_by_what_matters_are_no_slips():
    different = [("CD8", "CD4"), ("blast 2", "blast 1"), ("T cell", "B cell"), ("metamyelocyte", "myelocyte")]
    assert all(nearest(one, [two]) is None for one, two in different)
    assert nearest("mono", ["moon"]) == "moon" and nearest("abc", ["abd"]) is None


def test_class_names_that_differ_in_capitals_blanks_or_unicode_form_are_those_of_the_run():
    table = Decisions.from_labels({"a": "NEUTROPHIL", "b": "band_cell", "c": "Blast", "d": "blast", "e": "ﬁbre"})
    found = table.match(list("abcde"), ["neutrophil", "Band cell", "fibre"])
    assert found.labels == {"a": "neutrophil", "b": "Band cell", "c": "Blast", "d": "Blast", "e": "fibre"}
    assert "the label 'NEUTROPHIL' is read as 'neutrophil'" in found.notices
    assert "new class: 'Blast' (2 cells)" in found.notices


@pytest.mark.parametrize(
    "written", ["BA_1.png", r"ba\BA_1.png", r"C:\cells\ba\BA_1.png", "/data/cells/ba/BA_1.png", "./ba/BA_1.png"]
)
def test_an_id_is_found_by_the_end_of_its_path_where_no_other_ends_alike(written):
    table = Decisions.from_labels({written: "basophil", "ba/2.png": "basophil"})
    found = table.match(["ba/BA_1.png", "ba/2.png", "eo/BA_2.png"])
    assert list(found.ids) == ["ba/BA_1.png", "ba/2.png"]
    assert found.notices == (f"the id {written!r} is read as 'ba/BA_1.png', whose path ends alike",)
