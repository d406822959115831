"""Who the faces show follows every rename, goes to the trash with them and comes back."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from backend.core.errors import BadInputError
from backend.storage import renaming
from backend.storage.faceset import Faceset
from tests.storage.faces import fill, names_in

NAMES = [f"0000{n}_0.jpg" for n in range(1, 6)]
PERSONS = {name: number % 3 for number, name in enumerate(NAMES[:4])}


@pytest.fixture
def faceset(tmp_path: Path) -> Faceset:
    """Five faces, four of which show known persons."""
    fill(tmp_path / "aligned", 5)
    made = again(tmp_path)
    made.set_persons(PERSONS, "track", {0: "anna"})
    return made


def again(path: Path) -> Faceset:
    """A new object for the same folder, as another process has it."""
    return Faceset(path / "aligned", path / "aligned_trash")


def by_frame(faceset: Faceset) -> dict[str, int]:
    """Frame -> person, whatever the files are called."""
    persons = faceset.persons()
    frames = {r.path.name: r.face.source_filename for r in faceset.records()}
    return {frames[name]: number for name, number in persons.items()}


def test_nothing_is_known_at_first(tmp_path: Path) -> None:
    empty = again(tmp_path)
    assert empty.persons() == {}
    assert empty.persons_by == ""
    assert empty.person_titles == {}
    assert names_in(tmp_path) == []


def test_stored_and_read(faceset: Faceset, tmp_path: Path) -> None:
    for view in (faceset, again(tmp_path)):
        assert view.persons() == PERSONS
        assert view.persons_by == "track"
        assert view.person_titles == {0: "anna"}
    again(tmp_path).set_persons({"00005_0.jpg": 7, "gone.jpg": 1}, "embedding")
    assert faceset.persons() == {"00005_0.jpg": 7}
    assert faceset.persons_by == "embedding"
    assert faceset.person_titles == {}


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"method": "a"}', '{"method": "a", "made": "", "persons": 3}'])
def test_a_damaged_file_counts_as_none(faceset: Faceset, tmp_path: Path, damage: str) -> None:
    (tmp_path / "aligned" / ".persons.json").write_text(damage)
    assert faceset.persons() == {}
    assert faceset.persons_by == ""


def test_renaming_keeps_persons_and_order(faceset: Faceset, tmp_path: Path) -> None:
    before = by_frame(faceset)
    faceset.set_order(NAMES[::-1], "yaw")
    assert faceset.apply_order() == 5
    assert by_frame(faceset) == before
    swapped = {"00000.jpg": "00001.jpg", "00001.jpg": "00000.jpg", "00003.jpg": "x.jpg", "gone.jpg": "y.jpg"}
    assert faceset.rename(swapped) == 3
    for view in (faceset, again(tmp_path)):
        assert by_frame(view) == before
        assert view.names() == ["00001.jpg", "00000.jpg", "00002.jpg", "x.jpg", "00004.jpg"]
        assert view.order_by == "yaw"
    assert faceset.rename({}) == 0


def test_an_order_by_name_follows_the_new_names(faceset: Faceset) -> None:
    assert faceset.rename({"00001_0.jpg": "z.jpg"}) == 1
    assert faceset.names() == [*NAMES[1:], "z.jpg"]
    assert faceset.persons()["z.jpg"] == 0


@pytest.mark.parametrize(
    "names",
    [
        {"00001_0.jpg": "00002_0.jpg"},
        {"00001_0.jpg": "00002_0.JPG"},
        {"00001_0.jpg": "a.jpg", "00002_0.jpg": "A.jpg"},
        {"00001_0.jpg": "../a.jpg"},
        {"00001_0.jpg": ".hidden.jpg"},
        {"00001_0.jpg": "a.png"},
        {"00001_0.jpg": "folder.jpg"},
    ],
)
def test_names_that_are_not_free_are_refused(faceset: Faceset, tmp_path: Path, names: dict[str, str]) -> None:
    (tmp_path / "aligned" / "folder.jpg").mkdir()
    with pytest.raises(BadInputError):
        faceset.rename(names)
    assert faceset.names() == NAMES
    assert faceset.persons() == PERSONS


class CrashError(Exception):
    """The power went."""


@pytest.mark.parametrize("survived", range(22))
def test_an_interrupted_renaming_mixes_nobody_up(
    faceset: Faceset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survived: int
) -> None:
    """Two names change places, so that renaming the persons twice, or not at all, would show."""
    folder = tmp_path / "aligned"
    faceset.set_order(NAMES, "yaw")
    before, left = by_frame(faceset), [survived]

    def counted(real):
        def step(self: Path, *arguments, **options):
            if self.parent == folder and self.name != ".faceset.lock":
                if not left[0]:
                    raise CrashError
                left[0] -= 1
            return real(self, *arguments, **options)

        return step

    with monkeypatch.context() as patch:
        for method in ("rename", "replace", "unlink"):
            patch.setattr(Path, method, counted(getattr(Path, method)))
        with contextlib.suppress(CrashError):
            faceset.rename({NAMES[0]: NAMES[1], NAMES[1]: NAMES[0]})
    for _ in range(2):
        fresh = again(tmp_path)
        assert by_frame(fresh) == before
        assert [r.face.source_filename for r in fresh.records()] == [f"0000{n}.png" for n in range(1, 6)]
        assert not (folder / renaming.JOURNAL_NAME).exists()


def test_removed_faces_come_back_as_who_they_were(faceset: Faceset, tmp_path: Path) -> None:
    before = by_frame(faceset)
    faceset.trash(NAMES[:2])
    assert faceset.persons() == {name: PERSONS[name] for name in NAMES[2:4]}
    (tmp_path / "aligned" / NAMES[0]).write_bytes((tmp_path / "aligned" / NAMES[4]).read_bytes())
    assert faceset.undo() == ["00001_0_1.jpg", "00002_0.jpg"]
    (tmp_path / "aligned" / NAMES[0]).unlink()
    assert by_frame(faceset) == before


def test_a_new_face_is_not_who_a_removed_one_of_its_name_was(faceset: Faceset, tmp_path: Path) -> None:
    faceset.trash([NAMES[0], NAMES[1]])
    fill(tmp_path / "aligned", 1)
    assert NAMES[0] not in faceset.persons()
    faceset.rename({NAMES[2]: NAMES[1], NAMES[4]: "x.jpg"})
    assert faceset.persons() == {NAMES[1]: PERSONS[NAMES[2]], NAMES[3]: PERSONS[NAMES[3]]}


def test_renaming_to_the_name_of_a_file_that_is_gone(faceset: Faceset, tmp_path: Path) -> None:
    (tmp_path / "aligned" / NAMES[3]).unlink()
    faceset.rename({NAMES[0]: NAMES[3]})
    assert faceset.persons() == {NAMES[3]: PERSONS[NAMES[0]], NAMES[1]: 1, NAMES[2]: 2}


def test_a_swap_forgets_who_has_no_file_any_more(faceset: Faceset, tmp_path: Path) -> None:
    fill(tmp_path / "incoming", 2)
    faceset.swap_in(tmp_path / "incoming", "test")
    fill(tmp_path / "aligned", 5)
    assert faceset.persons() == {name: PERSONS[name] for name in NAMES[:2]}
    faceset.undo()
    assert faceset.persons() == PERSONS


def test_added_persons_are_none_of_those_in_the_trash(faceset: Faceset) -> None:
    faceset.trash([NAMES[0], NAMES[2], NAMES[3]])
    faceset.add_persons({NAMES[4]: 7}, "added", {7: "bruno"})
    assert faceset.persons() == {NAMES[1]: 1, NAMES[4]: 3}
    faceset.undo()
    assert faceset.persons() == {**PERSONS, NAMES[4]: 3}
    assert (faceset.persons_by, faceset.person_titles) == ("track", {0: "anna", 3: "bruno"})


def test_persons_can_be_added_where_there_were_none(tmp_path: Path) -> None:
    fill(tmp_path / "aligned", 2)
    faceset = again(tmp_path)
    faceset.add_persons({NAMES[0]: 5, NAMES[1]: 2}, "added", {5: "bruno"})
    assert faceset.persons() == {NAMES[0]: 1, NAMES[1]: 0}
    assert (faceset.persons_by, faceset.person_titles) == ("added", {1: "bruno"})


def test_beginning_fresh_forgets_and_undoing_it_remembers(faceset: Faceset, tmp_path: Path) -> None:
    faceset.begin_fresh()
    assert faceset.persons_by == ""
    fill(tmp_path / "aligned", 1)
    assert faceset.persons() == {}
    (tmp_path / "aligned" / NAMES[0]).unlink()
    faceset.undo()
    assert faceset.persons() == PERSONS
    assert faceset.persons_by == "track"
    assert faceset.person_titles == {0: "anna"}


def test_numbers_of_an_earlier_finding_are_not_brought_back(faceset: Faceset) -> None:
    faceset.trash(NAMES[:1])
    faceset.set_persons({NAMES[1]: 5}, "track")
    faceset.undo()
    assert faceset.persons() == {NAMES[1]: 5}
